"""`cvbench eval ...`: the evaluations of the registry, and the import of predictions."""

from __future__ import annotations

from cvbench.cli.commands import Commands, Place
from cvbench.cli.entries import group_of

OTHERS: dict[str, Place] = {
    "import": (
        "cvbench.cli.evaluate.predictions",
        "import_predictions",
        "Make predictions of another tool the logits of a backbone.",
    ),
}
app = Commands(cls=group_of("eval", OTHERS), help="Benchmarks, computed from stored logits.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Benchmarks of backbones, computed from the logits that `cvbench extract --view logits` has stored."""
