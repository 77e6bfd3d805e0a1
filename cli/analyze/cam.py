"""`cvbench analyze cam`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cvbench.cli import extract
from cvbench.cli import options as shared
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.analyze import Analysed
    from cvbench.jobs.request import ExtractOptions

METHODS = "gradcam, gradcam++, layercam, hirescam, xgradcam or eigencam."
Dataset = Annotated[str, typer.Option("--dataset", "-d", help="Data set, as for extract: the images are read.")]
Method = Annotated[str, typer.Option("--method", help=METHODS)]
Choice = Annotated[
    str, typer.Option("--class", help="Whose evidence: predicted (each image's top-1), label, or a class index.")
]
Targets = Annotated[
    list[str], typer.Option("--target", help="Target layer, a name or glob; default by family. Repeat.")
]
CorrectOnly = Annotated[
    bool, typer.Option("--correct-only", help="Only images that every backbone classifies as labelled.")
]
Tolerance = Annotated[float, typer.Option("--tolerance", min=0, help="Pixels that boxes grow by in the pointing game.")]
Images = Annotated[list[str], typer.Option("--image", help="Sample id to draw; default the first few. Repeat.")]
Examples = Annotated[int, typer.Option("--examples", min=0, max=24, help="How many samples to draw.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.")]


def cam(
    dataset: Dataset,
    backbone: extract.Backbones = extract.PAIR,
    store: shared.Store = shared.DEFAULT_STORE,
    split: shared.Split = None,
    data_root: shared.DataRoot = None,
    weights: extract.Weights = ["pretrained"],
    method: Method = "gradcam",
    choice: Choice = "predicted",
    target: Targets = [],
    correct_only: CorrectOnly = False,
    tolerance: Tolerance = 0.0,
    image: Images = [],
    examples: Examples = 6,
    limit: extract.Limit = None,
    batch_size: extract.BatchSize = "auto",
    image_size: extract.ImageSize = None,
    unit: extract.UnitSize = None,
    precision: extract.Precision = "fp32",
    decoder: extract.Decoder = "fast",
    max_unreadable: extract.MaxUnreadable = 0.01,
    resamples: shared.Resamples = 2000,
    seed: Seed = 0,
    out: shared.Out = None,
    address: shared.Address = "local",
    device: shared.Device = "auto",
    gpus: shared.Gpus = None,
    threads: shared.Threads = None,
    output: shared.Format = "table",
) -> None:
    """Class activation maps (Grad-CAM and its kin), kept in the store, and what is measured on them."""
    values = dict(locals())
    from cvbench.cli.display import progress
    from cvbench.jobs.cam import CamOptions, MapOptions
    from cvbench.jobs.cam import cam as run

    shared.check_format(output, ("table", "json", "csv"))
    wanted = _options(values)
    maps = MapOptions(method, choice, tuple(target))
    options = CamOptions(maps, correct_only, tolerance, examples, tuple(image), shared.intervals(resamples, seed))
    cluster = shared.cluster(address, device, gpus, threads)
    with progress() as listen:
        analysed = run(wanted, options, cluster, listen)
    _show_cam(analysed, output)
    if out is not None:
        _draw_cam(analysed, out)


def _options(values: dict[str, Any]) -> ExtractOptions:
    """What the images are read and the backbones are loaded by."""
    from cvbench.jobs.request import ExtractOptions

    plain = ("dataset", "store", "split", "data_root", "image_size", "unit", "precision", "decoder", "max_unreadable")
    batch = values["batch_size"]
    return ExtractOptions(
        backbones=tuple(values["backbone"]),
        weights=tuple(values["weights"]),
        limit=shared.size(values["limit"], "--limit"),
        batch_size=None if batch == "auto" else shared.size(batch, "--batch-size"),
        **{name: values[name] for name in plain},
    )


def _draw_cam(analysed: Analysed, folder: str) -> None:
    from pathlib import Path

    from cvbench.jobs.cam_rows import draw_cam

    name = f"cam-{analysed.selected.dataset}-{analysed.selected.split}-{analysed.selected.view}"
    for path in draw_cam(analysed.result, Path(folder) / name):
        say(f"figure: {path}", err=True)


def _show_cam(analysed: Analysed, output: str) -> None:
    from cvbench.jobs.cam import cam_json, cam_rows

    result, selected = analysed.result, analysed.selected
    rows = list(cam_rows(result))
    if output == "json":
        shared.echo_json({"schema_version": 1, **cam_json(result, selected.dataset), "stored": analysed.path})
        return
    if output == "csv":
        shared.echo_csv(rows)
        return
    _echo_means(rows, classes=bool(result.attrs["resampled_classes"]))
    for backbone in result.attrs["backbones"]:
        say(
            f"{backbone['backbone']}: target {backbone['target']}, class {result.attrs['class']}, "
            f"mean probability {backbone['mean_probability']:.3f}"
        )
    over = f" and over {count} classes" if (count := result.attrs["resampled_classes"]) else ""
    say(
        f"{selected.dataset}/{selected.split}: {result.attrs['title']}; 95 % intervals over images{over}; "
        f"{result.attrs['family']}"
    )
    if "box_share" in result.coords["measure"]:
        say(result.attrs["baseline"])
    for note in result.attrs["notes"]:
        say(f"note: {note}")
    say(f"maps: view {selected.view} in the store")
    say(f"result: {analysed.path} in the store")


def _echo_means(rows: list[dict[str, Any]], *, classes: bool) -> None:
    from cvbench.jobs.cam_rows import grid_name, verdict_text

    cells = []
    for row in rows:
        names = [
            row["backbone"],
            row["version"],
            row["grid"],
            grid_name(row),
            row["measure"],
            shared.number(row["value"]),
        ]
        intervals = [_interval(row, "")] + ([_interval(row, "class_")] if classes else [])
        cells.append([*names, *intervals, str(row["n"]), str(row["n_undefined"]), verdict_text(row)])
    intervals = ["interval", *(["over classes"] if classes else [])]
    columns = [
        "backbone",
        "maps",
        "cells",
        "measured on",
        "measure",
        "mean",
        *intervals,
        "images",
        "undefined",
        "difference",
    ]
    shared.echo_table(columns, cells)


def _interval(row: dict[str, Any], of: str) -> str:
    low, high = row[f"{of}low"], row[f"{of}high"]
    return "-" if low is None else f"[{shared.number(low)}, {shared.number(high)}]"
