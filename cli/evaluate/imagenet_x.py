"""`cvbench eval imagenet-x`."""

from __future__ import annotations

from cvbench.cli.command import command
from cvbench.cli.evaluate import shared as common
from cvbench.jobs.evaluation.options import ImageNetXOptions
from cvbench.jobs.reading.options import Selection


def _imagenet_x(selection: Selection, options: ImageNetXOptions, output: common.TableOutput) -> None:
    """Error ratios of the sixteen factors of ImageNet-X."""
    from cvbench.cli.display import progress
    from cvbench.jobs.evaluation.imagenet_x import SECTION
    from cvbench.jobs.evaluation.imagenet_x import imagenet_x as run

    with progress() as listen:
        found = run(selection, options, listen)
    common.show([found], SECTION, output)


_SELECTED = common.selected("Default imagenet-val.")
imagenet_x = command("imagenet-x", [_SELECTED, ImageNetXOptions, common.TableOutput], _imagenet_x)
