"""`cvbench analyze ...`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cvbench.cli import options as shared

if TYPE_CHECKING:
    from cvbench.jobs.analyze import Analysed

app = typer.Typer(help="Compute results from a feature store.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def group() -> None:
    """Compute results from a feature store. Partials are kept per unit: a result is never computed twice."""


@app.command()
def cka(
    store: shared.Store = shared.DEFAULT_STORE,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Data set, if the store holds several.")
    ] = None,
    split: shared.Split = None,
    backbone: Annotated[list[str], typer.Option("--backbone", "-m", help="Backbones; default all. Repeat.")] = [],
    view: Annotated[str, typer.Option("--view", help="pooled, maps, cls or head.")] = "pooled",
    taps: Annotated[list[str], typer.Option("--taps", help="Layers, names or globs; default all. Repeat.")] = [],
    estimator: Annotated[str, typer.Option("--estimator", help="minibatch, debiased or biased.")] = "minibatch",
    cka_batch: Annotated[
        str, typer.Option("--cka-batch", help="Samples per CKA batch, at least 4, or 'auto'.")
    ] = "auto",
    resamples: Annotated[int, typer.Option("--resamples", min=1, help="Bootstrap resamples.")] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.")] = 0,
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="Folder for the heat maps (SVG, PNG) and their data.")
    ] = None,
    address: shared.Address = "local",
    device: shared.Device = "auto",
    gpus: shared.Gpus = None,
    threads: shared.Threads = None,
    output: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
) -> None:
    """Layerwise linear CKA (HSIC1, minibatch) of every pair of layers of every backbone, with 95 % intervals."""
    from cvbench.cli.display import progress
    from cvbench.jobs.analyze import Selection, analysis_device
    from cvbench.jobs.cka import CkaOptions
    from cvbench.jobs.cka import cka as run

    shared.check_format(output, ("table", "json", "csv"))
    batch = None if cka_batch == "auto" else shared.size(cka_batch, "--cka-batch")
    selection = Selection(store, dataset, split, tuple(backbone), view, tuple(taps))
    options = CkaOptions(estimator, batch, resamples, seed)
    cluster = shared.cluster(address, analysis_device(device, address), gpus, threads)
    with progress() as listen:
        analysed = run(selection, options, cluster, listen)
    _show_cka(analysed, output)
    if out is not None:
        from pathlib import Path

        from cvbench.jobs.figures import cka_heatmaps

        name = f"cka-{analysed.selected.dataset}-{analysed.selected.split}-{analysed.selected.view}"
        for path in cka_heatmaps(analysed.result, Path(out) / name):
            typer.echo(f"figure: {path}", err=True)


def _show_cka(analysed: Analysed, output: str) -> None:
    from cvbench.jobs.cka import cka_json, cka_rows

    result = analysed.result
    if output == "json":
        shared.echo_json({"schema_version": 1, **cka_json(result, analysed.selected.dataset)})
    elif output == "csv":
        shared.echo_csv(list(cka_rows(result)))
    else:
        attrs = result.attrs
        rows = [
            [entry["name"], shared.number(entry["value"]), shared.number(entry["low"]), shared.number(entry["high"])]
            for entry in attrs["summary"]
        ]
        shared.echo_table(["linear CKA", "value", "low", "high"], rows)
        selected = analysed.selected
        typer.echo(
            f"{selected.dataset}/{selected.split}, view {selected.view}: {len(attrs['layers'])} layers, "
            f"{attrs['samples']} samples in {attrs['batches']} batches of {attrs['batch_size']}, {attrs['estimator']}"
        )
        for entry in attrs["undefined"]:
            typer.echo(f"undefined: {entry['backbone']}/{entry['tap']}: {entry['reason']}")
        for note in attrs["notes"]:
            typer.echo(f"note: {note}")
        typer.echo(f"result: {analysed.path} in the store")


@app.command()
def spectra(
    store: shared.Store = shared.DEFAULT_STORE,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Data set, if the store holds several.")
    ] = None,
    split: shared.Split = None,
    backbone: Annotated[list[str], typer.Option("--backbone", "-m", help="Backbones; default all. Repeat.")] = [],
    taps: Annotated[list[str], typer.Option("--taps", help="Layers, names or globs; default all. Repeat.")] = [],
    resamples: Annotated[int, typer.Option("--resamples", min=1, help="Bootstrap resamples.")] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.")] = 0,
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="Folder for the figure (SVG, PNG) and its data.")
    ] = None,
    address: shared.Address = "local",
    device: shared.Device = "auto",
    gpus: shared.Gpus = None,
    threads: shared.Threads = None,
    output: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
) -> None:
    """Fourier spectra of the stored maps of every layer of every backbone, with 95 % intervals over images."""
    from cvbench.cli.display import progress
    from cvbench.jobs.analyze import Selection, analysis_device
    from cvbench.jobs.spectra import VIEW, SpectraOptions
    from cvbench.jobs.spectra import spectra as run

    shared.check_format(output, ("table", "json", "csv"))
    selection = Selection(store, dataset, split, tuple(backbone), VIEW, tuple(taps))
    cluster = shared.cluster(address, analysis_device(device, address), gpus, threads)
    with progress() as listen:
        analysed = run(selection, SpectraOptions(resamples, seed), cluster, listen)
    _show_spectra(analysed, output)
    if out is not None:
        from pathlib import Path

        from cvbench.jobs.spectra_figure import spectra_figure

        name = f"spectra-{analysed.selected.dataset}-{analysed.selected.split}"
        for path in spectra_figure(analysed.result, Path(out) / name):
            typer.echo(f"figure: {path}", err=True)


def _show_spectra(analysed: Analysed, output: str) -> None:
    from cvbench.jobs.spectra import spectra_json, spectra_rows

    result, selected = analysed.result, analysed.selected
    report = spectra_json(result, selected.dataset)
    if output == "json":
        shared.echo_json({"schema_version": 1, **report})
        return
    if output == "csv":
        shared.echo_csv(list(spectra_rows(result)))
        return
    rows = []
    for layer in report["layers"]:
        measures = {measure["name"]: measure for measure in layer["measures"]}
        high = measures["share_above_0.5"]
        numbers = [high["value"], high["low"], high["high"], high["white_noise"]]
        numbers += [measures["centroid"]["value"], measures["dc_share"]["value"], layer["profile"]["value"][-1]]
        names = [layer["backbone"], layer["tap"], "x".join(map(str, layer["grid"]))]
        rows.append([*names, *map(shared.number, numbers), str(high["n_undefined"])])
    top = f"log amplitude at {report['frequency'][-1]:.3f} pi"
    columns = ["share above 0.5 pi", "low", "high", "of noise", "centroid", "DC share", top, "undefined"]
    shared.echo_table(["backbone", "tap", "grid", *columns], rows)
    typer.echo(f"{selected.dataset}/{selected.split}: {len(rows)} layers, {report['samples']} images")
    typer.echo(f"log amplitude is relative to DC (nat); white noise is at +{report['null_level']:.3f}, not at 0")
    for note in report["notes"]:
        typer.echo(f"note: {note}")
    typer.echo(f"result: {analysed.path} in the store")


@app.command()
def silhouette(
    store: shared.Store = shared.DEFAULT_STORE,
    dataset: Annotated[
        list[str], typer.Option("--dataset", "-d", help="Data sets, if the store holds several. Repeat.")
    ] = [],
    split: shared.Split = None,
    backbone: Annotated[list[str], typer.Option("--backbone", "-m", help="Backbones; default all. Repeat.")] = [],
    view: Annotated[str, typer.Option("--view", help="head, logits, pooled or cls.")] = "head",
    taps: Annotated[list[str], typer.Option("--taps", help="Layers, names or globs; default all. Repeat.")] = [],
    metric: Annotated[
        list[str], typer.Option("--metric", help="euclidean, cosine or sqeuclidean; default euclidean. Repeat.")
    ] = [],
    raw: Annotated[bool, typer.Option("--raw", help="The features as they are, not standardised.")] = False,
    sample: Annotated[
        str, typer.Option("--sample", help="Samples to score against all, each class in proportion, or 'all'.")
    ] = "all",
    resamples: Annotated[int, typer.Option("--resamples", min=1, help="Bootstrap resamples.")] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the sample and of the bootstrap.")] = 0,
    device: shared.Device = "auto",
    output: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
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
