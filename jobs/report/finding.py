"""What is seen in one result, as one sentence made of one of its rows: true of the row, and with its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cvbench.engine.statistics.verdict import Verdict
from cvbench.jobs.report.lines import decimals, number
from cvbench.jobs.results.row import DIFFERENCE, PAIR, VALUE, Row


def finding(rows: Sequence[Row]) -> str:
    """The sentence of the first difference of two backbones that is resolved, else of the first that has a verdict;
    without differences of the first number; "" if no number is defined.

    Args:
        rows: The main rows of a result, the main ones first.

    >>> row = Row(backbone="a", backbone_b="b", metric="top1", kind=DIFFERENCE, value=-0.1, low=-0.2, high=-0.05, n=40)
    >>> finding([Row(backbone="a", metric="top1", value=0.5), row])
    'b is above a in top1, by 0.10 [0.05, 0.20].'
    >>> finding([Row(metric="effect on top1", factor="objective: text", value=0.5)])  # of no backbone
    'effect on top1 (objective: text) 0.500.'
    """
    if len({row.dataset for row in rows}) > 1:  # then it says which
        rows = [replace(row, factor=", ".join(filter(None, (row.dataset, row.factor)))) for row in rows]
    known = [row for row in rows if row.value is not None]
    compared = [row for row in known if row.kind == DIFFERENCE and row.backbone_b]
    judged = [row for row in compared if row.verdict]
    resolved = [row for row in judged if row.verdict == Verdict.RESOLVED.value]
    for found in (resolved, judged, compared):
        if found:
            return _difference(found[0])
    plain = [row for row in known if row.kind in (VALUE, PAIR)]
    return _number(plain[0]) if plain else ""


def _difference(row: Row) -> str:
    assert row.value is not None
    first, second = _name(row.backbone, row.layer), _name(row.backbone_b, row.layer_b)
    low, high, value = row.low, row.high, row.value
    if value < 0:
        first, second, value = second, first, -value
        low, high = (None, None) if low is None or high is None else (-high, -low)
    places, of = decimals(row), f"{row.metric}{f' ({row.factor})' if row.factor else ''}"
    ends = "" if low is None or high is None else f" [{number(low, places)}, {number(high, places)}]"
    if row.verdict and row.verdict != Verdict.RESOLVED.value:
        words = f"{first} and {second} differ in {of} by {number(value, places)}{ends}"
    else:
        words = f"{first} is above {second} in {of}, by {number(value, places)}{ends}"
    return f"{words}: {row.verdict}." if row.verdict else f"{words}."


def _number(row: Row) -> str:
    places = decimals(row)
    known = row.low is not None and row.high is not None
    ends = f" [{number(row.low, places)}, {number(row.high, places)}]" if known else ""
    of = f"{row.metric}{f' ({row.factor})' if row.factor else ''}"
    said = f": {row.verdict}" if row.verdict else ""
    return f"{f'{row.subject}: ' if row.subject else ''}{of} {number(row.value, places)}{ends}{said}."


def _name(backbone: str, layer: str) -> str:
    return f"{backbone}/{layer}" if layer else backbone
