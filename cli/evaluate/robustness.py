"""`cvbench eval robustness`."""

from __future__ import annotations

from cvbench.cli.command import Form, command
from cvbench.cli.evaluate import shared as common
from cvbench.jobs.evaluation.options import EvalOptions, RobustnessRequest


def _robustness(request: RobustnessRequest, options: EvalOptions, output: common.TableOutput) -> None:
    """Accuracy on ImageNetV2, -A, -R and -Sketch, beside the clean images of the same classes."""
    from cvbench.cli.display import progress
    from cvbench.jobs.evaluation.robustness import SECTION
    from cvbench.jobs.evaluation.robustness import robustness as run

    with progress() as listen:
        found = run(request.store, request.datasets, request.clean, request.backbones, options, listen)
    common.show([found], SECTION, output)


robustness = command(
    "robustness", [Form(RobustnessRequest, defaults=common.STORE), EvalOptions, common.TableOutput], _robustness
)
