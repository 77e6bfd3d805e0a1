"""`cvbench analyze cka`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cvbench.cli import options as shared
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.results.keep import Analysed


def cka(
    store: shared.Store = shared.DEFAULT_STORE,
    dataset: shared.OneDataset = None,
    split: shared.Split = None,
    backbone: shared.Backbones = [],
    view: Annotated[
        str,
        typer.Option(
            "--view",
            help="maps (all positions), pooled (their mean), cls, head, or auto: all positions where the store has "
            "them or `extract --analyze cka` measured them, as in the study's Figure 5, else pooled.",
        ),
    ] = "auto",
    taps: shared.Layers = [],
    estimator: Annotated[str, typer.Option("--estimator", help="minibatch, debiased or biased.")] = "minibatch",
    cka_batch: Annotated[
        str, typer.Option("--cka-batch", help="Samples per CKA batch, at least 4, or 'auto'.")
    ] = "auto",
    out: shared.Out = None,
    address: shared.Address = "local",
    device: shared.Device = "auto",
    gpus: shared.Gpus = None,
    threads: shared.Threads = None,
    output: shared.Format = "table",
) -> None:
    """Layerwise linear CKA (HSIC1, minibatch) of every pair of layers of every backbone, with 95 % intervals."""
    from cvbench.cli.display import progress
    from cvbench.jobs.analyses.cka import CkaOptions
    from cvbench.jobs.analyses.cka import cka as run
    from cvbench.jobs.analyses.measure import analysis_device
    from cvbench.jobs.reading.selection import Selection

    shared.check_format(output, ("table", "json", "csv"))
    batch = None if cka_batch == "auto" else shared.size(cka_batch, "--cka-batch")
    selection = Selection(store, dataset, split, tuple(backbone), view, tuple(taps))
    options = CkaOptions(estimator, batch)
    cluster = shared.cluster(address, analysis_device(device, address), gpus, threads)
    with progress() as listen:
        analysed = run(selection, options, cluster, listen)
    _show_cka(analysed, output)
    if out is not None:
        from pathlib import Path

        from cvbench.jobs.figures.cka import cka_heatmaps

        name = f"cka-{analysed.selected.dataset}-{analysed.selected.split}-{analysed.selected.view}"
        for path in cka_heatmaps(analysed.result, Path(out) / name):
            say(f"figure: {path}", err=True)


def _show_cka(analysed: Analysed, output: str) -> None:
    from cvbench.jobs.analyses.cka import cka_json, cka_rows
    from cvbench.jobs.analyses.cka_view import QUESTIONS
    from cvbench.jobs.reading.views import view_words
    from cvbench.jobs.results.words import verdict_of

    result = analysed.result
    if output == "json":
        shared.echo_json({"schema_version": 1, **cka_json(result, analysed.selected.dataset)})
    elif output == "csv":
        shared.echo_csv(list(cka_rows(result)))
    else:
        attrs = result.attrs
        rows = [
            [
                entry["name"] + (verdict_of(entry).mark if "resolved" in entry else ""),
                *(shared.number(entry[key]) for key in ("value", "low", "high")),
            ]
            for entry in attrs["summary"]
        ]
        selected = analysed.selected
        shared.echo_table([f"linear CKA, {view_words(attrs)} (view {selected.view})", "value", "low", "high"], rows)
        say(
            f"{selected.dataset}/{selected.split}, view {selected.view}: {len(attrs['layers'])} layers, "
            f"{attrs['samples']} samples in {attrs['batches']} batches of {attrs['batch_size']}, {attrs['estimator']}"
        )
        unreadable = selected.samples - attrs["samples"] - attrs["dropped"]
        if unreadable:
            say(f"note: {unreadable} unreadable samples are left out")
        for entry in attrs["undefined"]:
            say(f"undefined: {entry['backbone']}/{entry['tap']}: {entry['reason']}")
        for note in attrs["notes"]:
            say(f"note: {note}")
        if any("resolved" in entry for entry in attrs["summary"]):
            say(attrs.get("family", ""))
        say(f"note: {QUESTIONS}")
        say(f"result: {analysed.path} in the store")
