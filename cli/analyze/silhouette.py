"""`cvbench analyze silhouette`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

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
    space: Annotated[
        list[str],
        typer.Option(
            "--space",
            help="features, standardised, pca50 or tsne (the map of `analyze tsne`); default standardised. Repeat.",
        ),
    ] = [],
    sample: Annotated[
        str, typer.Option("--sample", help="Samples to score against all, each class in proportion, or 'all'.")
    ] = "all",
    resamples: shared.Resamples = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the sample and of the bootstrap.")] = 0,
    address: shared.Address = "none",
    device: shared.Device = "auto",
    out: shared.Out = None,
    output: shared.Format = "table",
) -> None:
    """Silhouette of the classes, exact, per data set, backbone and space, with 95 % intervals.

    Two backbones or more: also their paired differences on the same samples.
    """
    from cvbench.cli.display import progress
    from cvbench.jobs.analyze import Selection, analysis_device
    from cvbench.jobs.executor import Cluster
    from cvbench.jobs.silhouette import SilhouetteOptions
    from cvbench.jobs.silhouette import silhouette as run

    shared.check_format(output, ("table", "json", "csv"))
    names: list[str | None] = [*dict.fromkeys(dataset)] or [None]
    selections = [Selection(store, name, split, tuple(backbone), view, tuple(taps)) for name in names]
    metrics = tuple(dict.fromkeys(metric)) or ("euclidean",)
    options = SilhouetteOptions(metrics, sample=shared.size(sample, "--sample"), resamples=resamples, seed=seed)
    cluster = Cluster(address=address)
    with progress() as listen:
        chosen = analysis_device(device, "none")
        outcomes = run(selections, options, chosen, listen, spaces=tuple(dict.fromkeys(space)), cluster=cluster)
    _show_silhouette(outcomes, output)
    if out is not None:
        from cvbench.jobs.silhouette_rows import outcomes_figure

        for path in outcomes_figure(outcomes, out):
            typer.echo(f"figure: {path}", err=True)


def _show_silhouette(outcomes: list[Analysed], output: str) -> None:
    from cvbench.jobs.silhouette import comparison_notes, table_differences, table_json, table_rows

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
        names = [row[key] for key in ("dataset", "backbone", "tap", "space", "metric")]
        ends = [shared.number(row[key]) for key in ("micro", "micro_low", "micro_high", "macro", "negative")]
        cells.append([*names, *ends, str(row["classes"]), f"{row['scored']} of {row['samples']}"])
    columns = ["silhouette", "low", "high", "class mean", "share < 0", "classes", "samples scored"]
    shared.echo_table(["dataset", "backbone", "tap", "space", "metric", *columns], cells)
    typer.echo("95 % intervals: bootstrap within classes")
    _show_differences(list(table_differences(outcomes)))
    for note in comparison_notes(outcomes):
        typer.echo(f"note: {note}")
    for outcome in outcomes:
        typer.echo(f"result: {outcome.path} in the store")


def _show_differences(rows: list[dict[str, Any]]) -> None:
    cells = []
    for row in rows:
        names = [row[key] for key in ("dataset", "a", "b", "space", "metric", "mean")]
        ends = [f"{row[key]:+.4f}" for key in ("difference", "low", "high")]
        cells.append([*names, *ends, "" if row["resolved"] else "not resolved", row["interval"]])
    if cells:
        typer.echo("")
        columns = ["difference", "low", "high", "", "interval"]
        shared.echo_table(["dataset", "backbone", "minus", "space", "metric", "mean", *columns], cells)
