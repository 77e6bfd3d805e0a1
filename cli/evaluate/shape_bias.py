"""`cvbench eval shape-bias`."""

from __future__ import annotations

from typing import Annotated

import typer

from cvbench.cli import options as shared
from cvbench.cli.evaluate import shared as common


def shape_bias(
    store: shared.Store = shared.DEFAULT_STORE,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Default cue-conflict.")] = None,
    split: shared.Split = None,
    backbone: shared.Backbones = [],
    partial: common.Partial = False,
    allow_chance: common.AllowChance = False,
    out: shared.Out = None,
    long: common.Long = False,
    output: shared.Format = "table",
) -> None:
    """Shape bias on cue-conflict images, pooled and per shape category."""
    from cvbench.cli.display import progress
    from cvbench.jobs.evaluation.shape_bias import SECTION, evaluate
    from cvbench.jobs.selection import Selection

    shared.check_format(output, ("table", "json", "csv"))
    options = common.eval_options(partial, allow_chance)
    with progress() as listen:
        found = evaluate(Selection(store, dataset, split, tuple(backbone)), options, listen)
    common.show([found], SECTION, output, out, long)
