"""`cvbench eval robustness`."""

from __future__ import annotations

from typing import Annotated

import typer

from cvbench.cli import options as shared
from cvbench.cli.evaluate import shared as common


def robustness(
    store: shared.Store = shared.DEFAULT_STORE,
    dataset: Annotated[
        list[str], typer.Option("--dataset", "-d", help="Shifted data sets; default all that the store has. Repeat.")
    ] = [],
    clean: Annotated[
        str | None, typer.Option("--clean", help="What they are compared with; default imagenet-val, if it is there.")
    ] = None,
    backbone: shared.Backbones = [],
    partial: common.Partial = False,
    allow_chance: common.AllowChance = False,
    out: shared.Out = None,
    long: common.Long = False,
    output: shared.Format = "table",
) -> None:
    """Accuracy on ImageNetV2, -A, -R and -Sketch, beside the clean images of the same classes."""
    from cvbench.cli.display import progress
    from cvbench.jobs.evaluation.robustness import SECTION
    from cvbench.jobs.evaluation.robustness import robustness as run

    shared.check_format(output, ("table", "json", "csv"))
    options = common.eval_options(partial, allow_chance)
    with progress() as listen:
        found = run(store, dataset, clean, backbone, options, listen)
    common.show([found], SECTION, output, out, long)
