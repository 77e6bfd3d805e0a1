"""A number with its interval, the options of all intervals, and the quantiles that their ends are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

F64 = NDArray[np.float64]

FEW_IMAGES = 30
"""With fewer nothing is called resolved, and the interval of a skewed number is too narrow. Fewer classes than these
are not resampled."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; NaN where undefined. Ends that are NaN beside a value: n is too small for one.

    Attributes:
        value, low, high: The number, and the interval over images (or what else is sampled).
        n: How many define it.
        p: Two-sided, of "it is 0"; below 1 - confidence where the interval leaves out 0. NaN of what is not tested.
        class_low, class_high, class_p: The same over classes, for a claim about classes like these.
        floor: What is no more than a rounding error of the value.
        constant: Whether all images have the same value, but for rounding.
    """

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    p: float = math.nan
    class_low: float = math.nan
    class_high: float = math.nan
    class_p: float = math.nan
    floor: float = 0.0
    constant: bool = False

    @property
    def over_classes(self) -> Estimate:
        """With the interval and the p over classes as its own."""
        return replace(self, low=self.class_low, high=self.class_high, p=self.class_p, constant=False)


def tails(confidence: float) -> tuple[float, float]:
    """Shares of a distribution that lie below the two ends of an interval.

    >>> [round(share, 12) for share in tails(0.95)]
    [0.025, 0.975]
    """
    return (1 - confidence) / 2, (1 + confidence) / 2


def normal(confidence: float) -> float:
    """The two-sided quantile z of the normal distribution."""
    return float(ndtri(tails(confidence)[1]))


def student(confidence: float, degrees: F64 | float) -> F64:
    """The two-sided quantile of Student's t, in the shape of `degrees` of freedom; inf is normal.

    >>> round(float(student(0.95, 9)), 3), round(float(student(0.95, 1)), 2), round(float(student(0.95, math.inf)), 2)
    (2.262, 12.71, 1.96)
    """
    at = tails(confidence)[1]
    return np.asarray(np.where(np.isinf(degrees), ndtri(at), stdtrit(degrees, at)))


def two_sided(t: float, degrees: float = math.inf) -> float:
    """Two-sided p of |t| >= 0 under Student's t; inf is normal."""
    return 2 * NormalDist().cdf(-t) if math.isinf(degrees) else float(2 * stdtr(degrees, -t))
