"""Rows of evaluations that an earlier version has kept, in the columns of today.

They named a pair of backbones "A vs B" and a difference by its metric, and had the adjusted p in a row of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.verdict import Judged, verdict
from cvbench.jobs.results.row import DIFFERENCE, TEST, Row, judged_columns

_HOLM = " (Holm)"
_EXACT = "McNemar exact p"
_TESTS = (_EXACT, "McNemar mid-p", "calibration test p")
_JUDGED_BY_EXACT = ("top1 difference", "top1 less reference")
_OTHERWISE = {"difference of top1 changes": "top1 less reference"}
"""Metrics that named a difference in another way than "... difference"."""


def of_version_1(rows: Sequence[Row]) -> Iterator[Row]:
    """Convert rows of version 1: what a row of an adjusted p said stands beside its difference, with the verdict."""
    values = {_place(row, row.metric): row.value for row in rows}
    for row in rows:
        if row.metric.endswith(_HOLM):
            continue
        first, _, second = row.backbone.partition(" vs ")  # names of backbones have no blanks
        found = replace(row, backbone=first, backbone_b=second)
        if row.metric in _TESTS:
            yield replace(found, kind=TEST)
        elif second or " less " in row.metric:
            metric = _OTHERWISE.get(row.metric, row.metric.removesuffix(" difference"))
            yield replace(found, metric=metric, kind=DIFFERENCE, **_judged(row, values))
        else:
            yield found


def _place(row: Row, metric: str) -> tuple[str, ...]:
    return row.dataset, row.split, row.backbone, row.factor, metric


def _judged(row: Row, values: Mapping[tuple[str, ...], float | None]) -> dict[str, Any]:
    """The adjusted p and the verdict of a difference.

    One of a pair of which no p was kept is judged by its interval, as it was then; one of a single backbone is not.
    McNemar's exact p was not repeated as an adjusted one where it was the only one of its family.
    """
    names = [f"{row.metric} p{_HOLM}", *([_EXACT + _HOLM, _EXACT] if row.metric in _JUDGED_BY_EXACT else [])]
    kept = next((place for name in names if (place := _place(row, name)) in values), None)
    if kept is None and " vs " not in row.backbone:
        return {}
    ends = (row.value, row.low, row.high, None if kept is None else values[kept])
    value, low, high, p = (math.nan if end is None else end for end in ends)
    found = Estimate(value, low, high, row.n)
    return judged_columns(Judged(found, p, verdict(found, None if kept is None else p)))
