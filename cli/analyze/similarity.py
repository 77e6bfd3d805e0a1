"""How `cvbench analyze similarity` shows its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cvbench.cli import options as shared
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.results.keep import Analysed


def document(found: Sequence[Analysed]) -> dict[str, Any]:
    """The JSON form."""
    from cvbench.jobs.analyses.similarity import similarity_json

    stored = [one.path for one in found]
    return {**similarity_json(found[0].result, found[0].selected.dataset), "stored": stored}


def records(found: Sequence[Analysed]) -> list[dict[str, Any]]:
    """The rows of the CSV."""
    from cvbench.jobs.analyses.similarity import similarity_rows

    return list(similarity_rows(found[0].result))


def table(found: Sequence[Analysed]) -> None:
    """Print the numbers, and what is to be said of them."""
    from cvbench.jobs.analyses.similarity import similarity_json
    from cvbench.jobs.results.words import classes_said, difference

    selected = found[0].selected
    report = similarity_json(found[0].result, selected.dataset)
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
    for one in found:
        say(f"result: {one.path} in the store")


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
