"""Several differences judged together: the chance that any of them is called resolved falsely is held."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]


def holm(p: ArrayLike) -> F64:
    """Adjusted p-values of one family (Holm 1979), in the shape of `p`; NaN is of no test and stays NaN.

    >>> holm(np.array([0.01, np.nan, 0.04, 0.03])).tolist()
    [0.03, nan, 0.06, 0.06]
    """
    flat = np.asarray(p, dtype=np.float64).ravel()
    tests = np.flatnonzero(np.isfinite(flat))
    order = tests[np.argsort(flat[tests], kind="stable")]
    adjusted = np.full(flat.shape, np.nan)
    if len(order):
        steps = flat[order] * np.arange(len(order), 0, -1)
        adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted.reshape(np.shape(p))
