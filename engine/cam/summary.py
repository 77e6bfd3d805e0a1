"""Class activation maps of a data set in numbers: means over images with intervals, and differences of backbones.

The sampling unit is the image. A difference is of the same images: those on which both backbones' maps are defined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Result
from cvbench.engine.bootstrap import percentile_interval
from cvbench.engine.cam.boxed import BOX_MEASURES, RATIOS
from cvbench.engine.cam.measures import MAP_MEASURES
from cvbench.engine.online import interval_notes

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """The measures of one backbone's maps on one grid.

    Attributes:
        backbone, target: Whose maps; `target` is "" for the baseline.
        grid: Cells.
        common: Whether it is the grid on which backbones are compared.
        table: (n, m) float64, one row per image, columns `MAP_MEASURES` and, with boxes, `BOX_MEASURES`.
    """

    backbone: str
    target: str
    grid: tuple[int, int]
    common: bool
    table: F64


@dataclass(frozen=True)
class Resampling:
    """Of the percentile bootstrap over images."""

    resamples: int = 2000
    confidence: float = 0.95
    seed: int = 0


def summarise(rows: Sequence[Measured], how: Resampling, attrs: Mapping[str, Any]) -> Result:
    """Means and paired differences.

    Args:
        rows: The same images in the same order, with the same columns in all; the baseline has no part in differences.
        how: Of the intervals.
        attrs: What else is known of the maps; joins the result's.

    Returns:
        `value`, `low`, `high`, `n_undefined` (row, measure); where backbones are compared also `difference`,
        `difference_low`, `difference_high`, `difference_n` (pair, measure). Units: see `engine.cam.measures`.
    """
    boxes = rows[0].table.shape[1] > len(MAP_MEASURES)
    names = [*MAP_MEASURES, *(BOX_MEASURES if boxes else ()), *(RATIOS if boxes else ())]
    fractions = [_fractions(row.table, boxes) for row in rows]
    n = len(rows[0].table)
    found = [_estimate([fraction], lambda parts: parts[0], how) for fraction in fractions]
    pairs = [(i, j) for i, j in combinations(range(len(rows)), 2) if _comparable(rows[i], rows[j])]
    apart = [_estimate([fractions[i], fractions[j]], lambda parts: parts[0] - parts[1], how) for i, j in pairs]
    data: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {}
    for at, name in enumerate(("value", "low", "high")):
        data[name] = (("row", "measure"), np.stack([estimate[0][at] for estimate in found]))
        if apart:
            suffix = "" if name == "value" else f"_{name}"
            data[f"difference{suffix}"] = (("pair", "measure"), np.stack([estimate[0][at] for estimate in apart]))
    data["n_undefined"] = (("row", "measure"), np.stack([n - estimate[1] for estimate in found]))
    coords: dict[str, list[Any]] = {"row": [_label(row) for row in rows], "measure": names}
    if apart:
        data["difference_n"] = (("pair", "measure"), np.stack([estimate[1] for estimate in apart]))
        coords["pair"] = [f"{rows[i].backbone} - {rows[j].backbone}" for i, j in pairs]
    described = [
        {"backbone": row.backbone, "target": row.target, "grid": list(row.grid), "common": row.common} for row in rows
    ]
    return Result(
        name="cam",
        coords=coords,
        data=data,
        attrs={
            **attrs,
            "images": n,
            "rows": described,
            "pairs": [[rows[i].backbone, rows[j].backbone] for i, j in pairs],
            "resamples": how.resamples,
            "confidence": how.confidence,
            "seed": how.seed,
            "interval": "percentile bootstrap over images",
            "notes": [*attrs.get("notes", []), *interval_notes(n)],
        },
    )


def _comparable(one: Measured, two: Measured) -> bool:
    return one.common and two.common and bool(one.target) and bool(two.target)


def _label(row: Measured) -> str:
    return f"{row.backbone} {row.grid[0]}x{row.grid[1]}"


def _fractions(table: F64, boxes: bool) -> tuple[F64, F64]:
    """Every estimate as a ratio of two sums over images: numerators and denominators, (n, k) each, NaN undefined."""
    ones = np.where(np.isnan(table), np.nan, 1.0)
    if not boxes:
        return table, ones
    at = {name: len(MAP_MEASURES) + i for i, name in enumerate(BOX_MEASURES)}
    above = [table[:, at[top]] for top, _ in RATIOS.values()]
    below = [table[:, at[bottom]] for _, bottom in RATIOS.values()]
    return np.column_stack([table, *above]), np.column_stack([ones, *below])


def _estimate(
    fractions: Sequence[tuple[F64, F64]], combine: Callable[[list[F64]], F64], how: Resampling
) -> tuple[F64, NDArray[np.int64]]:
    """(3, k) value, low, high of a combination of ratios over the images where all are defined, (k,) their number."""
    parts = [part for fraction in fractions for part in fraction]
    defined = np.logical_and.reduce([np.isfinite(part) for part in parts])
    k = defined.shape[1]
    sums = np.concatenate([np.where(defined, part, 0.0) for part in parts], axis=1)

    def statistic(drawn: F64) -> F64:
        pieces = np.split(drawn, len(parts), axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = [a / np.where(b > 0, b, np.nan) for a, b in zip(pieces[::2], pieces[1::2], strict=True)]
        return combine(ratios)

    found = np.full((3, k), np.nan)
    found[0] = statistic(sums.sum(axis=0)[None])[0]
    if len(sums) > 1:
        interval = percentile_interval(
            sums, statistic, resamples=how.resamples, confidence=how.confidence, seed=how.seed
        )
        found[1:] = interval.low, interval.high
    return found, defined.sum(axis=0)
