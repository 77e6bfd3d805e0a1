"""`cvbench eval accuracy`."""

from __future__ import annotations

from cvbench.cli.command import command
from cvbench.cli.evaluate import shared as common
from cvbench.jobs.evaluation.options import AccuracyOptions
from cvbench.jobs.reading.options import Selection


def _accuracy(selections: list[Selection], options: AccuracyOptions, output: common.TableOutput) -> None:
    """Top-1, top-5 and mean-per-class accuracy, and every pair of backbones on the same samples."""
    from cvbench.cli.display import progress
    from cvbench.jobs.evaluation.accuracy import SECTION
    from cvbench.jobs.evaluation.accuracy import accuracy as run

    with progress() as listen:
        found = run(selections, options, listen)
    common.show(found, SECTION, output, long=options.per_class)


accuracy = command("accuracy", [common.SEVERAL, AccuracyOptions, common.TableOutput], _accuracy)
