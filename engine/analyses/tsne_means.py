"""Means of the measures of a t-SNE map over samples, with intervals over samples and over classes.

The silhouette of the map is summarised as `cvbench analyze silhouette` does it, by a jackknife within classes, so that
one number has one interval. All else is a plain mean, samples drawn from all. Over classes: whole classes are
drawn, with all their samples; the mean is the same, the interval is for a claim about classes like these.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.silhouette_means import Replicates, over_samples
from cvbench.engine.bootstrap import percentile_interval

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

WITHIN_CLASSES = ("silhouette_map",)
"""Measures whose classes weigh as all their samples, and whose interval is a jackknife within classes."""


@dataclass(frozen=True, eq=False)
class Averages:
    """How measures are averaged.

    Attributes:
        labels: (m,) int64 of the measured samples; a measure of fewer has the first of them.
        mapped: (n,) int64 of all samples on the map.
        resamples, confidence, seed: Of the bootstrap.
    """

    labels: I64
    mapped: I64
    resamples: int
    confidence: float
    seed: int

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
        """Whether there are classes to compare: labels for all, more than one, not each sample its own."""
        return bool(self.mapped.min() >= 0) and 1 < len(self.members) < len(self.mapped)

    def mean(self, name: str, values: F64) -> float:
        """The mean of the defined values, NaN if none is.

        Args:
            name: Of the measure.
            values: (<= m,) float64, of the first measured samples.
        """
        sums, counts = self._by_class(name, values)
        return float(sums.sum() / counts.sum()) if counts.sum() > 0 else np.nan

    def within_classes(self, means: F64, replicates: Replicates) -> tuple[float, float]:
        """Ends of the interval of `mean` within classes, from class means (1 + g, K) of all and without each group."""
        _, low, high = replicates.interval(over_samples(means[:, :, None], replicates), "micro")
        return float(low[0]), float(high[0])

    def over_samples(self, name: str, values: F64) -> tuple[float, float]:
        """Ends of the interval of `mean` over samples."""
        defined = values[~np.isnan(values)]
        if not len(defined):
            return np.nan, np.nan
        return self._interval(np.stack([defined, np.ones(len(defined))], axis=1))

    def over_classes(self, name: str, values: F64) -> tuple[float, float]:
        """Ends of the interval of `mean` over classes; NaN without classes."""
        table = np.stack(self._by_class(name, values), axis=1)
        table = table[table[:, 1] > 0]
        return self._interval(table) if self.classed and len(table) else (np.nan, np.nan)

    def _by_class(self, name: str, values: F64) -> tuple[F64, F64]:
        """(K,) sums and counts of the defined values; within classes: each class counts as all its samples."""
        there = ~np.isnan(values)
        own, size = self.own[: len(values)][there], len(self.members)
        counts = np.bincount(own, minlength=size).astype(np.float64)
        sums = np.bincount(own, values[there], size).astype(np.float64)
        scale = np.ones(size)
        if name in WITHIN_CLASSES:
            scale = np.where(counts > 0, self.members / np.maximum(counts, 1), 0.0)
        return sums * scale, counts * scale

    def _interval(self, table: F64) -> tuple[float, float]:
        found = percentile_interval(
            table,
            lambda sums: sums[:, :1] / sums[:, 1:],
            resamples=self.resamples,
            confidence=self.confidence,
            seed=self.seed,
        )
        return float(found.low[0]), float(found.high[0])
