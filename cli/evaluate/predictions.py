"""`cvbench eval import`."""

from __future__ import annotations

from typing import Annotated

import typer

from cvbench.cli import options as shared
from cvbench.cli.evaluate import shared as common
from cvbench.cli.say import say


def import_predictions(
    file: Annotated[str, typer.Argument(help="csv, json, jsonl, npy or npz of predicted classes, or of all values.")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="The data set that was predicted.")],
    backbone: Annotated[str, typer.Option("--backbone", "-m", help="The name that the predictions get.")],
    store: shared.Store = shared.DEFAULT_STORE,
    split: shared.Split = None,
    data_root: shared.DataRoot = None,
    values: Annotated[
        str, typer.Option("--values", help="What a table holds: logits, probabilities, or auto (do rows sum to 1?).")
    ] = "auto",
    by_order: Annotated[
        bool, typer.Option("--by-order", help="Match by the data set's order, not by file name.")
    ] = False,
    partial: common.Partial = False,
    name_column: Annotated[
        str | None, typer.Option("--name-column", help="Column of the samples' names, if it is not found by its name.")
    ] = None,
    class_column: Annotated[
        str | None, typer.Option("--class-column", help="Column of the predicted class, of several or of another name.")
    ] = None,
    probability_column: Annotated[
        str | None, typer.Option("--probability-column", help="Column of the predicted class's probability.")
    ] = None,
    classes: Annotated[
        str,
        typer.Option(
            "--classes", help="What a number in the column of classes is: an index, the name of a class, or auto."
        ),
    ] = "auto",
) -> None:
    """Make the predictions of another tool the logits of a backbone, so that every benchmark can score them."""
    from cvbench.cli.display import progress
    from cvbench.jobs.evaluation.predictions import ImportOptions
    from cvbench.jobs.evaluation.predictions import import_predictions as run

    options = ImportOptions(
        file, dataset, backbone, store, split, data_root, values, by_order, partial,
        name_column, class_column, probability_column, classes,
    )  # fmt: skip
    with progress() as listen:
        done = run(options, listen)
    there = f"{done.dataset}/{done.split}/{done.backbone}"
    say(f"{there}: {done.samples - done.missing:,} of {done.samples:,} samples, {done.kind}")
    if done.missing:
        say(f"{done.missing:,} samples have no prediction and count as failed")
    if not done.kind.startswith(("logits", "probabilities")):
        say("only the winner is known: top-5, NLL, Brier, masked classes and the shape bias are not defined")
