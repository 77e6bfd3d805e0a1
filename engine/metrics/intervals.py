"""Confidence intervals of proportions, of means, and of any statistic of counts.

Proportions of single images get Wilson's score interval; everything else the percentile bootstrap. Where the images
fall into few kinds (right or wrong, with this or that flag), their bootstrap is one multinomial draw of the kinds'
counts: the same distribution, at a cost that does not grow with the number of images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.bootstrap import Interval, percentile_interval

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Options:
    """Of every interval: resamples and seed of the bootstrap, and the coverage."""

    resamples: int = 2000
    seed: int = 0
    confidence: float = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; NaN where undefined."""

    value: float
    low: float
    high: float
    n: int


def wilson(hits: int, n: int, confidence: float = 0.95) -> Estimate:
    """A proportion with Wilson's score interval (Wilson 1927): inside [0, 1], never empty, good for small n.

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n). All NaN for n = 0.
    """
    if n == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, scale = hits / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z * ((p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5) / scale
    # At the ends the bound is p itself; rounding must not put it beyond.
    return Estimate(p, 0.0 if hits == 0 else max(0.0, centre - half), 1.0 if hits == n else min(1.0, centre + half), n)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """first - second of two proportions of *different* samples, by Newcombe's hybrid score interval.

    Newcombe 1998, method 10: built from the Wilson limits of both. For the same samples use a paired interval.
    """
    value = first.value - second.value
    low = value - ((first.value - first.low) ** 2 + (second.high - second.value) ** 2) ** 0.5
    high = value + ((first.high - first.value) ** 2 + (second.value - second.low) ** 2) ** 0.5
    return Estimate(value, low, high, min(first.n, second.n))


def mean_of_proportions(hits: NDArray[np.int64], n: NDArray[np.int64], options: Options) -> Estimate:
    """Unweighted mean of the proportions of several independent sets; bootstrap of the images within each.

    Args:
        hits, n: (sets,) int64; NaN if any n is 0.
    """
    total = int(n.sum())
    if not len(n) or (n == 0).any():
        return Estimate(float("nan"), float("nan"), float("nan"), total)
    p = hits / n
    drawn = np.random.default_rng(options.seed).binomial(n, p, size=(options.resamples, len(n)))
    return Estimate(float(p.mean()), *_points((drawn / n).mean(axis=1), options.confidence), total)


def mean_interval(values: F64, options: Options) -> Estimate:
    """Mean of (n,) float64 with its bootstrap interval over the entries. Undefined (NaN) entries are left out."""
    kept = values[~np.isnan(values)]
    if not len(kept):
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    found = row_interval(kept[:, None], lambda sums: sums / len(kept), options)
    return Estimate(float(kept.mean()), float(found.low[0]), float(found.high[0]), len(kept))


def row_interval(values: F64, statistic: Callable[[F64], F64], options: Options) -> Interval:
    """Bootstrap over the rows (n, m) of the sampling units; see `percentile_interval`."""
    return percentile_interval(
        values,
        statistic,
        resamples=options.resamples,
        confidence=options.confidence,
        seed=options.seed,
        # A block of weights is block x n float64: keep it near 32 MB.
        block=max(1, min(256, 2**22 // max(len(values), 1))),
    )


def counted_interval(values: NDArray[Any], statistic: Callable[[F64], F64], options: Options) -> Interval:
    """As `row_interval` for rows with many repeats: distinct rows with their counts, drawn as one multinomial.

    Args:
        values: (n, m) numbers or bool, few distinct rows.
        statistic: Sums (r, m) of r resamples of n rows -> (r, k); NaN where undefined.
    """
    rows = np.ascontiguousarray(values)
    # Equal rows have equal bytes here (integers and bools), which is quicker to sort than m columns.
    packed = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, first, counts = np.unique(packed, return_index=True, return_counts=True)
    kinds = rows[first].astype(np.float64)
    rng = np.random.default_rng(options.seed)
    block = max(1, 2**22 // len(kinds))
    parts = []
    for start in range(0, options.resamples, block):
        size = min(block, options.resamples - start)
        drawn = rng.multinomial(len(rows), counts / len(rows), size=size).astype(np.float64)
        parts.append(statistic(drawn @ kinds))
    table = np.concatenate(parts)
    undefined = np.isnan(table).sum(axis=0)
    low, high = np.full((2, table.shape[1]), np.nan)
    for column in np.flatnonzero(undefined < len(table)):
        known = table[:, column]
        low[column], high[column] = _points(known[~np.isnan(known)], options.confidence)
    return Interval(low, high, undefined)


def _points(values: F64, confidence: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
