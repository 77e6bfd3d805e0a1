"""CKA straight from its definition, in float64 with loops and n x n arrays: slow, and independent of the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def hsic_1(k: F64, l: F64) -> float:  # noqa: E741 (the paper's letter)
    """Song et al. 2012, equation 5."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    one = np.ones(n)
    last = 2 * (one @ k @ l @ one) / (n - 2)
    return float((np.trace(k @ l) + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2)) - last) / (n * (n - 3)))


def hsic_0(k: F64, l: F64) -> float:  # noqa: E741
    """Gretton et al. 2005."""
    n = len(k)
    h = np.eye(n) - 1 / n
    return float(np.trace(k @ h @ l @ h) / (n - 1) ** 2)


def cka_reference(
    features: Sequence[NDArray[Any]], batch: int | Sequence[Sequence[int]], estimator: str = "unbiased"
) -> F64:
    """(L, L) of L layers (n, ...); sums over batches, then one quotient.

    The batches: the rows of each, or their size; a rest then counts if it is half a batch and 4 at least.
    """
    hsic = hsic_1 if estimator == "unbiased" else hsic_0
    flat = [x.reshape(len(x), -1).astype(np.float64) for x in features]
    total = np.zeros((len(flat), len(flat)))
    for rows in _batches(len(flat[0]), batch) if isinstance(batch, int) else batch:
        cuts = [x[list(rows)] for x in flat]
        grams = [(x - x.mean(axis=0)) @ (x - x.mean(axis=0)).T for x in cuts]
        total += np.array([[hsic(a, b) for b in grams] for a in grams])
    own = np.sqrt(np.diag(total))
    return np.asarray(total / np.outer(own, own))


def _batches(n: int, size: int) -> list[range]:
    runs = [range(start, min(start + size, n)) for start in range(0, n, size)]
    return [run for run in runs if len(run) >= max(4, size / 2)]
