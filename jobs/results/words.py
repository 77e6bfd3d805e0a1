"""Numbers of a result with their intervals, as JSON, rows and table cells have them."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from cvbench.engine.analyses.base import Result
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.measure import Grid, Measure
from cvbench.engine.statistics.options import IntervalOptions as IntervalOptions
from cvbench.engine.statistics.verdict import Verdict, verdict

_ENDS = {"value": "", "low": "_low", "high": "_high"}
_CLASS_ENDS = {"class_low": "_class_low", "class_high": "_class_high"}
CLASSES = ", classes resampled"
"""What stands behind a metric whose interval is over resampled classes."""


def estimates(result: Result, name: str, at: Any, *, classes: bool = False) -> dict[str, list[float | None]]:
    """One row of a variable with its intervals; None where undefined.

    Args:
        result: With `name`, `name_low` and `name_high`.
        name: Of the variable.
        at: Its row: an index that leaves one dimension.
        classes: Whether to give the interval over resampled classes too; None throughout if there is none.

    Returns:
        "value", "low", "high", and with `classes` "class_low", "class_high", each a list.
    """
    found: dict[str, list[float | None]] = {}
    for key, end in {**_ENDS, **(_CLASS_ENDS if classes else {})}.items():
        variable = result.data.get(name + end) or result.data[name]
        values = variable[1][at].tolist()
        there = name + end in result.data
        found[key] = [value if there and math.isfinite(value) else None for value in values]
    return found


def measures(
    result: Result,
    variable: str,
    count: str,
    at: Any,
    table: Mapping[str, Measure],
    grid: Grid,
    alone: Container[str] = (),
) -> list[dict[str, Any]]:
    """Name, value, both intervals, `n_undefined` (from `count`) and verdict of each measure in one row of `variable`.

    `resolved`, `class_resolved` and the adjusted `p` are None of what is not judged; `reason` says why a measure of
    `table` cannot be taken on this grid, None where it can. Measures in `alone` are judged by their interval in an
    earlier result, which judged no family.
    """
    found = estimates(result, variable, at, classes=True)
    undefined = result.data[count][1][at].tolist()
    said = _verdicts(result, variable, at)
    if f"{variable}_resolved" not in result.data:
        for j, name in enumerate(result.coords["measure"]):
            low, high = found["low"][j], found["high"][j]
            if name in alone and low is not None and high is not None:
                n = result.attrs["samples"] - undefined[j]
                said["resolved"][j] = verdict(Estimate(0.0, low, high, n)).flag
    return [
        {
            "name": name,
            **{key: values[j] for key, values in found.items()},
            "n_undefined": undefined[j],
            **{key: values[j] for key, values in said.items()},
            "reason": table[name].reason(grid),
        }
        for j, name in enumerate(result.coords["measure"])
    ]


def _verdicts(result: Result, variable: str, at: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {
        key: [None] * len(result.coords["measure"]) for key in ("p", "resolved", "class_resolved")
    }
    for key in found:
        if f"{variable}_{key}" in result.data:
            values = result.data[f"{variable}_{key}"][1][at].tolist()
            known = [value if math.isfinite(value) else None for value in values]
            found[key] = known if key == "p" else [None if value is None else bool(value) for value in known]
    return found


def verdict_of(row: Mapping[str, Any]) -> Verdict:
    """The verdict on a difference, given as `resolved` beside its `low`."""
    return Verdict.of(row["resolved"], row["low"])


def grid_text(grid: Iterable[int]) -> str:
    """How a grid is written in rows.

    >>> grid_text((14, 14))
    '14x14'
    """
    return "x".join(map(str, grid))


def on_common_grid(result: Result) -> Iterator[tuple[str, int, dict[str, str]]]:
    """What the last layers are compared by: "common" or "difference", its row, and the names of that row."""
    for variable, dimension in (("common", "compared"), ("difference", "pair")):
        for i, label in enumerate(result.coords.get(dimension, [])):
            backbone, _, tap = label.partition("/") if variable == "common" else (label, "", "last")
            yield variable, i, {"backbone": backbone, "tap": tap, "grid": grid_text(result.attrs["common_grid"])}


def over_classes(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same number with its interval over resampled classes, as the one entry; none if there is no such interval.

    Its verdict is `class_resolved`, or where that is not said, of the interval alone.

    >>> row = {"value": 1.0, "low": 0.5, "high": 1.5, "class_low": -1.0, "class_high": 3.0, "resolved": True}
    >>> [(found["low"], found["high"], found["resolved"]) for found in over_classes(row)]
    [(-1.0, 3.0, False)]
    """
    low, high = row["class_low"], row["class_high"]
    if low is None or high is None:
        return []
    said = row.get("class_resolved")
    alone = verdict(Estimate(0.0, low, high), least=0).flag
    return [{**row, "low": low, "high": high, "resolved": alone if said is None else said}]


def cell(found: Mapping[str, Any], form: str = ".4f") -> str:
    """A number and its interval in one cell.

    >>> cell({"value": 0.5, "low": 0.25, "high": 0.75}), cell({"value": 0.5, "low": None}), cell({"value": None})
    ('0.5000 [0.2500, 0.7500]', '0.5000 [no interval]', '-')
    """
    if found["value"] is None:
        return "-"
    return f"{found['value']:{form}} {interval(found['low'], found.get('high'), form) or '[no interval]'}"


def interval(low: float | None, high: float | None, form: str = ".4f") -> str:
    """[low, high], or "" for none."""
    return "" if low is None or high is None else f"[{low:{form}}, {high:{form}}]"


def difference(found: Mapping[str, Any]) -> str:
    """A difference with its interval, the one over resampled classes if there is one, and its verdict.

    >>> row = {"value": 0.5, "low": -0.25, "high": 1.25, "class_low": None, "class_high": None, "resolved": False}
    >>> difference(row)
    '+0.5000 [-0.2500, +1.2500] (not resolved)'
    >>> difference({**row, "class_low": -1.0, "class_high": 2.0})
    '+0.5000 [-0.2500, +1.2500] (not resolved), over classes [-1.0000, +2.0000] (not resolved)'
    """
    said = cell(found, "+.4f") + verdict_of(found).mark
    for over in over_classes(found):
        said += f", over classes {interval(over['low'], over['high'], '+.4f')}{verdict_of(over).mark}"
    return said


def classes_said(count: int) -> str:
    """What a legend adds where classes were resampled; "" where they were not."""
    return f"; over classes: {count} classes resampled" if count else ""
