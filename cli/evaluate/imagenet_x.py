"""`cvbench eval imagenet-x`."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import typer

from cvbench.cli import options as shared
from cvbench.cli.evaluate import shared as common


def imagenet_x(
    annotations: Annotated[str, typer.Option("--annotations", help="Folder of ImageNet-X's annotation files.")],
    store: shared.Store = shared.DEFAULT_STORE,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Default imagenet-val.")] = None,
    split: shared.Split = None,
    backbone: shared.Backbones = [],
    factors: Annotated[str, typer.Option("--factors", help="top: one per image; multi: all that were named.")] = "top",
    overall: Annotated[
        str, typer.Option("--overall", help="annotated (as the reference) or full_val: what a ratio compares with.")
    ] = "annotated",
    error: Annotated[str, typer.Option("--error", help="class, real_class or metaclass.")] = "class",
    real: Annotated[str | None, typer.Option("--real", help="Where the ReaL labels lie, for real_class.")] = None,
    unlabelled: Annotated[
        str, typer.Option("--unlabelled", help="Images without a ReaL label: leave-out, or wrong (as the reference).")
    ] = "leave-out",
    keep_prototypes: Annotated[
        bool, typer.Option("--keep-prototypes", help="Count the images that annotators saw as prototypes.")
    ] = False,
    export: Annotated[
        str | None,
        typer.Option("--export", help="Folder for each backbone's predictions, in the reference's format."),
    ] = None,
    partial: common.Partial = False,
    allow_chance: common.AllowChance = False,
    resamples: shared.Resamples = 2000,
    seed: shared.Seed = 0,
    out: shared.Out = None,
    long: common.Long = False,
    output: shared.Format = "table",
) -> None:
    """Error ratios of the sixteen factors of ImageNet-X."""
    from cvbench.cli.display import progress
    from cvbench.jobs.evaluation.imagenet_x import SECTION, ImageNetXOptions
    from cvbench.jobs.evaluation.imagenet_x import imagenet_x as run
    from cvbench.jobs.selection import Selection

    shared.check_format(output, ("table", "json", "csv"))
    options = ImageNetXOptions(
        annotations,
        cast(Literal["top", "multi"], factors),
        overall,
        error,
        real,
        unlabelled,
        keep_prototypes,
        export,
        common.eval_options(partial, allow_chance),
        shared.intervals(resamples, seed),
    )
    with progress() as listen:
        found = run(Selection(store, dataset, split, tuple(backbone)), options, listen)
    common.show([found], SECTION, output, out, long)
