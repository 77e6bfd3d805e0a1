"""Rows of the measures that analyses take of every image: means with both intervals, curves, verdicts."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cvbench.engine.analyses.base import Result
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.measure import Grid, Measure
from cvbench.engine.statistics.verdict import Verdict, verdict
from cvbench.jobs.results.row import CURVE, DIFFERENCE, Row, known

_ENDS = {"value": "", "low": "_low", "high": "_high", "class_low": "_class_low", "class_high": "_class_high"}


def left_out(result: Result) -> int:
    """Samples of the units that the result is not of: unreadable ones."""
    attrs = result.attrs
    return int(attrs.get("samples_in_units", attrs["samples"]) - attrs["samples"])


def ends_at(result: Result, variable: str, at: Any) -> dict[str, float | None]:
    """The number at one place of a variable and the ends of its intervals, by column; None where undefined."""
    return {column: _number(result, variable + end, at) for column, end in _ENDS.items()}


def _number(result: Result, variable: str, at: Any) -> float | None:
    return known(float(result.data[variable][1][at])) if variable in result.data else None


def measure_rows(
    result: Result,
    variable: str,
    count: str,
    at: tuple[int, ...],
    table: Mapping[str, Measure],
    grid: Grid,
    template: Row,
    titles: Mapping[str, str],
    tested: Container[str] = (),
) -> Iterator[Row]:
    """A row for each measure in one line of `variable`.

    Args:
        result: With `variable` and its ends over (..., measure); its `_p`, `_resolved` and `_class_resolved` judge it.
        variable, count: Names: of the means, and of the images that each leaves out.
        at: The line.
        table: The measures, by name.
        grid: What they are taken on: says why one has no value there.
        template: The columns that all have.
        titles: Measure -> its metric.
        tested: Measures that an earlier result, which judged no family, is judged on by their intervals.
    """
    undefined = result.data[count][1][at].tolist()
    for j, name in enumerate(result.coords["measure"]):
        n = int(result.attrs["samples"] - undefined[j])
        found = ends_at(result, variable, (*at, j))
        own = name in tested and f"{variable}_resolved" not in result.data
        yield replace(
            template,
            metric=titles[name] + template.metric,
            **found,  # type: ignore[arg-type]
            n=n,
            n_failed=left_out(result) + int(undefined[j]),
            **(_alone(found, n) if own else _judged(result, variable, (*at, j), found)),
            note=table[name].reason(grid) or "",
        )


def _alone(found: Mapping[str, float | None], n: int) -> dict[str, Any]:
    low, high = found["low"], found["high"]
    if low is None or high is None:
        return {}
    of_classes = class_verdict(Row(**found))  # type: ignore[arg-type]
    return {"verdict": verdict(Estimate(0.0, low, high, n)).value, "class_verdict": of_classes}


def _judged(result: Result, variable: str, at: Any, found: Mapping[str, float | None]) -> dict[str, Any]:
    """The kept p and verdicts of what is judged, "" of what is not."""
    if found["value"] is None or f"{variable}_resolved" not in result.data:
        return {}
    p = _number(result, f"{variable}_p", at)
    if p is None and not variable.startswith(DIFFERENCE):
        return {}
    over_images, over_classes = (_number(result, f"{variable}_{end}", at) for end in ("resolved", "class_resolved"))
    of_classes = class_verdict(Row(**found), over_classes)  # type: ignore[arg-type]
    return {"p": p, "verdict": verdict_text(over_images, found["low"]), "class_verdict": of_classes}


def verdict_text(flag: bool | float | None, low: float | None) -> str:
    """The words of a kept verdict: 1, 0, or None for none."""
    return Verdict.of(None if flag is None else bool(flag), low).value


def class_verdict(row: Row, flag: bool | float | None = None) -> str:
    """The verdict over classes: the kept `flag`, else by the interval alone; "" without one."""
    if row.class_low is None or row.class_high is None:
        return ""
    alone = verdict(Estimate(0.0, row.class_low, row.class_high), least=0)
    return alone.value if flag is None else verdict_text(flag, row.class_low)


def curve_rows(
    result: Result, variable: str, at: tuple[int, ...], places: Iterable[float], template: Row
) -> Iterator[Row]:
    """A row for each point in one line of `variable`; points without a place or a number are left out."""
    for j, place in enumerate(places):
        found = ends_at(result, variable, (*at, j))
        if math.isfinite(place) and found["value"] is not None:
            yield replace(template, kind=CURVE, at=float(place), **found)  # type: ignore[arg-type]


def grid_text(grid: Iterable[int]) -> str:
    """Write a grid as rows show it.

    >>> grid_text((14, 14))
    '14x14'
    """
    return "x".join(map(str, grid))


def on_common_grid(result: Result) -> Iterator[tuple[str, int, Row]]:
    """Yield the variable ("common" or "difference"), the line and the row of each comparison of last layers."""
    taps = {}
    for i, label in enumerate(result.coords.get("compared", [])):
        backbone, _, taps[backbone] = label.rpartition("/")
        yield "common", i, Row(backbone=backbone, layer=taps[backbone], factor=_common(result))
    for i, label in enumerate(result.coords.get("pair", [])):
        one, _, two = label.partition(" vs ")
        layers = {"layer": taps.get(one, ""), "layer_b": taps.get(two, "")}
        yield "difference", i, Row(backbone=one, backbone_b=two, **layers, factor=_common(result), kind=DIFFERENCE)


def _common(result: Result) -> str:
    return f"common grid {grid_text(result.attrs['common_grid'])}"


def end_rows(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows of the first and the last layer of each backbone: what a short table shows of many."""
    layers: dict[str, list[str]] = {}
    own = [row for row in rows if row.layer and not row.backbone_b]
    for row in own:
        layers.setdefault(row.backbone, []).append(row.layer)
    return (row for row in own if row.layer in (layers[row.backbone][0], layers[row.backbone][-1]))
