"""Two crossed factors, every cell measured on the same images: what is of each factor, and what of both together.

The mean y_ij of cell (i, j) is m + a_i + b_j + c_ij, each effect summing to 0 over each of its indices (Scheffé 1959,
ch. 4). An effect is a fixed linear contrast of the cells, so it is the mean over images of the same contrast of one
image's values: its interval is that of a mean of paired differences, and what images share cancels.

How much of the spread between cells a part has is the sum of its squared effects, the squared length of the vector of
effects. Squares of noisy effects are too large by their variance; the mean over pairs of different images of the
product of their contrasts is not (a U-statistic, Hoeffding 1948), and may fall below 0.

Where there is no effect that statistic is degenerate: its jackknife error falls with the effect, and the interval would
leave out 0 on the wrong side. So the interval is of the length. A mean vector m is off by a vector of noise e, and
|m - e| lies within |m| -+ |e| whatever the direction; the squared length of e is that of normal deviates with the
covariance of the contrasts, F-distributed after Box (1954). Of one contrast it is Student's interval squared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc, fdtri

from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.mean_interval import MIN_IMAGES, ROUNDING, Moments, mean_interval
from cvbench.engine.statistics.measure import Measure
from cvbench.errors import UsageError

F64 = NDArray[np.float64]

ANY = Measure("value", "any number of an image")


@dataclass(frozen=True)
class Spread:
    """Part of the spread between cells.

    Attributes:
        squares: Sum of squared effects, without the share of noise; below 0 where there is nothing but noise.
    """

    squares: Estimate


@dataclass(frozen=True)
class TwoWay:
    """A decomposition of (n, a, b) values.

    Attributes:
        first: (a,) effect of each level of the first factor, over the levels of the second.
        second: (b,) likewise.
        together: (a, b) interaction: what is left of a cell's mean.
        first_spread, second_spread, together_spread: How much of the spread between cells each part has.
    """

    first: tuple[Estimate, ...]
    second: tuple[Estimate, ...]
    together: tuple[tuple[Estimate, ...], ...]
    first_spread: Spread
    second_spread: Spread
    together_spread: Spread


def two_way(values: F64, measure: Measure = ANY, confidence: float = 0.95) -> TwoWay:
    """Decompose the values of every image in every cell of a full factorial.

    Args:
        values: (n, a, b) float64; an image with a value that is not finite is left out whole.
        measure: What they are: its range bounds an effect. An effect is never taken for an indicator's difference.
        confidence: Nominal coverage.

    Raises:
        UsageError: A factor has fewer than two levels.
    """
    if values.ndim != 3 or min(values.shape[1:]) < 2:
        raise UsageError(f"two factors of two levels or more are decomposed, not values of shape {values.shape}")
    whole = values[np.isfinite(values).all(axis=(1, 2))].astype(np.float64)
    rows, columns = whole.mean(axis=2), whole.mean(axis=1)
    grand = whole.mean(axis=(1, 2))
    first, second = rows - grand[:, None], columns - grand[:, None]
    together = whole - rows[:, :, None] - columns[:, None, :] + grand[:, None, None]
    floor = ROUNDING * float(np.abs(whole).max(initial=0.0))
    a, b = values.shape[1:]

    def effects(contrasts: F64) -> tuple[Estimate, ...]:
        return tuple(_effect(contrasts[:, i], measure, confidence, floor) for i in range(contrasts.shape[1]))

    flat = effects(together.reshape(len(whole), a * b))
    return TwoWay(
        effects(first),
        effects(second),
        tuple(flat[i * b : (i + 1) * b] for i in range(a)),
        Spread(_squares(first, b, confidence, floor)),
        Spread(_squares(second, a, confidence, floor)),
        Spread(_squares(together.reshape(len(whole), a * b), 1, confidence, floor)),
    )


def _effect(contrast: F64, measure: Measure, confidence: float, floor: float) -> Estimate:
    n = len(contrast)
    if not n:
        return Estimate()
    numbers = Measure(measure.name, measure.about, least=measure.least, most=measure.most)  # thirds and halves, too
    found = mean_interval(Moments.of(contrast[:, None]).at(0), numbers, confidence, floor, paired=True)
    return Estimate(float(contrast.mean()), found.low, found.high, n, found.p, floor=floor, constant=found.constant)


def _squares(contrasts: F64, repeated: int, confidence: float, floor: float) -> Estimate:
    """Sum of squared mean contrasts, `repeated` times, without noise; (n, k) contrasts. p is of "they are all 0".

    Contrasts that differ between images by no more than `floor` differ by rounding: they have no interval.
    """
    n = len(contrasts)
    if n < 3:
        return Estimate(n=n)
    mean = contrasts.mean(axis=0)
    length, covariance = float(mean @ mean), np.atleast_2d(np.cov(contrasts, rowvar=False)) / n
    noise = float(np.trace(covariance))
    whole = repeated * (length - noise)
    if n < MIN_IMAGES or noise * n <= floor**2:
        return Estimate(whole, n=n)
    degrees = noise**2 / float((covariance**2).sum())  # Box's, of a sum of squares with unequal weights
    reach = (noise * float(fdtri(degrees, degrees * (n - 1), confidence))) ** 0.5
    low, high = max(length**0.5 - reach, 0.0) ** 2, (length**0.5 + reach) ** 2
    p = float(fdtrc(degrees, degrees * (n - 1), length / noise))
    return Estimate(whole, min(whole, repeated * low), repeated * high, n, p)
