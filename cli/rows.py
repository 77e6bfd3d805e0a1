"""Rows of results on the terminal: a table for each number, of all that it was taken of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cvbench.cli import options as shared
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.results.row import Row


LONG = 20
"""Letters of a factor that stands above a table instead of in its rows, if it is longer and that of all of them; not
again above the next table of the same."""


def echo_rows(rows: Sequence[Row]) -> None:
    """Print rows: a heading and a table for each number and data set, columns that say nothing left out."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.dataset, row.split, row.title), []).append(row)
    told = ""
    for (dataset, split, title), own in groups.items():
        shared.say_folded(f"{title}, {dataset}/{split}" if dataset else title)
        cells = [_cells(row) for row in own]
        alike = own[0].factor
        if len(alike) > LONG and all(row.factor == alike for row in own):
            if alike != told:
                shared.say_folded(alike)
            told = alike
            cells = [{**one, "where": ""} for one in cells]
        named = [name for name in cells[0] if any(one[name] for one in cells)]
        shared.echo_table(named, [[one[name] for name in named] for one in cells])
        say()


def in_words(row: Row) -> str:
    """One number in a line.

    >>> from cvbench.jobs.results.row import Row
    >>> in_words(Row(metric="effect on top1", factor="objective: text", value=0.5))  # of no backbone
    'effect on top1, objective: text: 0.5000'
    """
    interval = _interval(row.low, row.high)
    what = ", ".join(filter(None, (row.title, row.factor, row.subject)))
    return f"{what}: {_number(row.value)}{f' {interval}' if interval else ''}"


def named(row: Row) -> list[str]:
    """Name a number: its metric, what it is of, and where; three cells."""
    at = "" if row.at is None else f" {row.at:.4g}"
    return [row.title, row.subject, f"{row.factor}{at}"]


def _cells(row: Row) -> dict[str, str]:
    classes = _interval(row.class_low, row.class_high)
    if classes and row.class_verdict and row.class_verdict != row.verdict:
        classes += f" {row.class_verdict}"
    return {
        "of": row.subject,
        "where": row.factor,
        "at": "" if row.at is None else f"{row.at:.4g}",
        "value": _number(row.value),
        "interval": _interval(row.low, row.high),
        "over classes": classes,
        "p": "" if row.p is None else _number(row.p),
        "verdict": row.verdict,
        "n": str(row.n) if row.n else "",
        "left out": str(row.n_failed) if row.n_failed else "",
        "note": row.note,
    }


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{_number(low)}, {_number(high)}]"


def _number(value: float | None) -> str:
    """Four decimals, but three digits of what is smaller, such as a p value."""
    if value is not None and 0 < abs(value) < 0.001:
        return f"{value:.2e}"
    return shared.number(value)
