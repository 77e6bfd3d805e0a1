"""Confidence intervals of proportions and means that keep their coverage near the ends of their range.

A share gets Wilson's score interval and a paired difference Tango's. Where a number is not a plain proportion of n
independent images (a mean over classes, a mean of shares, images of a few objects) both are taken at its *effective
size*: the number of independent images for which a plain proportion would have the variance that is seen (Korn &
Graubard 1998; Dean & Pagano 2015 compare such intervals and recommend Wilson's). The statistics of counts that are no
means at all, such as a mean of ratios, keep the percentile bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.statistics.bootstrap import Interval
from cvbench.engine.statistics.estimate import Estimate, normal, student, tails, two_sided
from cvbench.engine.statistics.hall import inverse
from cvbench.engine.statistics.options import IntervalOptions

F64 = NDArray[np.float64]

PSEUDO = 2
"""Pseudo-units that keep a variance from vanishing by luck, about z^2 / 2 (Agresti & Coull 1998)."""
FEW_UNITS = 3
"""With fewer there is no interval: the spread over one or two clusters says nothing."""


def wilson(hits: int, n: int, confidence: float = 0.95) -> Estimate:
    """A proportion with Wilson's score interval (Wilson 1927): inside [0, 1], never empty, good for small n.

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n). All NaN for n = 0.
    """
    return Estimate() if n == 0 else Estimate(hits / n, *score_ends(hits / n, n, normal(confidence)), n)


def score_ends(p: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's limits of a share p of n > 0 images, which need not be a whole number; z is the quantile."""
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z * ((p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5) / scale
    # At the ends the bound is p itself; rounding must not put it beyond.
    return (0.0 if p <= 0 else max(0.0, centre - half), 1.0 if p >= 1 else min(1.0, centre + half))


def paired_score_ends(b: float, c: float, n: float, z: float) -> tuple[float, float]:
    """Limits of (b - c) / n by Tango's score interval for paired proportions (Tango 1998, equations 4 and 5).

    All D for which (b - c - n D)^2 <= z^2 n (2 q + D (1 - D)), where q is the share of c that is most likely given D.
    Never without width, also for b = c = 0, where it is -+ z^2 / (n + z^2); without a difference to McNemar's score
    test, which rejects where 0 lies outside.

    Args:
        b, c: Counts that A alone, and that B alone, has; they need not be whole numbers.
        n: All.
        z: The quantile.
    """
    value = (b - c) / n

    def score(at: float) -> float:
        first = (2 * n - b + c) * at - b - c
        q = (math.sqrt(max(first * first + 8 * n * c * at * (1 - at), 0.0)) - first) / (4 * n)
        variance = n * (2 * q + at * (1 - at))
        gap = b - c - n * at
        return gap / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, gap)

    def root(low: float, high: float, level: float) -> float:
        for _ in range(60):  # the score falls as `at` grows
            middle = (low + high) / 2
            low, high = (middle, high) if score(middle) > level else (low, middle)
        return (low + high) / 2

    return root(-1.0, value, z), root(value, 1.0, -z)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """first - second of two proportions of *different* samples, by Newcombe's hybrid score interval.

    Newcombe 1998, method 10: built from the Wilson limits of both. For the same samples use a paired interval.
    """
    value = first.value - second.value
    low = value - ((first.value - first.low) ** 2 + (second.high - second.value) ** 2) ** 0.5
    high = value + ((first.high - first.value) ** 2 + (second.value - second.low) ** 2) ** 0.5
    return Estimate(value, low, high, min(first.n, second.n))


def outer_difference(first: Estimate, second: Estimate, confidence: float = 0.95) -> Estimate:
    """first - second of two numbers with skewed intervals: from the ends of both that lie farthest apart.

    It leaves out 0 exactly where the two intervals do not overlap, which is careful (Schenker & Gentleman 2001): of
    independent estimates with normal errors, 99.4 % are covered; by Bonferroni 90 % are, however the two depend on each
    other and however skewed they are. p is of the normal distribution whose quantile reaches the end that faces 0, so
    below 1 - confidence exactly where the interval leaves out 0. NaN ends if one has none.

    >>> found = outer_difference(Estimate(0.10, 0.06, 0.15, 900), Estimate(0.02, 0.00, 0.05, 900))
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3), round(found.p, 3)
    (0.08, 0.01, 0.15, 0.025)
    """
    value, n = first.value - second.value, min(first.n, second.n)
    low, high = first.low - second.high, first.high - second.low
    if math.isnan(low):
        return Estimate(value, n=n)
    reach = value - low if value > 0 else high - value
    return Estimate(value, low, high, n, two_sided(normal(confidence) * abs(value) / reach) if reach > 0 else 1.0)


@dataclass(frozen=True)
class Effective:
    """Parts, size and degrees of freedom of the score interval of a mean of values in [-1, 1].

    Attributes:
        up, down: Mean of the positive parts and of the negative ones: the value is up - down.
        size: Effective number of independent images.
        df: Degrees of freedom of its variance; inf for a normal quantile.
    """

    up: float
    down: float
    size: float
    df: float = math.inf

    def share(self, confidence: float, n: int) -> Estimate:
        """The mean of values in [0, 1] with Wilson's interval."""
        return Estimate(self.up, *score_ends(self.up, self.size, float(student(confidence, self.df))), n)

    def signed(self, confidence: float, n: int) -> Estimate:
        """The mean of values in [-1, 1] with Tango's interval, and the p of McNemar's score test."""
        b, c = self.up * self.size, self.down * self.size
        ends = paired_score_ends(b, c, self.size, float(student(confidence, self.df)))
        score = abs(b - c) / math.sqrt(b + c) if b + c > 0 else 0.0
        return Estimate(self.up - self.down, *ends, n, two_sided(score, self.df))


def effective(up: float, down: float, moved: F64, size: float) -> Effective:
    """The effective size of a mean, from what each of u independent units moves it by.

    The variance is u / (u - 1) sum of squares, but at least what two pseudo-units would leave that deviate as single
    images do. Its degrees of freedom follow from the fourth moment (Satterthwaite 1946), and are u - 1 at most: where a
    few units make all of the variance, it is known badly.

    Args:
        up, down: See `Effective`.
        moved: (u,) deviation of the mean that each unit causes; they sum to about 0. u >= 2.
        size: Effective size if the images were independent of each other: never exceeded.
    """
    units = len(moved)
    single = up + down - (up - down) ** 2  # variance of one image
    if single <= 0:  # all alike: as many independent images as there are units
        return Effective(up, down, min(units, size), units - 1)
    squares = moved**2
    pseudo = single / units**2
    variance = max(
        units / (units - 1) * squares.sum(), (squares.sum() + PSEUDO * pseudo) * (units / (units + PSEUDO)) ** 2
    )
    return Effective(up, down, min(size, single / variance), _freedom(squares, pseudo))


def stratified(values: F64, strata: NDArray[np.int64]) -> Effective:
    """The plain mean of the means of K strata (classes, data sets), from values in [-1, 1] of independent images.

    The variance is sum of s_k^2 / n_k / K^2, but at least what it is with two pseudo-images of the pooled values in
    each stratum, so that a stratum of few images that are all right is not taken for certain; a stratum of one image
    has the pooled variance (collapsed strata, Cochran 1977, section 5A.12). The effective size is not bounded by the
    number of images: strata that differ make a mean more certain.

    Args:
        values: (n,) float64, n >= 1.
        strata: (n,) int64 place of each image's stratum, 0..K-1, none empty.
    """
    parts = np.ones(len(values)), np.maximum(values, 0), np.maximum(-values, 0), values**2
    n, ups, downs, squares = (np.bincount(strata, weights=part).astype(np.float64) for part in parts)
    return _stratified(n, ups, downs, squares)


def _stratified(n: F64, ups: F64, downs: F64, squares: F64) -> Effective:
    """From the count and the sums of each stratum."""
    k = len(n)
    up, down = float((ups / n).mean()), float((downs / n).mean())
    single = up + down - (up - down) ** 2
    independent = float(k * k / (1 / n).sum())
    if single <= 0:
        return Effective(up, down, independent)
    inside = squares / n - ((ups - downs) / n) ** 2
    plain = np.where(n > 1, inside * n / np.maximum(n - 1, 1), single)
    more = n + PSEUDO
    padded = (squares + PSEUDO * (up + down)) / more - ((ups - downs + PSEUDO * (up - down)) / more) ** 2
    variance = max((plain / n).sum(), (padded / n).sum()) / (k * k)
    return Effective(up, down, single / float(variance))


def mean_of_proportions(hits: NDArray[np.int64], n: NDArray[np.int64], confidence: float = 0.95) -> Estimate:
    """Unweighted mean of the proportions of several independent sets, with Wilson's interval at its effective size.

    Args:
        hits, n: (sets,) int64; NaN if any n is 0.
    """
    total = int(n.sum())
    if not len(n) or (n == 0).any():
        return Estimate(n=total)
    right = hits.astype(np.float64)
    return _stratified(n.astype(np.float64), right, np.zeros(len(n)), right).share(confidence, total)


def mean_share(values: F64, confidence: float = 0.95) -> Estimate:
    """Mean of (n,) values in [0, 1] of independent images; Wilson's interval at its effective size."""
    n = len(values)
    if n < FEW_UNITS:
        return Estimate(float(values.mean()), n=n) if n else Estimate()
    mean = float(values.mean())
    # Of all values with this mean, those of 0 and 1 vary most; float sums may leave it a little above 1.
    return effective(min(mean, 1.0), 0.0, (values - mean) / n, math.inf).share(confidence, n)


def mean_signed(values: F64, confidence: float = 0.95) -> Estimate:
    """Mean of (n,) values in [-1, 1] of independent images; Tango's interval at its effective size."""
    n = len(values)
    if n < FEW_UNITS:
        return Estimate(float(values.mean()), n=n) if n else Estimate()
    up, down = float(np.maximum(values, 0).mean()), float(np.maximum(-values, 0).mean())
    return effective(up, down, (values - values.mean()) / n, math.inf).signed(confidence, n)


def moved_interval(value: float, moved: F64, reach: float, units: float, n: int, confidence: float = 0.95) -> Estimate:
    """A difference of any smooth statistics of the same images, by what each image moves it (the delta method).

    Two pseudo-images are added that move it as far as one discordant image does, one up and one down (Bonett & Price
    2012, who add them to a paired difference of proportions): so two backbones that happen to agree throughout have an
    interval with a width. Student's t; degrees of freedom as in `effective`.

    Args:
        value: The difference.
        moved: (m,) its influence values over their number: they sum to about 0.
        reach: What one discordant image moves.
        units: How many images of those that count most there are.
        n: Said with the estimate.
    """
    if not math.isfinite(value) or units < FEW_UNITS:
        return Estimate(value, n=n)
    squares = moved**2
    variance = (squares.sum() + PSEUDO * reach**2) * (units / (units + PSEUDO)) ** 2
    error, df = math.sqrt(variance), _freedom(squares, reach**2)
    half = float(student(confidence, df)) * error
    return Estimate(value, value - half, value + half, n, two_sided(abs(value) / error, df))


def skewed_mean(values: F64, confidence: float = 0.95) -> Estimate:
    """Mean of (n,) float64 without bounds, skewed as losses are; undefined (NaN) entries are left out.

    Student's interval after Hall's transformation (1992), see `cvbench.engine.statistics.hall`. No interval for fewer
    than three entries, or entries that are all equal.
    """
    kept = values[~np.isnan(values)]
    n = len(kept)
    if not n:
        return Estimate()
    mean, spread = float(kept.mean()), float(kept.std(ddof=1)) if n > 1 else 0.0
    if n < FEW_UNITS or not spread > 0:
        return Estimate(mean, n=n)
    skew = float((((kept - mean) / kept.std()) ** 3).mean()) / math.sqrt(n)
    t, error = float(student(confidence, n - 1)), spread / math.sqrt(n)
    below, above = float(inverse(t, skew)), float(inverse(-t, skew))
    return Estimate(mean, min(mean, mean - error * below), max(mean, mean - error * above), n)


def counted_interval(values: NDArray[Any], statistic: Callable[[F64], F64], options: IntervalOptions) -> Interval:
    """Percentile bootstrap over the rows of many repeats: distinct rows with their counts, drawn as one multinomial.

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
    undefined_in = np.isnan(table).sum(axis=0)
    low, high = np.full((2, table.shape[1]), np.nan)
    for column in np.flatnonzero(undefined_in < len(table)):
        known = table[:, column]
        low[column], high[column] = np.quantile(known[~np.isnan(known)], tails(options.confidence))
    return Interval(low, high, undefined_in)


def _freedom(squares: F64, pseudo: float) -> float:
    """Degrees of freedom of a sum of squares: 2 mean^2 / variance, from its fourth moment; 3 S^2 / S4 - 1."""
    total, fourth = squares.sum() + PSEUDO * pseudo, (squares**2).sum() + PSEUDO * pseudo**2
    return float(min(max(len(squares) - 1, 1), max(1.0, 3 * total**2 / fourth - 1)))
