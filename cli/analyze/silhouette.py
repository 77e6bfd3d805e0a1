"""How `cvbench analyze silhouette` shows its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cvbench.cli import options as shared
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.results.keep import Analysed

COMPANIONS = {
    "simplified": "simplified silhouette",
    "davies_bouldin": "Davies-Bouldin",
    "calinski_harabasz": "Calinski-Harabasz",
}


def document(found: Sequence[Analysed]) -> dict[str, Any]:
    """The JSON form."""
    from cvbench.jobs.analyses.silhouette import table_json

    return {**table_json(found), "stored": [one.path for one in found]}


def records(found: Sequence[Analysed]) -> list[dict[str, Any]]:
    """The rows of the CSV."""
    from cvbench.jobs.analyses.silhouette import table_rows

    return list(table_rows(found))


def table(found: Sequence[Analysed]) -> None:
    """Print the numbers, and what is to be said of them."""
    from cvbench.jobs.analyses.silhouette import comparison_notes, table_differences, table_rows

    rows = list(table_rows(found))
    names = ("dataset", "backbone", "tap", "space")
    cells = []
    for row in rows:
        numbers = [_cell(row, name) for name in ("micro", "macro", "negative")]
        counts = [str(row["classes"]), f"{row['scored']} of {row['samples']}"]
        cells.append([*(row[key] for key in (*names, "metric")), *numbers, *counts])
    columns = ["silhouette", "class mean", "share < 0", "classes", "samples scored"]
    shared.echo_table(["dataset", "backbone", "tap", "space", "metric", *columns], cells)
    say(f"[]: 95 % interval, {found[0].result.attrs['interval']}")
    _show_companions(rows)
    _show_differences(list(table_differences(found)), found[0].result.attrs["family"])
    for note in comparison_notes(found):
        say(f"note: {note}")
    for one in found:
        say(f"result: {one.path} in the store")


def _cell(row: dict[str, Any], name: str) -> str:
    from cvbench.jobs.results.words import cell

    return cell(
        {key: _defined(row[f"{name}{end}"]) for key, end in (("value", ""), ("low", "_low"), ("high", "_high"))}
    )


def _defined(value: float) -> float | None:
    import math

    return value if math.isfinite(value) else None


def _show_companions(rows: list[dict[str, Any]]) -> None:
    names = ("dataset", "backbone", "tap", "space")
    cells = [
        [*(row[key] for key in names), *(_cell(row, name) for name in COMPANIONS), str(row["samples"])] for row in rows
    ]
    say()
    columns = ["simplified silhouette", "Davies-Bouldin (less is better)", "Calinski-Harabasz", "samples"]
    shared.echo_table([*names, *columns], list({tuple(line): line for line in cells}.values()))
    say("[]: 95 % interval, made likewise; Euclidean distances to the class centroids")


def _show_differences(rows: list[dict[str, Any]], family: str) -> None:
    from cvbench.jobs.results.words import cell, verdict_of

    cells = []
    for row in rows:
        names = [row[key] for key in ("dataset", "a", "b", "space", "metric")]
        ends = (_defined(row[key]) for key in ("difference", "low", "high"))
        found = {**dict(zip(("value", "low", "high"), ends, strict=True)), "resolved": row["resolved"]}
        what = COMPANIONS.get(row["mean"], row["mean"])
        cells.append([*names, what, cell(found, "+.4f") + verdict_of(found).mark, row["interval"]])
    if cells:
        say()
        columns = ["of", "difference", "interval"]
        shared.echo_table(["dataset", "backbone", "minus", "space", "metric", *columns], cells)
        say("within classes: for other samples of these classes; resampling of classes: for classes like these")
        say(family)
