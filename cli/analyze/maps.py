"""`cvbench analyze maps`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cvbench.cli import options as shared
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.results.keep import Analysed


def maps(
    store: shared.Store = shared.DEFAULT_STORE,
    dataset: shared.OneDataset = None,
    split: shared.Split = None,
    backbone: shared.Backbones = [],
    taps: shared.Layers = [],
    image: Annotated[
        list[str], typer.Option("--image", help="Sample ids to draw; default the first four of the store. Repeat.")
    ] = [],
    measure: Annotated[
        str, typer.Option("--measure", help="Which map to draw: mean, abs, norm or pc1 (first principal component).")
    ] = "mean",
    source: Annotated[
        str | None, typer.Option("--source", help="Where the images are, for a data set of your own: folder:PATH.")
    ] = None,
    data_root: shared.DataRoot = None,
    resamples: shared.Resamples = 2000,
    seed: shared.Seed = 0,
    out: shared.Out = None,
    address: shared.Address = "local",
    device: shared.Device = "auto",
    gpus: shared.Gpus = None,
    threads: shared.Threads = None,
    output: shared.Format = "table",
) -> None:
    """Channel-mean feature maps beside the images; foreground share and outlier tokens over all images."""
    from cvbench.cli.display import progress
    from cvbench.jobs.analyses.maps import VIEW, MapsOptions
    from cvbench.jobs.analyses.maps import maps as run
    from cvbench.jobs.analyses.measure import analysis_device
    from cvbench.jobs.reading.selection import Selection

    shared.check_format(output, ("table", "json", "csv"))
    selection = Selection(store, dataset, split, tuple(backbone), VIEW, tuple(taps))
    cluster = shared.cluster(address, analysis_device(device, address), gpus, threads)
    options = MapsOptions(tuple(image), measure, source, data_root, shared.intervals(resamples, seed))
    with progress() as listen:
        analysed = run(selection, options, cluster, listen)
    _show_maps(analysed, output)
    if out is not None:
        from cvbench.jobs.analyses.maps import draw_maps

        name = f"maps-{analysed.selected.dataset}-{analysed.selected.split}"
        for path in draw_maps(analysed.result, Path(out) / name):
            say(f"figure: {path}", err=True)


def _show_maps(analysed: Analysed, output: str) -> None:
    from cvbench.jobs.analyses.maps import COMPARED, maps_json, maps_rows
    from cvbench.jobs.results.words import cell, classes_said, difference, interval

    result, selected = analysed.result, analysed.selected
    report = maps_json(result, selected.dataset)
    if output == "json":
        shared.echo_json({"schema_version": 1, **report, "stored": [analysed.path]})
        return
    if output == "csv":
        shared.echo_csv(list(maps_rows(result)))
        return
    columns = {"outlier_rate": "outlier rate"}
    if "foreground_share" in result.coords["measure"]:
        columns |= {"foreground_share": "norm in box", "box_share": "box area"}
        columns |= {"foreground_excess": "excess", "contrast": "contrast"}
    classes = ["excess over classes" if len(columns) > 1 else "over classes"] if report["classes"] else []
    rows = []
    for layer in report["layers"]:
        measures = {measure["name"]: measure for measure in layer["measures"]}
        cells = [cell(measures[name]) for name in columns]
        for _ in classes:
            main = measures.get("foreground_excess", measures["outlier_rate"])
            cells.append(interval(main["class_low"], main["class_high"]) or "-")
        rows.append([layer["backbone"], layer["tap"], "x".join(map(str, layer["grid"])), *cells])
    shared.echo_table(["backbone", "tap", "grid", *columns.values(), *classes], rows)
    for row in report["differences"]:
        if row["value"] is not None and row["quantity"] in COMPARED:
            quantity = columns[row["quantity"].removesuffix("_difference")]
            say(f"{row['backbone']}, last layers on {row['grid']}: {quantity} {difference(row)}")
    say(f"{selected.dataset}/{selected.split}: {len(rows)} layers, {report['samples']} images")
    say(f"[]: {report['confidence']:.0%} interval over images{classes_said(report['classes'])}")
    if report["differences"]:
        say(report["family"])
    say(f"drawn: {', '.join(report['images'])}")
    for note in report["notes"]:
        say(f"note: {note}")
    say(f"result: {analysed.path} in the store")
