"""Class activation maps of a data set in numbers: means over images with intervals, and differences of backbones.

The sampling unit is the image. A difference is of the same images: those on which both backbones' maps are defined.
Maps come in two versions: raw, and centred over positions (`grids.centred_evidence`). Only the latter are judged: raw
maps of two backbones may be under different constraints, and then differ whatever the networks look at.

For a claim about classes like these, not about these, the classes are resampled instead, each with all its images (the
cluster bootstrap, Davison & Hinkley 1997, section 3.8); the means are the same, their intervals wider.

A ratio of means R = sum a / sum b has the interval of the mean of its values R + (a - R b) / mean b, one of each image:
the delta method, with the skewness of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.cam.boxed import BOX_MEASURES, BOX_TABLE, RATIO_TABLE, RATIOS
from cvbench.engine.analyses.cam.measures import MAP_MEASURES
from cvbench.engine.analyses.cam.measures import TABLE as MAP_TABLE
from cvbench.engine.statistics.bootstrap import percentile_interval
from cvbench.engine.statistics.estimate import FEW_IMAGES
from cvbench.engine.statistics.mean_interval import Moments
from cvbench.engine.statistics.measure import Column, Measure, grid_notes
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.running import (
    INTERVAL,
    INTERVALS,
    Means,
    class_count,
    interval_notes,
    judged_columns,
    moments_means,
    thin_notes,
    with_classes,
)
from cvbench.engine.statistics.verdict import FAMILY

F64 = NDArray[np.float64]
Data: TypeAlias = dict[str, tuple[tuple[str, ...], NDArray[Any]]]

ENDS = ("value", "low", "high", "class_low", "class_high")
"""Of an estimate: itself, its interval over images, and over classes."""
RAW, CENTRED = "raw", "centred"
"""Versions of the maps."""
CONSTRAINT = (
    "where a backbone pools and then normalises, its raw map sums to zero over positions by construction and so looks "
    "concentrated, while another's is free: differences are judged on maps centred over positions, which puts all "
    "under that constraint"
)
"""Why raw differences are not judged, for a reader."""
_DRAWN = 2**21  # weights of a block of resamples, 16 MiB: memory does not follow the number of images


@dataclass(frozen=True)
class Measured:
    """The measures of one backbone's maps on one grid.

    Attributes:
        backbone, target: Whose maps; `target` is "" for the baseline.
        grid: Cells.
        common: Whether it is the grid on which backbones are compared.
        table: (n, m) float64, one row per image, columns `MAP_MEASURES` and, with boxes, `BOX_MEASURES`.
        version: RAW or CENTRED.
    """

    backbone: str
    target: str
    grid: tuple[int, int]
    common: bool
    table: F64
    version: str = RAW


def summarise(
    rows: Sequence[Measured], how: IntervalOptions, attrs: Mapping[str, Any], classes: NDArray[np.int64] | None = None
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
        `difference_low`, `difference_high`, `difference_n` (pair, measure), each pair of one version, and the verdicts
        on the centred ones, which are one family: `difference_resolved`, `difference_class_resolved` (1, 0, NaN for
        nothing said), adjusted `difference_p`. With intervals over classes also `class_low`, `class_high`,
        `difference_class_low`, `difference_class_high`, NaN where fewer than 30 classes define the number. NaN too
        where the grid is too small for a measure. Units: see `engine.analyses.cam.measures`.
    """
    table = (*MAP_TABLE, *BOX_TABLE, *RATIO_TABLE) if _boxed(rows) else MAP_TABLE
    found, apart = _estimates(rows, table, how, classes)
    images, count = len(rows[0].table), class_count(classes)
    coords: dict[str, list[Any]] = {"row": [_label(row) for row in rows], "measure": [one.name for one in table]}
    data = _variables("row", {name: name for name in ENDS if count or not name.startswith("class")}, found)
    data["n_undefined"] = (("row", "measure"), np.stack([means.undefined for means in found]))
    if apart:
        coords["pair"] = [_pair_label(rows[i], rows[j]) for i, j in apart]
        data |= _differences(list(apart.values()), [rows[i].version for i, _ in apart], images, bool(count))
    said = {
        "images": images,
        "resampled_classes": count,
        "rows": [_described(row) for row in rows],
        "pairs": [[rows[i].backbone, rows[j].backbone] for i, j in apart],
        "pair_versions": [rows[i].version for i, _ in apart],
        "class_interval": f"percentile bootstrap over {count} classes" if count else "",
        "notes": [*attrs.get("notes", []), *_notes(rows, table, coords, [*found, *apart.values()])],
    }
    made = {"intervals": INTERVALS, **asdict(how), "interval": INTERVAL, "family": FAMILY}
    return Result(name="cam", coords=coords, data=data, attrs={**attrs, **said, **made})


def _boxed(rows: Sequence[Measured]) -> bool:
    return bool(rows[0].table.shape[1] > len(MAP_MEASURES))


def _estimates(
    rows: Sequence[Measured], table: Sequence[Measure], how: IntervalOptions, classes: NDArray[np.int64] | None
) -> tuple[list[Means], dict[tuple[int, int], Means]]:
    """The means of each row, and for each two that are compared what they differ by."""
    fractions = [_fractions(row.table, _boxed(rows)) for row in rows]
    own = np.unique(classes, return_inverse=True)[1] if classes is not None and class_count(classes) else None
    columns = [[Column(measure, measure.on(row.grid)) for measure in table] for row in rows]
    found = [_estimate([fractions[i]], columns[i], how, own) for i in range(len(rows))]
    pairs = [(i, j) for i, j in combinations(range(len(rows)), 2) if _comparable(rows[i], rows[j])]
    return found, {(i, j): _estimate([fractions[i], fractions[j]], columns[i], how, own) for i, j in pairs}


def _variables(dimension: str, names: Mapping[str, str], found: Sequence[Means]) -> Data:
    """The variable of each end of the estimates, as `names` calls it."""
    stacked = {name: np.stack([getattr(means, end) for means in found]) for end, name in names.items()}
    return {name: ((dimension, "measure"), values) for name, values in stacked.items()}


def _differences(apart: Sequence[Means], versions: Sequence[str], images: int, of_classes: bool) -> Data:
    """Differences of the pairs, the number of images behind each, and the verdicts on those of centred maps."""
    ends = [name for name in ENDS if of_classes or not name.startswith("class")]
    data = _variables("pair", {name: f"difference_{name}".removesuffix("_value") for name in ends}, apart)
    data["difference_n"] = (("pair", "measure"), images - np.stack([means.undefined for means in apart]))
    return data | _verdicts(apart, np.array([version == CENTRED for version in versions]))


def _notes(
    rows: Sequence[Measured], table: Sequence[Measure], coords: Mapping[str, list[Any]], means: Sequence[Means]
) -> list[str]:
    """Notes for a reader of the means, of the rows first and then of the pairs."""
    pairs = coords.get("pair", [])
    notes = interval_notes(len(rows[0].table))
    for label, one in zip([*coords["row"], *pairs], means, strict=True):
        notes += [f"{label}: {note}" for note in thin_notes(coords["measure"], one)]
    notes += grid_notes(table, {label: row.grid for label, row in zip(coords["row"], rows, strict=True)})
    return [*notes, *([f"judged on centred maps: {CONSTRAINT}"] if pairs else [])]


def _verdicts(apart: Sequence[Means], judged: NDArray[np.bool_]) -> Data:
    """The verdicts on the pairs that are `judged`, one family; NaN of the others."""
    width = len(apart[0].value)
    family = np.flatnonzero(np.repeat(judged, width))
    data: Data = {}
    for ending, values in judged_columns(apart[0].joined(apart[1:]), family).items():
        table = np.full(len(apart) * width, np.nan)
        table[family] = values
        data[f"difference_{ending}"] = (("pair", "measure"), table.reshape(len(apart), width))
    return data


def _comparable(one: Measured, two: Measured) -> bool:
    return one.common and two.common and one.version == two.version and bool(one.target) and bool(two.target)


def _described(row: Measured) -> dict[str, Any]:
    names = {"backbone": row.backbone, "target": row.target, "grid": list(row.grid), "common": row.common}
    return {**names, "version": row.version}


def _label(row: Measured) -> str:
    return f"{row.backbone} {row.grid[0]}x{row.grid[1]}" + ("" if row.version == RAW else f" {row.version}")


def _pair_label(one: Measured, two: Measured) -> str:
    return f"{one.backbone} - {two.backbone}" + ("" if one.version == RAW else f" {one.version}")


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
    columns: Sequence[Column],
    how: IntervalOptions,
    classes: NDArray[np.int64] | None,
) -> Means:
    """Estimate one ratio, or the first less the second, over the images where all are defined."""
    there = np.array([column.there for column in columns])
    parts = [np.where(there, part, np.nan) for fraction in fractions for part in fraction]
    defined = np.logical_and.reduce([np.isfinite(part) for part in parts])
    sums = [np.where(defined, part, 0.0) for part in parts]
    pieces = [_values(above, below, defined) for above, below in zip(sums[::2], sums[1::2], strict=True)]
    moments = [Moments.of(piece) for piece in pieces]
    if len(pieces) == 2:
        width = len(columns)
        joined = [*columns, *columns, *(Column(c.measure, c.there, (j, width + j)) for j, c in enumerate(columns))]
        sides = Moments(*(np.concatenate(part) for part in zip(*map(_fields, moments), strict=True)))
        both = Moments.of(pieces[0] - pieces[1])
        stacked = Moments(*(np.concatenate(part) for part in zip(_fields(sides), _fields(both), strict=True)))
        found = moments_means(stacked, joined, how.confidence, len(defined)).part(slice(2 * width, None))
    else:
        found = moments_means(moments[0], columns, how.confidence, len(defined))
    return found if classes is None else _over_classes(found, np.concatenate(sums, axis=1), defined, how, classes)


def _fields(moments: Moments) -> tuple[F64, F64, F64, F64]:
    return moments.n, moments.mean, moments.second, moments.third


def _values(above: F64, below: F64, defined: NDArray[np.bool_]) -> F64:
    """(n, k) values of each image whose mean is sum above / sum below; NaN where not defined."""
    count, total = defined.sum(axis=0), below.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = above.sum(axis=0) / np.where(total > 0, total, np.nan)
        values = ratio + (above - ratio * below) * count / total
    plain = (below == defined).all(axis=0)  # a mean: the values are the images' own, without a rounding
    return np.where(defined, np.where(plain, above, values), np.nan)


def _over_classes(
    means: Means, sums: F64, defined: NDArray[np.bool_], how: IntervalOptions, classes: NDArray[np.int64]
) -> Means:
    """Add the interval over resampled classes to the means."""
    count = int(classes.max()) + 1
    of_class, there = np.zeros((count, sums.shape[1])), np.zeros((count, defined.shape[1]), dtype=bool)
    np.add.at(of_class, classes, sums)
    np.logical_or.at(there, classes, defined)
    few = there.sum(axis=0) < FEW_IMAGES
    if few.all():
        return means

    def statistic(drawn: F64) -> F64:
        pieces = np.split(drawn, drawn.shape[1] // defined.shape[1], axis=1)
        with np.errstate(invalid="ignore"):
            ratios = [a / np.where(b > 0, b, np.nan) for a, b in zip(pieces[::2], pieces[1::2], strict=True)]
        return ratios[0] if len(ratios) == 1 else ratios[0] - ratios[1]

    block = min(256, max(1, _DRAWN // len(of_class)))
    found = percentile_interval(of_class, statistic, how, block=block)
    return with_classes(means, found.low, found.high, found.error, few)
