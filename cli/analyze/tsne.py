"""`cvbench analyze tsne`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cvbench.cli import options as shared
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.results.keep import Analysed

SHOWN = ("trustworthiness_10", "recall_10", "purity_features_10", "purity_map_10", "silhouette_map")

View = Annotated[str, typer.Option("--view", help="head, logits, pooled or cls.")]
Backend = Annotated[str, typer.Option("--backend", help="auto, opentsne, sklearn or cuml.")]
Perplexity = Annotated[float, typer.Option("--perplexity", min=1.0, help="Effective number of neighbours.")]
Iterations = Annotated[int, typer.Option("--iterations", help="Of them 250 with exaggeration.")]
Preprocess = Annotated[
    str, typer.Option("--preprocess", help="standardise, none or l2 (then distances rank as the cosine does).")
]
Components = Annotated[int, typer.Option("--components", min=2, help="Principal components before t-SNE.")]
Repeats = Annotated[
    int, typer.Option("--repeats", min=1, help="Runs: one from PCA, which is shown, the others for the spread.")
]
Sample = Annotated[str, typer.Option("--sample", help="Samples to map, each class in proportion, or 'all'.")]
Measured = Annotated[int, typer.Option("--measured", min=3, help="Samples that the measures are of.")]


def tsne(
    store: shared.Store = shared.DEFAULT_STORE,
    dataset: shared.OneDataset = None,
    split: shared.Split = None,
    backbone: shared.Backbones = [],
    view: View = "head",
    taps: shared.Layers = [],
    backend: Backend = "auto",
    perplexity: Perplexity = 30.0,
    iterations: Iterations = 1000,
    preprocess: Preprocess = "standardise",
    components: Components = 50,
    repeats: Repeats = 5,
    sample: Sample = "all",
    measured: Measured = 5000,
    resamples: shared.Resamples = 2000,
    seed: shared.Seed = 0,
    out: shared.Out = None,
    address: shared.Address = "none",
    device: shared.Device = "auto",
    output: shared.Format = "table",
) -> None:
    """t-SNE maps of the features, and how far they can be believed, with 95 % intervals over images.

    A map is one computation: it is made in this process, at any --address.
    """
    from cvbench.cli.display import progress
    from cvbench.jobs.analyses.measure import analysis_device
    from cvbench.jobs.analyses.tsne import TsneOptions
    from cvbench.jobs.analyses.tsne import tsne as run
    from cvbench.jobs.reading.selection import Selection
    from cvbench.jobs.running.progress import Note

    shared.check_format(output, ("table", "json", "csv"))
    selection = Selection(store, dataset, split, tuple(backbone), view, tuple(taps))
    options = TsneOptions(
        backend=backend,
        perplexity=perplexity,
        iterations=iterations,
        preprocess=preprocess,
        components=components,
        repeats=repeats,
        sample=shared.size(sample, "--sample"),
        measured=measured,
        resamples=resamples,
        seed=seed,
    )
    chosen = analysis_device(device, "none")
    with progress() as listen:
        if address != "none":
            listen(Note(f"--address {address} is not used: t-SNE runs in this process"))
        analysed = run(selection, options, listen, chosen)
    _show_tsne(analysed, output)
    if out is not None:
        from pathlib import Path

        from cvbench.jobs.figures.tsne import tsne_figure

        name = f"tsne-{analysed.selected.dataset}-{analysed.selected.split}"
        for path in tsne_figure(analysed.result, Path(out) / name):
            say(f"figure: {path}", err=True)


def _show_tsne(analysed: Analysed, output: str) -> None:
    from cvbench.jobs.analyses.tsne import difference_rows, measure_rows, measure_text, tsne_json
    from cvbench.jobs.results.words import cell, classes_said, difference, interval

    result, selected = analysed.result, analysed.selected
    rows = list(measure_rows(result))
    if output == "json":
        names = {key: getattr(selected, key) for key in ("dataset", "split", "view")}
        shared.echo_json({"schema_version": 1, **names, **tsne_json(result), "stored": analysed.path})
        return
    if output == "csv":
        shared.echo_csv(rows)
        return
    cells = []
    for row in rows:
        if row["measure"] in SHOWN:
            classes = interval(row["class_low"], row["class_high"]) or "-"
            numbers = [cell(row), classes, shared.number(row["sd_over_runs"]), str(row["n"])]
            cells.append([row["backbone"], row["tap"], row["measure"], *numbers])
    shared.echo_table(["backbone", "tap", "measure", "value", "over classes", "sd of runs", "images"], cells)
    attrs = result.attrs
    say(
        f"{attrs['backend']} {attrs['backend_version']}, perplexity {attrs['perplexity']:g}, "
        f"{attrs['iterations']} iterations, {attrs['repeats']} runs"
    )
    of_classes = any(row["class_low"] is not None for row in rows)
    classes = classes_said(len(attrs["labels"])) if of_classes else ""
    say(f"[]: {attrs['confidence']:.0%} interval over images, given the map{classes}")
    if attrs["chance_purity"] is not None:
        say(f"purity by chance: {attrs['chance_purity']:.4f}; --format csv has all measures")
    for row in difference_rows(result):
        if row["measure"] in SHOWN and row["value"] is not None:
            pair = f"{row['backbone_a']} {row['tap_a']} less {row['backbone_b']} {row['tap_b']}"
            say(f"{pair}: {measure_text(row['measure'])} {difference(row)}")
    if attrs["pairs"]:
        say(attrs["family"])
    for note in attrs["notes"]:
        say(f"note: {note}")
    say(f"result: {analysed.path} in the store")
