"""`cvbench eval pug`."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import typer

from cvbench.cli import options as shared
from cvbench.cli.evaluate import shared as common


def pug(
    labels: Annotated[str, typer.Option("--labels", help="class_to_imagenet_idx.json, or its folder.")],
    store: shared.Store = shared.DEFAULT_STORE,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Default pug-imagenet.")] = None,
    split: shared.Split = None,
    backbone: shared.Backbones = [],
    mode: Annotated[
        str, typer.Option("--mode", help="set: any ImageNet class of a label; reference: as the authors' code.")
    ] = "set",
    partial: common.Partial = False,
    allow_chance: common.AllowChance = False,
    out: shared.Out = None,
    long: common.Long = False,
    output: shared.Format = "table",
) -> None:
    """Accuracy on PUG: ImageNet per factor, sub-factor and value, with intervals over objects."""
    from cvbench.cli.display import progress
    from cvbench.jobs.evaluation.pug import SECTION, PugOptions
    from cvbench.jobs.evaluation.pug import pug as run
    from cvbench.jobs.selection import Selection

    shared.check_format(output, ("table", "json", "csv"))
    options = PugOptions(
        labels,
        cast(Literal["set", "reference"], mode),
        common.eval_options(partial, allow_chance),
    )
    with progress() as listen:
        found = run(Selection(store, dataset, split, tuple(backbone)), options, listen)
    common.show([found], SECTION, output, out, long)
