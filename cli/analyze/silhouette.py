"""`cvbench analyze silhouette`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cvbench.cli import options as shared
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.results.keep import Analysed

COMPANIONS = {
    "simplified": "simplified silhouette",
    "davies_bouldin": "Davies-Bouldin",
    "calinski_harabasz": "Calinski-Harabasz",
}

View = Annotated[str, typer.Option("--view", help="head, logits, pooled or cls.")]
Metrics = Annotated[
    list[str], typer.Option("--metric", help="euclidean, cosine or sqeuclidean; default euclidean. Repeat.")
]
Spaces = Annotated[
    list[str],
    typer.Option(
        "--space",
        help="features, standardised, pca50 or tsne (a map of `analyze tsne`); default standardised. Repeat.",
    ),
]
Map = Annotated[
    str | None,
    typer.Option(
        "--map",
        help="Of --space tsne: a result of `analyze tsne`, by its path in the store or the last part of it. "
        "Default: that of its default options, else the only one; if there is none, it is made.",
    ),
]
Sample = Annotated[
    str, typer.Option("--sample", help="Samples to score against all, each class in proportion, or 'all'.")
]


def silhouette(
    store: shared.Store = shared.DEFAULT_STORE,
    dataset: shared.Datasets = [],
    split: shared.Split = None,
    backbone: shared.Backbones = [],
    view: View = "head",
    taps: shared.Layers = [],
    metric: Metrics = [],
    space: Spaces = [],
    tsne_map: Map = None,
    sample: Sample = "all",
    resamples: shared.Resamples = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the sample and of the intervals.")] = 0,
    address: shared.Address = "none",
    device: shared.Device = "auto",
    out: shared.Out = None,
    output: shared.Format = "table",
) -> None:
    """Silhouette of the classes, exact, per data set, backbone and space, with 95 % intervals.

    With the Davies-Bouldin and Calinski-Harabasz indices and the simplified silhouette. Two backbones or more: also
    their paired differences on the same samples.
    """
    from cvbench.cli.display import progress
    from cvbench.jobs.analyses.measure import analysis_device
    from cvbench.jobs.analyses.silhouette import SilhouetteOptions
    from cvbench.jobs.analyses.silhouette import silhouette as run
    from cvbench.jobs.reading.selection import Selection
    from cvbench.jobs.running.executor import Cluster

    shared.check_format(output, ("table", "json", "csv"))
    names: list[str | None] = [*dict.fromkeys(dataset)] or [None]
    selections = [Selection(store, name, split, tuple(backbone), view, tuple(taps)) for name in names]
    metrics = tuple(dict.fromkeys(metric)) or ("euclidean",)
    options = SilhouetteOptions(metrics, sample=shared.size(sample, "--sample"), resamples=resamples, seed=seed)
    cluster = Cluster(address=address)
    with progress() as listen:
        chosen = analysis_device(device, "none")
        spaces = tuple(dict.fromkeys(space))
        outcomes = run(selections, options, chosen, listen, spaces=spaces, cluster=cluster, map_name=tsne_map)
    _show_silhouette(outcomes, output)
    if out is not None:
        from cvbench.jobs.analyses.silhouette_rows import outcomes_figure

        for path in outcomes_figure(outcomes, out):
            say(f"figure: {path}", err=True)


def _show_silhouette(outcomes: list[Analysed], output: str) -> None:
    from cvbench.jobs.analyses.silhouette import comparison_notes, table_differences, table_json, table_rows

    rows = list(table_rows(outcomes))
    if output == "json":
        paths = [outcome.path for outcome in outcomes]
        shared.echo_json({"schema_version": 1, **table_json(outcomes), "stored": paths})
        return
    if output == "csv":
        shared.echo_csv(rows)
        return
    names = ("dataset", "backbone", "tap", "space")
    cells = []
    for row in rows:
        numbers = [_cell(row, name) for name in ("micro", "macro", "negative")]
        counts = [str(row["classes"]), f"{row['scored']} of {row['samples']}"]
        cells.append([*(row[key] for key in (*names, "metric")), *numbers, *counts])
    columns = ["silhouette", "class mean", "share < 0", "classes", "samples scored"]
    shared.echo_table(["dataset", "backbone", "tap", "space", "metric", *columns], cells)
    say(f"[]: 95 % interval, {outcomes[0].result.attrs['interval']}")
    _show_companions(rows)
    _show_differences(list(table_differences(outcomes)), outcomes[0].result.attrs["family"])
    for note in comparison_notes(outcomes):
        say(f"note: {note}")
    for outcome in outcomes:
        say(f"result: {outcome.path} in the store")


def _cell(row: dict[str, Any], name: str) -> str:
    from cvbench.jobs.results.words import cell

    return cell(
        {key: _defined(row[f"{name}{end}"]) for key, end in (("value", ""), ("low", "_low"), ("high", "_high"))}
    )


def _defined(value: float) -> float | None:
    import math

    return value if math.isfinite(value) else None


def _show_companions(rows: list[dict[str, Any]]) -> None:
    names = ("dataset", "backbone", "tap", "space")
    cells = [
        [*(row[key] for key in names), *(_cell(row, name) for name in COMPANIONS), str(row["samples"])] for row in rows
    ]
    say()
    columns = ["simplified silhouette", "Davies-Bouldin (less is better)", "Calinski-Harabasz", "samples"]
    shared.echo_table([*names, *columns], list({tuple(line): line for line in cells}.values()))
    say("[]: 95 % interval, made likewise; Euclidean distances to the class centroids")


def _show_differences(rows: list[dict[str, Any]], family: str) -> None:
    from cvbench.jobs.results.words import cell, verdict_of

    cells = []
    for row in rows:
        names = [row[key] for key in ("dataset", "a", "b", "space", "metric")]
        ends = (_defined(row[key]) for key in ("difference", "low", "high"))
        found = {**dict(zip(("value", "low", "high"), ends, strict=True)), "resolved": row["resolved"]}
        what = COMPANIONS.get(row["mean"], row["mean"])
        cells.append([*names, what, cell(found, "+.4f") + verdict_of(found).mark, row["interval"]])
    if cells:
        say()
        columns = ["of", "difference", "interval"]
        shared.echo_table(["dataset", "backbone", "minus", "space", "metric", *columns], cells)
        say("within classes: for other samples of these classes; resampling of classes: for classes like these")
        say(family)
