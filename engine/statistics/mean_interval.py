"""Interval and test of a mean over images, from its first three moments: nothing is drawn.

numbers      the hull of Student's interval and Hall's, see `cvbench.engine.statistics.hall`. The skewness is G1 of
Joanes & Gill
             (1998) times 1 + `FEW` / n: of n values G1 cannot exceed sqrt(n) (Wilkins 1944), so it is too near to 0
             just where it matters
indicators   Wilson's score interval (1927). It has width where all images agree. A share that is at its limit in every
             image has the same interval, since no law on [0, 1] of that mean gives such a sample more often
differences  of two indicators of the same images: the adjusted interval of Bonett & Price (2012), which counts one
             discordant pair more of either kind; of all else: as of numbers

Fewer than `MIN_IMAGES` values have no interval: at 8, 10 and 30 that of numbers covers 97, 96 and 96 % of normal, 93,
94 and 95 % of lognormal means (nominal 95; `bench/coverage.py`), at 6 no more than 91 to 92 % of the latter. Values
that are all the same tell nothing of their spread: no interval either. Each p-value is of "the mean is 0", and is below
1 - confidence just where the interval leaves 0 out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr, stdtrit

from cvbench.engine.statistics.estimate import normal
from cvbench.engine.statistics.hall import hull, transformed
from cvbench.engine.statistics.intervals import score_ends
from cvbench.engine.statistics.measure import INDICATOR, NUMBER, Measure

F64 = NDArray[np.float64]

MIN_IMAGES = 8
"""With fewer there is no interval."""

FEW = 3
"""By so many n-ths an estimated skewness is raised. Chosen by simulation: the least whole number with which means of
lognormal numbers are covered in 93 % at `MIN_IMAGES`; intervals of normal ones get 9 % wider there, 1 % at 15."""

ROUNDING = 2.0**-20
"""Least relative size of what is not a rounding error: 16 units in the last place of float32, in which features are
kept and compared; errors of single images average out beneath that."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of m numbers.

    Attributes:
        n: (m,) float64 values that define each.
        mean: (m,) NaN for none.
        second, third: (m,) sums of squared and cubed deviations from the mean.
    """

    n: F64
    mean: F64
    second: F64
    third: F64

    @classmethod
    def of(cls, values: F64) -> Moments:
        """Compute the moments of (n, m) values; what is not finite is left out."""
        defined = np.isfinite(values)
        n = defined.sum(axis=0).astype(np.float64)
        filled = np.where(defined, values, 0.0)
        mean = filled.sum(axis=0) / np.where(n > 0, n, np.nan)
        away = np.where(defined, filled - np.where(n > 0, mean, 0.0), 0.0)
        return cls(n, mean, (away**2).sum(axis=0), (away**3).sum(axis=0))

    def joined(self, other: Moments) -> Moments:
        """Join the moments of two sets of values (Pébay 2008, eqs. 2.1 and 2.3)."""
        a, b = self.n, other.n
        n = a + b
        divisor = np.where(n > 0, n, 1.0)  # where neither side has a value, the mean is NaN already
        gap = np.where((a > 0) & (b > 0), other.mean - self.mean, 0.0)
        mean = np.where(a > 0, self.mean, other.mean) + gap * b / divisor
        mean = np.where((a > 0) & (b > 0), mean, np.where(a > 0, self.mean, other.mean))
        second = self.second + other.second + gap**2 * a * b / divisor
        third = self.third + other.third + gap**3 * a * b * (a - b) / divisor**2
        third += 3 * gap * (a * other.second - b * self.second) / divisor
        return Moments(n, mean, second, third)

    def at(self, column: int) -> tuple[float, float, float, float]:
        """n, mean, standard deviation (n - 1) and skewness (G1) of one number; 0 for what few values do not define."""
        n, mean, second, third = (float(v[column]) for v in (self.n, self.mean, self.second, self.third))
        if n < 3 or second <= 0:
            return n, mean, (second / (n - 1)) ** 0.5 if n > 1 else 0.0, 0.0
        skewness = third / n / (second / n) ** 1.5
        return n, mean, (second / (n - 1)) ** 0.5, skewness * (n * (n - 1)) ** 0.5 / (n - 2)


@dataclass(frozen=True)
class Estimated:
    """low, high: NaN without an interval. p: of "the mean is 0"; NaN likewise. constant: all values are the same."""

    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    constant: bool = False


def mean_interval(
    moments: tuple[float, float, float, float], measure: Measure, confidence: float, floor: float, *, paired: bool
) -> Estimated:
    """Interval and test of one mean.

    Args:
        moments: As `Moments.at` gives them.
        measure: What was averaged, or, if `paired`, the difference of what of the same images.
        confidence: Nominal coverage.
        floor: Size of a rounding error of a value.
        paired: Whether the values are differences.
    """
    n, mean, deviation, skewness = moments
    if n < MIN_IMAGES:
        return Estimated()
    least, most = measure.least, measure.most
    if paired:
        least, most = least - most, most - least
    if measure.kind == INDICATOR and paired:
        found = _discordant(n, mean, deviation, confidence)
    elif measure.kind == INDICATOR or (
        measure.kind != NUMBER and not paired and _at_limit(moments, least, most, floor)
    ):
        share = min(max((mean - least) / (most - least), 0.0), 1.0)
        low, high = score_ends(share, n, normal(confidence))
        found = Estimated(least + (most - least) * low, least + (most - least) * high, constant=deviation <= floor)
    elif deviation <= floor:
        return Estimated(constant=True)
    else:
        found = _hull(n, mean, deviation, skewness, confidence)
    low, high = min(max(found.low, least), mean), max(min(found.high, most), mean)  # its value may be out by rounding
    return Estimated(low, high, found.p, found.constant)


def student_reach(n: float, confidence: float) -> float:
    """Standard errors from the mean to the ends of Student's interval; NaN below `MIN_IMAGES`."""
    return float(stdtrit(n - 1, (1 + confidence) / 2)) if n >= MIN_IMAGES else np.nan


def _at_limit(moments: tuple[float, float, float, float], least: float, most: float, floor: float) -> bool:
    _, mean, deviation, _ = moments
    return deviation <= floor and min(abs(mean - least), abs(mean - most)) <= floor


def _hull(n: float, mean: float, deviation: float, skewness: float, confidence: float) -> Estimated:
    error, a = deviation / n**0.5, skewness * (1 + FEW / n) / n**0.5
    below, above = (float(reach) for reach in hull(student_reach(n, confidence), a))
    w = mean / error
    p = 2 * max(float(stdtr(n - 1, -abs(t))) for t in (w, float(transformed(w, a))))
    return Estimated(mean - below * error, mean + above * error, p)


def _discordant(n: float, mean: float, deviation: float, confidence: float) -> Estimated:
    """From the counts of both kinds of discordant pairs, which mean and deviation of -1, 0 and 1 tell."""
    unequal = np.rint(deviation**2 * (n - 1) + n * mean**2)
    more = np.rint(n * mean)
    one, two = (unequal + more) / 2 + 1, (unequal - more) / 2 + 1
    gap = (one - two) / (n + 2)
    error = (((one + two) / (n + 2) - gap**2) / (n + 2)) ** 0.5
    reach = normal(confidence) * error
    return Estimated(
        float(min(gap - reach, mean)),
        float(max(gap + reach, mean)),
        2 * float(ndtr(-abs(gap) / error)),
        constant=unequal == 0,
    )
