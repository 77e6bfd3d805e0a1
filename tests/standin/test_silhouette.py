"""The silhouette and its companions on the pretended card: what the host gives, and how seldom it waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cvbench.engine.analyses.silhouette.kernel import silhouette_samples
from cvbench.engine.arrays.array import to_device
from cvbench.engine.arrays.centroids import centroid_distances
from tests.standin.counters import COUNTERS
from tests.standin.plug import plugged

N, CLASSES, GROUPS, BLOCK = 256, 4, 5, 64
BLOCKS = N // BLOCK


def centroids(x: Any, labels: Any, **how: Any) -> Any:
    found = centroid_distances(x, labels, **how)
    return np.concatenate([np.concatenate([one.own, one.nearest, one.apart.ravel(), [one.between]]) for one in found])


KERNELS: dict[str, Callable[..., Any]] = {
    "euclidean": silhouette_samples,
    "cosine": lambda *args, **how: silhouette_samples(*args, metric="cosine", **how),
    "sqeuclidean": lambda *args, **how: silhouette_samples(*args, metric="sqeuclidean", **how),
    "some rows": lambda *args, **how: silhouette_samples(*args, rows=np.arange(5, N, 3), **how),
    "centroids": centroids,
}


@pytest.mark.parametrize("name", KERNELS)
def test_the_host_waits_once_a_block(name: str) -> None:
    """However many tiles and groups there are; constants go up once."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 12)).astype(np.float32)
    x[::50] = x[1]  # duplicates, and near ones
    labels = np.arange(N) % CLASSES
    how = {"standardise": True, "parts": np.arange(N) // CLASSES % (GROUPS + 1) - 1, "block": BLOCK}
    expected = KERNELS[name](x, labels, **how)
    with plugged():
        there = to_device(x, "cuda")
        before = COUNTERS.copy()
        found = KERNELS[name](there, labels, **how)
        asked = COUNTERS.copy() - before
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert asked.waits <= BLOCKS + 3
    assert asked.uploads <= 10
    assert asked.launches <= 400 * BLOCKS
