"""Means of the measures of a t-SNE map over samples, with intervals over samples and over classes.

Neighbours of a sample are samples, too: every value moves when others are drawn, and the spread of the values says too
little. So the interval over samples is a jackknife (`cvbench.engine.statistics.jackknife`): ten times a tenth of every
class is left out, all measures are taken anew among the rest, and Student's t with 9 degrees of freedom is used. The
map stays in that; what another map would do is taken from the spread over starts, whose variance is added. For purity
and silhouette on the map that is not enough (87 % of 95 in simulations of Gaussian classes; all else 92 or more): they
have no interval over samples.

Over classes: whole classes are drawn, with all their samples, where there are `FEW_IMAGES` of them; the mean is the
same, the interval is for a claim about classes like these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.statistics.bootstrap import bootstrap_p, percentile_interval
from cvbench.engine.statistics.estimate import FEW_IMAGES
from cvbench.engine.statistics.jackknife import GROUPS, jackknife_interval, strata_groups, variance
from cvbench.engine.statistics.mean_interval import ROUNDING
from cvbench.engine.statistics.options import USUAL, IntervalOptions

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

LEAST = 2 * GROUPS
"""Samples on the map without which there is no interval."""

NO_INTERVAL = ("purity_map", "silhouette_map")
"""Measures that the layout of the map decides more than any interval over samples tells."""

CLASSES_ALIKE = ("silhouette_map",)
"""Measures in whose mean each class counts as all its samples on the map, however many of them were measured."""


@dataclass(frozen=True, eq=False)
class Averages:
    """Averages of measures over samples, with their intervals.

    Attributes:
        labels: (m,) int64 of the measured samples; a measure of fewer has the first of them.
        mapped: (n,) int64 of all samples on the map.
        options: Of all intervals; only the bootstrap of classes draws.
    """

    labels: I64
    mapped: I64
    options: IntervalOptions = USUAL

    @cached_property
    def members(self) -> I64:
        """(K,) samples of each class on the map."""
        return np.asarray(np.unique(self.mapped, return_counts=True)[1])

    @cached_property
    def own(self) -> I64:
        """(m,) class of each measured sample."""
        return np.searchsorted(np.unique(self.mapped), self.labels)

    @property
    def classed(self) -> bool:
        """Whether classes can be drawn: labels for all, enough of them, not each sample its own."""
        return bool(self.mapped.min() >= 0) and FEW_IMAGES <= len(self.members) < len(self.mapped)

    def mean(self, name: str, values: F64) -> float:
        """The mean of the defined values, NaN if none is.

        Args:
            name: Of the measure.
            values: (<= m,) float64, of the first measured samples.
        """
        sums, counts = self._by_class(name, values)
        return float(sums.sum() / counts.sum()) if counts.sum() > 0 else np.nan

    def over_classes(self, name: str, values: F64) -> tuple[float, float, float]:
        """Ends of the interval of `mean` over classes, and its p; NaN without enough classes."""
        table = np.stack(self._by_class(name, values), axis=1)
        table = table[table[:, 1] > 0]
        if not self.classed or len(table) < FEW_IMAGES:
            return np.nan, np.nan, np.nan
        found = percentile_interval(table, lambda sums: sums[:, :1] / sums[:, 1:], self.options)
        p = bootstrap_p(np.array([self.mean(name, values)]), found.error)
        return float(found.low[0]), float(found.high[0]), float(p[0])

    def _by_class(self, name: str, values: F64) -> tuple[F64, F64]:
        """(K,) sums and counts of the defined values, weighted where classes count as all their samples."""
        there = ~np.isnan(values)
        own, size = self.own[: len(values)][there], len(self.members)
        counts = np.bincount(own, minlength=size).astype(np.float64)
        sums = np.bincount(own, values[there], size).astype(np.float64)
        scale = np.ones(size)
        if name in CLASSES_ALIKE:
            scale = np.where(counts > 0, self.members / np.maximum(counts, 1), 0.0)
        return sums * scale, counts * scale


def left_out_means(
    take: Callable[[I64, I64], Mapping[str, F64]], labels: I64, queries: I64, seed: int
) -> dict[str, F64]:
    """Name -> (GROUPS,) float64 mean of each measure without each group; nothing for fewer than `LEAST` samples.

    Args:
        take: Rows that stay (ascending), and which of these are measured, by their place among them -> the measures.
        labels: (n,) of all samples on the map.
        queries: (m,) rows that are measured, ascending.
        seed: Of the groups.
    """
    if len(labels) < LEAST:
        return {}
    groups, means = tenths(labels, queries, seed), []
    for group in range(GROUPS):
        keep, asked = np.flatnonzero(groups != group), queries[groups[queries] != group]
        averages = Averages(labels[asked], labels[keep])
        found = take(keep, np.searchsorted(keep, asked))
        means.append({name: averages.mean(name, values) for name, values in found.items()})
    return {name: np.array([mean[name] for mean in means]) for name in means[0]}


def tenths(labels: I64, queries: I64, seed: int) -> I64:
    """(n,) group of each sample: dealt out at random class by class, of each class the measured ones first."""
    measured = np.zeros(len(labels), dtype=bool)
    measured[queries] = True
    return strata_groups(np.unique(labels, return_inverse=True)[1], measured, 1, seed, GROUPS)


def jackknifed(value: float, left_out: F64, confidence: float, starts: float = 0.0) -> tuple[float, float, float]:
    """Ends of the interval of a mean, and the p-value of "it is 0"; NaN without replicates, or if they are all one.

    Args:
        value: The mean.
        left_out: (GROUPS,) the same without each group; empty for none.
        confidence: Of the interval.
        starts: Variance over the starts of the map; 0 if it has no part in the mean, or is not known.
    """
    if len(left_out) < GROUPS or not np.isfinite(left_out).all():
        return np.nan, np.nan, np.nan
    spread, means = variance(left_out[:, None]), np.array([value])
    if spread[0] <= ROUNDING**2:
        return np.nan, np.nan, np.nan
    found = jackknife_interval(means, left_out[:, None], confidence=confidence, added=starts)
    return float(found.low[0]), float(found.high[0]), float(found.p[0])
