"""`cvbench analyze cam`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cvbench.cli import options as shared
from cvbench.cli.command import Form, command
from cvbench.cli.say import say
from cvbench.jobs.analyses.cam.options import CamOptions
from cvbench.jobs.extraction.options import ExtractOptions

if TYPE_CHECKING:
    from cvbench.jobs.results.keep import Analysed

_READ = (
    *("dataset", "backbone", "store", "split", "data_root", "weights", "limit", "batch_size", "image_size", "unit"),
    *("precision", "decoder", "max_unreadable"),
)
"""What of an extraction has a meaning here: how the images are read and the backbones loaded."""


def _cam(wanted: ExtractOptions, options: CamOptions, hardware: shared.Hardware, output: shared.Output) -> None:
    """Class activation maps (Grad-CAM and its kin), kept in the store, and what is measured on them."""
    from cvbench.cli.display import progress
    from cvbench.jobs.analyses.cam.cam import cam as run

    with progress() as listen:
        analysed = run(wanted, options, hardware.cluster(), listen)
    _show_cam(analysed, output.format)
    if output.out is not None:
        _draw_cam(analysed, output.out)


cam = command("cam", [Form(ExtractOptions, only=_READ), CamOptions, shared.Hardware, shared.Output], _cam)


def _draw_cam(analysed: Analysed, folder: str) -> None:
    from pathlib import Path

    from cvbench.jobs.analyses.cam.rows import draw_cam

    name = f"cam-{analysed.selected.dataset}-{analysed.selected.split}-{analysed.selected.view}"
    for path in draw_cam(analysed.result, Path(folder) / name):
        say(f"figure: {path}", err=True)


def _show_cam(analysed: Analysed, output: str) -> None:
    from cvbench.jobs.analyses.cam.cam import cam_json, cam_rows

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
    from cvbench.jobs.analyses.cam.rows import grid_name, verdict_text

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
