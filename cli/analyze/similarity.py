"""`cvbench analyze similarity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cvbench.cli import options as shared
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.results.keep import Analysed


def similarity(
    store: shared.Store = shared.DEFAULT_STORE,
    dataset: shared.OneDataset = None,
    split: shared.Split = None,
    backbone: shared.Backbones = [],
    taps: shared.Layers = [],
    image: Annotated[
        list[str], typer.Option("--image", help="Sample ids whose own matrices are kept and drawn too. Repeat.")
    ] = [],
    resamples: shared.Resamples = 2000,
    seed: shared.Seed = 0,
    out: shared.Out = None,
    address: shared.Address = "local",
    device: shared.Device = "auto",
    gpus: shared.Gpus = None,
    threads: shared.Threads = None,
    output: shared.Format = "table",
) -> None:
    """Cosine similarity between the local features of every layer, with 95 % intervals over images."""
    from cvbench.cli.display import progress
    from cvbench.jobs.analyses.measure import analysis_device
    from cvbench.jobs.analyses.similarity import VIEW, image_similarity
    from cvbench.jobs.analyses.similarity import similarity as run
    from cvbench.jobs.reading.selection import Selection

    shared.check_format(output, ("table", "json", "csv"))
    selection = Selection(store, dataset, split, tuple(backbone), VIEW, tuple(taps))
    cluster = shared.cluster(address, analysis_device(device, address), gpus, threads)
    images = image_similarity(selection, image) if image else None
    with progress() as listen:
        analysed = run(selection, shared.intervals(resamples, seed), cluster, listen)
    _show_similarity(analysed, images, output)
    if out is not None:
        from cvbench.jobs.analyses.similarity import draw_similarity
        from cvbench.jobs.figures.similarity import similarity_images_figure

        name = f"similarity-{analysed.selected.dataset}-{analysed.selected.split}"
        files = draw_similarity(analysed.result, Path(out) / name)
        if images is not None:
            files += similarity_images_figure(images.result, Path(out) / f"{name}-images")
        for path in files:
            say(f"figure: {path}", err=True)


def _show_similarity(analysed: Analysed, images: Analysed | None, output: str) -> None:
    from cvbench.jobs.analyses.similarity import similarity_json, similarity_rows
    from cvbench.jobs.results.words import classes_said, difference

    result, selected = analysed.result, analysed.selected
    report = similarity_json(result, selected.dataset)
    stored = [analysed.path] + ([images.path] if images else [])
    if output == "json":
        shared.echo_json({"schema_version": 1, **report, "stored": stored})
        return
    if output == "csv":
        shared.echo_csv(list(similarity_rows(result)))
        return
    columns = ["similarity", "centred |similarity|", "contrast", *(["over classes"] if report["classes"] else [])]
    columns += ["length", "pixels", "undefined"]
    cells = [_cells(layer, bool(report["classes"])) for layer in report["layers"]]
    shared.echo_table(["backbone", "tap", "grid", *columns], cells)
    main = {
        "raw": ("mean_difference", "mean_absolute_difference"),
        "centred": ("contrast_difference", "length_difference"),
    }
    for row in report["differences"]:
        if row["value"] is not None and row["quantity"] in main[row["version"]]:
            quantity = row["quantity"].removesuffix("_difference").replace("_", " ")
            where = f"{row['backbone']}, last layers on {row['grid']}"
            say(f"{where}: {row['version']} {quantity} {difference(row)}")
    say(f"{selected.dataset}/{selected.split}: {len(report['layers'])} layers, {report['samples']} images")
    say(f"[]: {report['confidence']:.0%} interval over images{classes_said(report['classes'])}")
    say("contrast and length (grid steps, and pixels) are of centred features")
    if report["differences"]:
        say(report["family"])
    for note in report["notes"]:
        say(f"note: {note}")
    for path in stored:
        say(f"result: {path} in the store")


def _cells(layer: dict[str, Any], classes: bool) -> list[str]:
    from cvbench.jobs.results.words import cell, interval

    raw, centred = ({m["name"]: m for m in layer[version]["measures"]} for version in ("raw", "centred"))
    contrast, length = centred["contrast"], centred["length"]
    cells = [cell(found) for found in (raw["mean"], centred["mean_absolute"], contrast)]
    cells += [interval(contrast["class_low"], contrast["class_high"]) or "-"] if classes else []
    cells += [cell(length), cell(centred["length_pixels"], ".2f") if "length_pixels" in centred else "-"]
    names = [layer["backbone"], layer["tap"], "x".join(map(str, layer["grid"]))]
    measured = next((found for found in centred.values() if not found["reason"]), raw["mean"])
    return [*names, *cells, str(measured["n_undefined"])]
