"""PUG-ImageNet: accuracy where one factor of a rendered scene varies at a time (Bordes et al. 2023).

The same object is rendered 122 times. Renders of one object are alike, so intervals resample objects, not images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.metrics.intervals import Estimate, Options, row_interval, wilson

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class PugAccuracies:
    """Accuracies with bootstrap intervals over objects (Wilson's where all is right, or all wrong); n counts images.

    Attributes:
        subsets: Of each subset (sub-factor), in the order given.
        groups: Of each group (factor): the plain mean of its subsets.
        mean: The plain mean of all subsets.
        values: Of each value of each curve: curve -> value -> accuracy.
    """

    subsets: dict[str, Estimate]
    groups: dict[str, Estimate]
    mean: Estimate
    values: dict[str, dict[str, Estimate]]


def pug_accuracies(
    correct: NDArray[np.bool_],
    subset: NDArray[np.str_],
    objects: NDArray[np.str_],
    groups: Mapping[str, Sequence[str]],
    curves: Mapping[str, NDArray[np.str_]],
    options: Options,
) -> PugAccuracies:
    """Accuracy per subset, group and value.

    A subset without an image is left out of its group and of the mean; a group without one is NaN.

    Args:
        correct: (n,) bool.
        subset: (n,) text, which subset an image is of.
        objects: (n,) text, which object is rendered: the sampling unit.
        groups: Group -> its subsets, in the order of the result.
        curves: Subset -> (n,) text, the value of the factor that varies there; read for the images of that subset.
        options: Of the intervals.
    """
    names = [name for members in groups.values() for name in members]
    masks = [subset == name for name in names]
    values = {name: sorted(np.unique(column[subset == name]).tolist(), key=_natural) for name, column in curves.items()}
    masks += [(subset == name) & (curves[name] == value) for name, known in values.items() for value in known]
    count = len(names)
    members = np.array([[name in inside for name in names] for inside in groups.values()], dtype=bool)

    def statistic(sums: F64) -> F64:
        with np.errstate(invalid="ignore"):
            rates = sums[:, ::2] / sums[:, 1::2]  # 0/0 where nothing was drawn
        grouped = [_mean_over(rates[:, :count], inside) for inside in (*members, np.ones(count, bool))]
        return np.concatenate([rates, np.stack(grouped, axis=1)], axis=1)

    units, own = np.unique(objects, return_inverse=True)
    columns = [
        np.bincount(own, weights=weight, minlength=len(units)) for mask in masks for weight in (mask & correct, mask)
    ]
    table = np.stack(columns, axis=1).astype(np.float64)
    value = statistic(table.sum(axis=0)[None])[0]
    found = row_interval(table, statistic, options)
    sizes = [int(mask.sum()) for mask in masks]
    sizes += [int(sum(sizes[i] for i in np.flatnonzero(inside))) for inside in members] + [sum(sizes[:count])]
    rendered = [int(np.count_nonzero(table[:, 2 * i + 1])) for i in range(len(masks))]  # objects behind each
    rendered += [0] * (len(sizes) - len(rendered))
    ends = zip(value.tolist(), found.low.tolist(), found.high.tolist(), sizes, rendered, strict=True)
    estimates = [_estimate(*end, options.confidence) for end in ends]
    later = iter(estimates[count:])
    by_value = {name: {known: next(later) for known in values[name]} for name in values}
    by_group = {name: next(later) for name in groups}
    return PugAccuracies(dict(zip(names, estimates, strict=False)), by_group, next(later), by_value)


def _estimate(value: float, low: float, high: float, n: int, objects: int, confidence: float) -> Estimate:
    """Where everything is right, or wrong, no resample differs: Wilson's interval over the objects instead."""
    if not np.isfinite(value):
        return Estimate(value, float("nan"), float("nan"), n)
    if value in (0.0, 1.0) and objects:
        found = wilson(int(value) * objects, objects, confidence)
        return Estimate(value, found.low, found.high, n)
    return Estimate(value, low, high, n)


def _mean_over(rates: F64, inside: NDArray[np.bool_]) -> F64:
    """(r, S) -> (r,) mean over the chosen columns that are defined."""
    chosen = rates[:, inside]
    known = ~np.isnan(chosen)
    with np.errstate(invalid="ignore"):
        mean: F64 = np.where(known, chosen, 0).sum(axis=1) / known.sum(axis=1)
    return mean


def _natural(text: str) -> tuple[int, float, str]:
    """Numbers by size, before words by letter."""
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text
