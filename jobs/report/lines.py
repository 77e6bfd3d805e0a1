"""Numbers as a person reads them: as many digits as the interval warrants, and a mark that shows where it lies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cvbench.jobs.results.row import DIFFERENCE, TEST, Row


@dataclass(frozen=True)
class Line:
    """A row of a table as text; `dot`, `bar` and `zero` place value, interval and 0 between 0 and 100; None: undefined,
    or not there.

    `over_classes` is the interval over classes with its verdict, "" if there is none; `anchor` is the row's name in
    the page, "" if nothing points to it.
    """

    subject: str
    metric: str
    factor: str
    value: str
    interval: str
    over_classes: str
    verdict: str
    n: int
    n_failed: int
    dot: float | None
    bar: tuple[float, float] | None
    zero: float | None
    anchor: str = ""


def number(value: float | None, places: int = 3) -> str:
    """A number as text, with more places if it would look like zero and is not.

    >>> number(0.12345), number(1234.5, 0), number(-0.0), number(None), number(-0.0003), number(0.00000123)
    ('0.123', '1,234', '0.000', 'undefined', '-0.0003', '1.2e-06')
    """
    if value is None:
        return "undefined"
    size = abs(value)
    if 0 < size < 1e-5 and places > 2:
        return f"{value:.1e}"
    while 0 < size < 0.5 * 10.0**-places and places < 6:
        places += 1
    return f"{value + 0.0:,.{places}f}"


def p_text(p: float) -> str:
    """A p value as text; what is below 0.0001 is said to be.

    >>> p_text(0.00954), p_text(2.7e-28), p_text(0.0), p_text(1.0)
    ('0.0095', '< 0.0001', '< 0.0001', '1')
    """
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def decimals(row: Row) -> int:
    """Decimal places that give the interval of a row two digits, and three without one."""
    if row.low is None or row.high is None or not row.high > row.low:
        return 3
    return min(max(1 - math.floor(math.log10(row.high - row.low)), 0), 6)


def lines(rows: Sequence[Row], anchors: Mapping[Row, str] | None = None) -> tuple[Line, ...]:
    """Rows as text; the marks of all rows of one title share a scale, which for differences has 0.

    Rows of several data sets say which they are of.

    Args:
        rows: In their order.
        anchors: Names in the page of those that are pointed to.
    """
    named = anchors or {}
    several = len({(row.dataset, row.split) for row in rows}) > 1
    scales: dict[str, list[float]] = {}
    for row in rows:
        seen = scales.setdefault(row.title, [0.0] if row.kind == DIFFERENCE else [])
        seen.extend(v for v in (row.value, row.low, row.high) if v is not None)
    return tuple(
        _line(row, scales[row.title], f"{row.dataset}/{row.split}" if several else "", named.get(row, ""))
        for row in rows
    )


def _line(row: Row, seen: Sequence[float], where: str, anchor: str) -> Line:
    def place(value: float) -> float:
        bottom, top = min(seen), max(seen)
        return round(100 * (value - bottom) / (top - bottom), 2) if top > bottom else 50.0

    places = decimals(row)
    known = row.low is not None and row.high is not None
    is_p = row.kind == TEST and row.metric.endswith(" p")
    return Line(
        row.subject,
        row.title,
        ", ".join(filter(None, (where, row.factor, "" if row.at is None else f"at {row.at:.4g}", row.note))),
        p_text(row.value) if is_p and row.value is not None else number(row.value, places),
        f"{number(row.low, places)} to {number(row.high, places)}" if known else "none",
        _over_classes(row, places),
        row.verdict,
        row.n,
        row.n_failed,
        None if row.value is None else place(row.value),
        (place(row.low), place(row.high)) if row.low is not None and row.high is not None else None,
        place(0.0) if seen and min(seen) <= 0 <= max(seen) and max(seen) > min(seen) else None,
        anchor,
    )


def _over_classes(row: Row, places: int) -> str:
    if row.class_low is None or row.class_high is None:
        return ""
    ends = f"{number(row.class_low, places)} to {number(row.class_high, places)}"
    return f"{ends}, {row.class_verdict}" if row.class_verdict else ends
