"""How `cvbench analyze cam` shows its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cvbench.cli import options as shared
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.results.keep import Analysed


def document(found: Sequence[Analysed]) -> dict[str, Any]:
    """The JSON form."""
    from cvbench.jobs.analyses.cam.cam import cam_json

    return {**cam_json(found[0].result, found[0].selected.dataset), "stored": found[0].path}


def records(found: Sequence[Analysed]) -> list[dict[str, Any]]:
    """The rows of the CSV."""
    from cvbench.jobs.analyses.cam.cam import cam_rows

    return list(cam_rows(found[0].result))


def table(found: Sequence[Analysed]) -> None:
    """Print the numbers, and what is to be said of them."""
    from cvbench.jobs.analyses.cam.cam import cam_rows

    (analysed,) = found
    result, selected = analysed.result, analysed.selected
    rows = list(cam_rows(result))
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
