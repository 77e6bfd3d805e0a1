"""How `cvbench analyze maps` shows its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cvbench.cli import options as shared
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.results.keep import Analysed


def document(found: Sequence[Analysed]) -> dict[str, Any]:
    """The JSON form."""
    from cvbench.jobs.analyses.maps import maps_json

    return {**maps_json(found[0].result, found[0].selected.dataset), "stored": [found[0].path]}


def records(found: Sequence[Analysed]) -> list[dict[str, Any]]:
    """The rows of the CSV."""
    from cvbench.jobs.analyses.maps import maps_rows

    return list(maps_rows(found[0].result))


def table(found: Sequence[Analysed]) -> None:
    """Print the numbers, and what is to be said of them."""
    from cvbench.jobs.analyses.maps import COMPARED, maps_json
    from cvbench.jobs.results.words import cell, classes_said, difference, interval

    (analysed,) = found
    result, selected = analysed.result, analysed.selected
    report = maps_json(result, selected.dataset)
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
