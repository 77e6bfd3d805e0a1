"""`cvbench eval ...`: one module per benchmark."""

from __future__ import annotations

from cvbench.cli.commands import Commands
from cvbench.cli.evaluate.accuracy import accuracy
from cvbench.cli.evaluate.calibration import calibration
from cvbench.cli.evaluate.imagenet_x import imagenet_x
from cvbench.cli.evaluate.invariance import invariance
from cvbench.cli.evaluate.predictions import import_predictions
from cvbench.cli.evaluate.pug import pug
from cvbench.cli.evaluate.robustness import robustness
from cvbench.cli.evaluate.shape_bias import shape_bias

app = Commands(help="Benchmarks, computed from stored logits.", no_args_is_help=True)
for command in (accuracy, robustness, imagenet_x, pug, invariance, calibration, shape_bias):
    app.command()(command)
app.command("import")(import_predictions)


@app.callback()
def group() -> None:
    """Benchmarks of backbones, computed from the logits that `cvbench extract --view logits` has stored."""
