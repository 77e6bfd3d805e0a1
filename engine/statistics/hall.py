"""Hall's transformation of Student's t, which takes skewness out of it, as an interval.

    x = w + a w^2 / 3 + a^2 w^3 / 27 + a / 6      w: (value - truth) / error, a: skewness / sqrt(n)

is nearer to Student's t than w is where the n values behind a number are skewed (Hall 1992, "On the removal of skewness
by transformation", eq. 2.2). Its inverse is w = 3 / a (cbrt(1 + a (x - a / 6)) - 1).

Student's interval is right for symmetric laws with heavy tails, where Hall's is not, and the other way round for skewed
laws: the hull of both is right for both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

STRAIGHT = 1e-6
"""Up to this skewness the transformation is no more than rounding."""


def transformed(w: F64 | float, a: F64 | float) -> F64:
    """x of a studentised value w."""
    return np.asarray(w + a * w**2 / 3 + a**2 * w**3 / 27 + a / 6)


def hull(t: F64 | float, a: F64 | float) -> tuple[F64, F64]:
    """Reach of the hull of both intervals below and above the value, in standard errors; never negative.

    Args:
        t: The quantile of Student's t, > 0.
        a: Skewness of the values over the root of their number, of each number.

    >>> [round(float(reach), 3) for reach in hull(2.0, 0.0)], [round(float(reach), 3) for reach in hull(2.0, 0.5)]
    ([2.0, 2.0], [2.0, 8.08])
    """
    below, above = inverse(t, a), -inverse(-t, a)
    return np.maximum(t, below), np.maximum(t, above)


def inverse(x: F64 | float, a: F64 | float) -> F64:
    """The studentised value w that `transformed` takes to x."""
    bent = np.abs(a) > STRAIGHT
    by = np.where(bent, a, 1.0)
    return np.asarray(np.where(bent, 3 / by * (np.cbrt(1 + by * (x - by / 6)) - 1), x))
