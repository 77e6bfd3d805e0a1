"""`cvbench eval accuracy`."""

from __future__ import annotations

from typing import Annotated

import typer

from cvbench.cli import options as shared
from cvbench.cli.evaluate import shared as common


def accuracy(
    store: shared.Store = shared.DEFAULT_STORE,
    dataset: shared.Datasets = [],
    split: shared.Split = None,
    backbone: shared.Backbones = [],
    per_class: Annotated[bool, typer.Option("--per-class", help="The accuracy of every class too.")] = False,
    real: Annotated[
        str | None, typer.Option("--real", help="Score ReaL labels too: their file, or its folder.")
    ] = None,
    headline: Annotated[
        str, typer.Option("--headline", help="top1 or mean-per-class: what comes first and decides; both are there.")
    ] = "top1",
    all_columns: common.AllColumns = False,
    partial: common.Partial = False,
    allow_chance: common.AllowChance = False,
    out: shared.Out = None,
    long: common.Long = False,
    output: shared.Format = "table",
) -> None:
    """Top-1, top-5 and mean-per-class accuracy, and every pair of backbones on the same samples."""
    from cvbench.cli.display import progress
    from cvbench.jobs.evaluation.accuracy import SECTION, AccuracyOptions
    from cvbench.jobs.evaluation.accuracy import accuracy as run
    from cvbench.jobs.selection import Selection

    shared.check_format(output, ("table", "json", "csv"))
    names: list[str | None] = [*dict.fromkeys(dataset)] or [None]
    selections = [Selection(store, name, split, tuple(backbone)) for name in names]
    options = common.eval_options(partial, allow_chance)
    with progress() as listen:
        found = run(selections, AccuracyOptions(options, per_class, real, not all_columns, headline), listen)
    common.show(found, SECTION, output, out, long or per_class)
