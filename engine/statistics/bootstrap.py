"""Percentile bootstrap of any statistic of sums over sampling units (Efron & Tibshirani 1993, chapter 13).

A resample draws n of the n units with replacement, that is, gives each a multinomial weight. The sums of all resamples
are then one matrix product: weights (r, n) by values (n, m). What the units are (images, batches, classes) is the
caller's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from cvbench.engine.statistics.estimate import student, tails
from cvbench.engine.statistics.options import USUAL, IntervalOptions

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """Two-sided interval of k statistics.

    Attributes:
        low, high: (k,) float64.
        undefined: (k,) resamples that gave NaN, left out.
        error: (k,) standard deviation of the others; empty where it is not made.
    """

    low: F64
    high: F64
    undefined: NDArray[np.int64]
    error: F64 = field(default_factory=lambda: np.empty(0))


def resample_weights(n: int, resamples: int, seed: int, block: int = 256) -> Iterator[F64]:
    """Multinomial weights of all resamples, in blocks of (<= block, n) float64; every row sums to n."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, block):
        weights = np.empty((min(block, resamples - start), n))
        for row in weights:  # one at a time: the counters of one resample stay in a core's cache
            row[:] = np.bincount(rng.integers(0, n, size=n), minlength=n)
        yield weights


def percentile_interval(
    values: F64,
    statistic: Callable[[F64], F64],
    options: IntervalOptions = USUAL,
    *,
    confidence: F64 | None = None,
    block: int = 256,
) -> Interval:
    """Bootstrap interval of `statistic` over the rows of `values`.

    Memory: resamples * k * 8 bytes for the statistics, block * (n + m) * 8 for one block of resamples.

    Args:
        values: (n, m) float64, one row per sampling unit, n >= 1.
        statistic: Sums (r, m) of r resamples -> (r, k) statistics; NaN where undefined. Divide by n for means.
        options: The same seed and NumPy give the same interval.
        confidence: (k,) of each statistic, if not that of the options for all: see `expanded`.
        block: Resamples per matrix product.

    Returns:
        The interval, NaN where no resample defines the statistic.
    """
    values = np.ascontiguousarray(values, dtype=np.float64)
    drawn = [
        statistic(weights @ values) for weights in resample_weights(len(values), options.resamples, options.seed, block)
    ]
    table = np.concatenate(drawn)
    undefined = np.isnan(table).sum(axis=0)
    levels = np.full(table.shape[1], options.confidence) if confidence is None else confidence
    bounds = np.full((2, table.shape[1]), np.nan)
    error = np.full(table.shape[1], np.nan)
    defined = undefined == 0
    error[defined] = table[:, defined].std(axis=0)
    partly = ~defined & (undefined < len(table))
    if partly.any():
        error[partly] = np.nanstd(table[:, partly], axis=0)
    for level in np.unique(levels):
        points, own = np.array(tails(level)), levels == level
        for some, quantile in ((defined & own, np.quantile), (partly & own, np.nanquantile)):
            if some.any():
                bounds[:, some] = quantile(table[:, some], points, axis=0)
    return Interval(bounds[0], bounds[1], undefined, error)


def expanded(confidence: float, n: NDArray[np.int64]) -> F64:
    """Confidence to ask of a percentile interval over n > 1 units, (k,), so that it covers as Student's does.

    A resample varies as if the mean square were divided by n, and its ends are the normal law's: of few units the
    interval is too narrow. Its tails are those beyond sqrt(n / (n - 1)) t instead (Hesterberg 2015, "expanded").

    >>> expanded(0.95, np.array([10, 1000])).round(4).tolist()
    [0.9829, 0.9504]
    """
    units = n.astype(np.float64)
    return np.asarray(2 * ndtr(np.sqrt(units / (units - 1)) * student(confidence, units - 1)) - 1)


def bootstrap_p(value: F64, error: F64) -> F64:
    """Two-sided p of "it is 0", normal: 2,000 resamples are too few to be counted beyond 0.

    Args:
        value: (k,) of the statistics.
        error: (k,) their `Interval.error`.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(2 * ndtr(-np.abs(value) / error))
