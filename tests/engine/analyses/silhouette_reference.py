"""The silhouette straight from Rousseeuw's formula, in float64 with loops, and classes to take it of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


def pairwise(x: NDArray[Any], metric: str) -> F64:
    """(n, n) float64 distances, pair by pair."""
    rows = np.asarray(x, dtype=np.float64)
    n = len(rows)
    d = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            if metric == "cosine":
                scale = np.sqrt((rows[i] @ rows[i]) * (rows[j] @ rows[j]))
                d[i, j] = 1 - (rows[i] @ rows[j] / scale if scale > 0 else 0)
            else:
                square = ((rows[i] - rows[j]) ** 2).sum()
                d[i, j] = square if metric == "sqeuclidean" else np.sqrt(square)
    return d


def reference(x: NDArray[Any], labels: I64, metric: str) -> F64:
    """Rousseeuw (1987), equation 1, sample by sample."""
    d = pairwise(x, metric)
    s = np.zeros(len(d))
    for i in range(len(d)):
        own = (labels == labels[i]) & (np.arange(len(d)) != i)
        if not own.any():
            continue
        a = d[i, own].mean()
        b = min(d[i, labels == other].mean() for other in set(labels.tolist()) - {int(labels[i])})
        s[i] = (b - a) / max(a, b) if max(a, b) > 0 else 0
    return s


def clusters(rng: np.random.Generator, n: int = 90, d: int = 6) -> tuple[F64, I64]:
    """Overlapping classes of unequal size, the labels neither dense nor sorted, one of them a singleton."""
    sizes = np.diff(np.array([0, 5, 7, 9, 10]) * n // 10)  # not drawn: every class but one has several samples
    labels = rng.permutation(np.repeat([3, 5, 11, 40], sizes))
    labels[n // 2] = 77
    return rng.normal(size=(n, d)) + np.sin(labels)[:, None] * np.arange(d), labels.astype(np.int64)
