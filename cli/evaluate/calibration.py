"""`cvbench eval calibration`."""

from __future__ import annotations

from typing import Annotated

import typer

from cvbench.cli import options as shared
from cvbench.cli.evaluate import shared as common


def calibration(
    store: shared.Store = shared.DEFAULT_STORE,
    dataset: shared.Datasets = [],
    split: shared.Split = None,
    backbone: shared.Backbones = [],
    bins: Annotated[int, typer.Option("--bins", min=1, help="Of equal width on [0, 1].")] = 15,
    all_columns: common.AllColumns = False,
    partial: common.Partial = False,
    allow_chance: common.AllowChance = False,
    resamples: shared.Resamples = 2000,
    seed: shared.Seed = 0,
    out: shared.Out = None,
    long: common.Long = False,
    output: shared.Format = "table",
) -> None:
    """Calibration error, reliability, NLL and Brier, before and after a temperature fitted on a held-out half."""
    from cvbench.cli.display import progress
    from cvbench.jobs.evaluation.calibration import SECTION, CalibrationOptions, calibrate
    from cvbench.jobs.selection import Selection

    shared.check_format(output, ("table", "json", "csv"))
    names: list[str | None] = [*dict.fromkeys(dataset)] or [None]
    selections = [Selection(store, name, split, tuple(backbone)) for name in names]
    drawn = shared.intervals(resamples, seed)
    options = CalibrationOptions(common.eval_options(partial, allow_chance), bins, not all_columns, drawn)
    with progress() as listen:
        found = calibrate(selections, options, listen)
    common.show(found, SECTION, output, out, long)
