"""Class activation maps of a data set in numbers: means over images with intervals, and differences of backbones.

The sampling unit is the image. A difference is of the same images: those on which both backbones' maps are defined.
For a claim about classes like these, not about these, the classes are resampled instead, each with all its images (the
cluster bootstrap, Davison & Hinkley 1997, section 3.8); the means are the same, their intervals wider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Result
from cvbench.engine.bootstrap import percentile_interval
from cvbench.engine.cam.boxed import BOX_MEASURES, RATIOS
from cvbench.engine.cam.measures import MAP_MEASURES
from cvbench.engine.online import FEW_IMAGES, class_count, interval_notes

F64 = NDArray[np.float64]

ENDS = ("value", "low", "high", "class_low", "class_high")
"""Of an estimate: itself, its interval over images, and over classes."""
_DRAWN = 2**21  # weights of a block of resamples, 16 MiB: memory does not follow the number of images


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


def summarise(
    rows: Sequence[Measured], how: Resampling, attrs: Mapping[str, Any], classes: NDArray[np.int64] | None = None
) -> Result:
    """Means and paired differences.

    Memory: 150 bytes per image and measure for two backbones; the resamples take 16 MiB, however many images.

    Args:
        rows: The same images in the same order, with the same columns in all; the baseline has no part in differences.
        how: Of the intervals.
        attrs: What else is known of the maps; joins the result's.
        classes: (n,) label of each image, -1 for none. They are resampled if `class_count` says that there are enough.

    Returns:
        `value`, `low`, `high`, `n_undefined` (row, measure); where backbones are compared also `difference`,
        `difference_low`, `difference_high`, `difference_n` (pair, measure). With intervals over classes also
        `class_low`, `class_high`, `difference_class_low`, `difference_class_high`, NaN where fewer than 30 classes
        define the number. Units: see `engine.cam.measures`.
    """
    boxes = rows[0].table.shape[1] > len(MAP_MEASURES)
    names = [*MAP_MEASURES, *(BOX_MEASURES if boxes else ()), *(RATIOS if boxes else ())]
    fractions = [_fractions(row.table, boxes) for row in rows]
    n, count = len(rows[0].table), class_count(classes)
    own = np.unique(classes, return_inverse=True)[1] if classes is not None and count else None
    found = [_estimate([fraction], lambda parts: parts[0], how, own) for fraction in fractions]
    pairs = [(i, j) for i, j in combinations(range(len(rows)), 2) if _comparable(rows[i], rows[j])]
    apart = [_estimate([fractions[i], fractions[j]], lambda parts: parts[0] - parts[1], how, own) for i, j in pairs]
    data: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {}
    for at, name in enumerate(ENDS if count else ENDS[:3]):
        data[name] = (("row", "measure"), np.stack([estimate[0][at] for estimate in found]))
        if apart:
            suffix = "" if name == "value" else f"_{name}"
            data[f"difference{suffix}"] = (("pair", "measure"), np.stack([estimate[0][at] for estimate in apart]))
    data["n_undefined"] = (("row", "measure"), np.stack([n - estimate[1] for estimate in found]))
    coords: dict[str, list[Any]] = {"row": [_label(row) for row in rows], "measure": names}
    if apart:
        data["difference_n"] = (("pair", "measure"), np.stack([estimate[1] for estimate in apart]))
        coords["pair"] = [f"{rows[i].backbone} - {rows[j].backbone}" for i, j in pairs]
    defined = zip([*coords["row"], *coords.get("pair", [])], (e[1] for e in [*found, *apart]), strict=True)
    return Result(
        name="cam",
        coords=coords,
        data=data,
        attrs={
            **attrs,
            "images": n,
            "resampled_classes": count,
            "rows": [_described(row) for row in rows],
            "pairs": [[rows[i].backbone, rows[j].backbone] for i, j in pairs],
            "resamples": how.resamples,
            "confidence": how.confidence,
            "seed": how.seed,
            "interval": "percentile bootstrap over images",
            "class_interval": f"percentile bootstrap over {count} classes" if count else "",
            "notes": [*attrs.get("notes", []), *interval_notes(n), *(_thin_notes(names, defined) if n > 1 else [])],
        },
    )


def _comparable(one: Measured, two: Measured) -> bool:
    return one.common and two.common and bool(one.target) and bool(two.target)


def _described(row: Measured) -> dict[str, Any]:
    return {"backbone": row.backbone, "target": row.target, "grid": list(row.grid), "common": row.common}


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
    fractions: Sequence[tuple[F64, F64]],
    combine: Callable[[list[F64]], F64],
    how: Resampling,
    classes: NDArray[np.int64] | None,
) -> tuple[F64, NDArray[np.int64]]:
    """Of a combination of ratios over the images where all are defined: (5, k) `ENDS`, and (k,) their number."""
    parts = [part for fraction in fractions for part in fraction]
    defined = np.logical_and.reduce([np.isfinite(part) for part in parts])
    sums = np.concatenate([np.where(defined, part, 0.0) for part in parts], axis=1)

    def statistic(drawn: F64) -> F64:
        pieces = np.split(drawn, len(parts), axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = [a / np.where(b > 0, b, np.nan) for a, b in zip(pieces[::2], pieces[1::2], strict=True)]
        return combine(ratios)

    found = np.full((len(ENDS), defined.shape[1]), np.nan)
    found[0] = statistic(sums.sum(axis=0)[None])[0]
    images = defined.sum(axis=0)
    found[1:3] = _interval(sums, statistic, how, few=images < 2)
    if classes is not None:
        count = int(classes.max()) + 1
        of_class, there = np.zeros((count, sums.shape[1])), np.zeros((count, defined.shape[1]), dtype=bool)
        np.add.at(of_class, classes, sums)
        np.logical_or.at(there, classes, defined)
        found[3:] = _interval(of_class, statistic, how, few=there.sum(axis=0) < FEW_IMAGES)
    return found, images


def _interval(sums: F64, statistic: Callable[[F64], F64], how: Resampling, few: NDArray[np.bool_]) -> F64:
    """(2, k) low and high over the rows of `sums`; NaN where `few` of them define the number."""
    if few.all():
        return np.full((2, len(few)), np.nan)
    options: dict[str, Any] = {"resamples": how.resamples, "confidence": how.confidence, "seed": how.seed}
    block = min(256, max(1, _DRAWN // len(sums)))
    found = percentile_interval(sums, statistic, **options, block=block)
    return np.where(few, np.nan, np.stack([found.low, found.high]))


def _thin_notes(measures: Sequence[str], defined: Iterable[tuple[str, NDArray[np.int64]]]) -> list[str]:
    """What of a row or pair is defined by fewer images than an interval needs, where there are more in all."""
    notes = []
    for label, counts in defined:
        thin = [f"{name} ({n})" for name, n in zip(measures, counts.tolist(), strict=True) if 0 < n < FEW_IMAGES]
        if thin and counts.max() >= FEW_IMAGES:
            notes.append(
                f"{label}: fewer than {FEW_IMAGES} images define {', '.join(thin)}: the intervals are too narrow"
            )
    return notes
