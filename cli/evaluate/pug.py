"""`cvbench eval pug`."""

from __future__ import annotations

from cvbench.cli.command import command
from cvbench.cli.evaluate import shared as common
from cvbench.jobs.evaluation.options import PugOptions
from cvbench.jobs.reading.options import Selection


def _pug(selection: Selection, options: PugOptions, output: common.TableOutput) -> None:
    """Accuracy on PUG: ImageNet per factor, sub-factor and value, with intervals over objects."""
    from cvbench.cli.display import progress
    from cvbench.jobs.evaluation.pug import SECTION
    from cvbench.jobs.evaluation.pug import pug as run

    with progress() as listen:
        found = run(selection, options, listen)
    common.show([found], SECTION, output)


pug = command("pug", [common.selected("Default pug-imagenet."), PugOptions, common.TableOutput], _pug)
