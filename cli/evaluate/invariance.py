"""`cvbench eval invariance`."""

from __future__ import annotations

from cvbench.cli.command import command
from cvbench.cli.evaluate import shared as common
from cvbench.jobs.evaluation.options import InvarianceOptions
from cvbench.jobs.reading.options import Selection


def _invariance(selection: Selection, options: InvarianceOptions, output: common.TableOutput) -> None:
    """Accuracy and true-class probability as images are scaled, shifted or shown at another resolution.

    Extract first, one data set per setting: `cvbench extract --dataset NAME+scale --view logits`, or `NAME+shift`, or
    `--dataset NAME --image-size 112` and so on for the resolution. What the store lacks is listed.
    """
    from cvbench.cli.display import progress
    from cvbench.jobs.evaluation.invariance import SECTION
    from cvbench.jobs.evaluation.invariance import invariance as run

    with progress() as listen:
        found = run(selection.store, selection.dataset, selection.split, selection.backbones, options, listen)
    common.show(found, SECTION, output)


invariance = command("invariance", [common.selected(), InvarianceOptions, common.TableOutput], _invariance)
