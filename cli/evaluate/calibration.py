"""`cvbench eval calibration`."""

from __future__ import annotations

from cvbench.cli.command import command
from cvbench.cli.evaluate import shared as common
from cvbench.jobs.evaluation.options import CalibrationOptions
from cvbench.jobs.reading.options import Selection


def _calibration(selections: list[Selection], options: CalibrationOptions, output: common.TableOutput) -> None:
    """Calibration error, reliability, NLL and Brier, before and after a temperature fitted on a held-out half."""
    from cvbench.cli.display import progress
    from cvbench.jobs.evaluation.calibration import SECTION, calibrate

    with progress() as listen:
        found = calibrate(selections, options, listen)
    common.show(found, SECTION, output)


calibration = command("calibration", [common.SEVERAL, CalibrationOptions, common.TableOutput], _calibration)
