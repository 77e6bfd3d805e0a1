"""The seeded order of the sample axis: any prefix of the store is a fair sample of the data set.

The permutation sorts samples by a 64-bit hash of (seed, index): SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), ties
broken by index. It depends on nothing but integer arithmetic, so it never changes with a library's version.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15


def sample_order(n: int, seed: int = 0) -> NDArray[np.int64]:
    """Store position -> manifest index: a permutation of range(n), shape (n,), int64.

    >>> sample_order(6, seed=0).tolist()
    [2, 4, 5, 1, 0, 3]
    """
    if n < 0 or seed < 0:
        raise ValueError(f"expected n >= 0 and seed >= 0, got n={n}, seed={seed}")
    start = _mix(np.array([seed % 2**64], dtype=np.uint64))
    # The generator's state after i + 1 steps is start + (i + 1) * golden; all steps at once.
    steps = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    return np.argsort(_mix(start + steps), kind="stable").astype(np.int64)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64; arithmetic is modulo 2**64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
