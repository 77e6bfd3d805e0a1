"""`cvbench eval shape-bias`."""

from __future__ import annotations

from cvbench.cli.command import command
from cvbench.cli.evaluate import shared as common
from cvbench.jobs.evaluation.options import EvalOptions
from cvbench.jobs.reading.options import Selection


def _shape_bias(selection: Selection, options: EvalOptions, output: common.TableOutput) -> None:
    """Shape bias on cue-conflict images, pooled and per shape category."""
    from cvbench.cli.display import progress
    from cvbench.jobs.evaluation.shape_bias import SECTION, evaluate

    with progress() as listen:
        found = evaluate(selection, options, listen)
    common.show([found], SECTION, output)


_SELECTED = common.selected("Default cue-conflict.")
shape_bias = command("shape-bias", [_SELECTED, EvalOptions, common.TableOutput], _shape_bias)
