"""`cvbench analyze silhouette`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cvbench.cli import options as shared

if TYPE_CHECKING:
    from cvbench.jobs.analyze import Analysed


def silhouette(
    store: shared.Store = shared.DEFAULT_STORE,
    dataset: shared.Datasets = [],
    split: shared.Split = None,
    backbone: shared.Backbones = [],
    view: Annotated[str, typer.Option("--view", help="head, logits, pooled or cls.")] = "head",
    taps: shared.Layers = [],
    metric: Annotated[
        list[str], typer.Option("--metric", help="euclidean, cosine or sqeuclidean; default euclidean. Repeat.")
    ] = [],
    raw: Annotated[bool, typer.Option("--raw", help="The features as they are, not standardised.")] = False,
    sample: Annotated[
        str, typer.Option("--sample", help="Samples to score against all, each class in proportion, or 'all'.")
    ] = "all",
    resamples: shared.Resamples = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the sample and of the bootstrap.")] = 0,
    device: shared.Device = "auto",
    output: shared.Format = "table",
) -> None:
    """Silhouette of the classes in the features, exact, per data set and backbone, with 95 % intervals."""
    from cvbench.cli.display import progress
    from cvbench.jobs.analyze import Selection, analysis_device
    from cvbench.jobs.silhouette import SilhouetteOptions
    from cvbench.jobs.silhouette import silhouette as run

    shared.check_format(output, ("table", "json", "csv"))
    names: list[str | None] = [*dict.fromkeys(dataset)] or [None]
    selections = [Selection(store, name, split, tuple(backbone), view, tuple(taps)) for name in names]
    metrics = tuple(dict.fromkeys(metric)) or ("euclidean",)
    options = SilhouetteOptions(metrics, not raw, shared.size(sample, "--sample"), resamples, seed=seed)
    with progress() as listen:
        outcomes = run(selections, options, analysis_device(device, "none"), listen)
    _show_silhouette(outcomes, output)


def _show_silhouette(outcomes: list[Analysed], output: str) -> None:
    from cvbench.jobs.silhouette import comparison_notes, table_json, table_rows

    rows = list(table_rows(outcomes))
    if output == "json":
        paths = [outcome.path for outcome in outcomes]
        shared.echo_json({"schema_version": 1, **table_json(outcomes), "stored": paths})
        return
    if output == "csv":
        shared.echo_csv(rows)
        return
    cells = []
    for row in rows:
        names = [row[key] for key in ("dataset", "backbone", "tap", "metric")]
        ends = [shared.number(row[key]) for key in ("micro", "micro_low", "micro_high", "macro", "negative")]
        cells.append([*names, *ends, str(row["classes"]), f"{row['scored']} of {row['samples']}"])
    columns = ["silhouette", "low", "high", "class mean", "share < 0", "classes", "samples scored"]
    shared.echo_table(["dataset", "backbone", "tap", "metric", *columns], cells)
    typer.echo(f"{rows[0]['space']}; 95 % intervals: bootstrap within classes")
    for note in comparison_notes(outcomes):
        typer.echo(f"note: {note}")
    for outcome in outcomes:
        typer.echo(f"result: {outcome.path} in the store")
