"""`cvbench eval invariance`."""

from __future__ import annotations

from typing import Annotated

import typer

from cvbench.cli import options as shared
from cvbench.cli.evaluate import shared as common


def invariance(
    store: shared.Store = shared.DEFAULT_STORE,
    dataset: shared.OneDataset = None,
    split: shared.Split = None,
    backbone: shared.Backbones = [],
    transform: Annotated[
        list[str],
        typer.Option(
            "--transform", "-t", help="scale, shift, shift-frame or resolution; default all that are there. Repeat."
        ),
    ] = [],
    grid: Annotated[
        list[str],
        typer.Option("--grid", help="A value of it: 1.5, or 8,0 for shift-frame; default all there are. Repeat."),
    ] = [],
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="The value to compare with; default scale 1, shift 0, the model's own size."),
    ] = None,
    partial: common.Partial = False,
    allow_chance: common.AllowChance = False,
    out: shared.Out = None,
    long: common.Long = False,
    output: shared.Format = "table",
) -> None:
    """Accuracy and true-class probability as images are scaled, shifted or shown at another resolution.

    Extract first, one data set per setting: `cvbench extract --dataset NAME+scale --view logits`, or `NAME+shift`, or
    `--dataset NAME --image-size 112` and so on for the resolution. What the store lacks is listed.
    """
    from cvbench.cli.display import progress
    from cvbench.jobs.evaluation.invariance import SECTION, InvarianceOptions
    from cvbench.jobs.evaluation.invariance import invariance as run

    shared.check_format(output, ("table", "json", "csv"))
    common_options = common.eval_options(partial, allow_chance)
    options = InvarianceOptions(common_options, tuple(transform), tuple(grid), reference)
    with progress() as listen:
        found = run(store, dataset, split, backbone, options, listen)
    common.show(found, SECTION, output, out, long)
