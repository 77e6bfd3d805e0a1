"""Companions of the silhouette from class centroids: against their formulas and scikit-learn; what they hold."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score

from cvbench.engine.arrays.array import to_host
from cvbench.engine.arrays.centroids import (
    CentroidDistances,
    calinski_harabasz,
    centroid_distances,
    davies_bouldin,
    simplified_silhouette,
)
from tests.seeds import seeded

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@pytest.fixture
def rng() -> np.random.Generator:
    return seeded(17)


def clusters(rng: np.random.Generator, n: int = 120, d: int = 6) -> tuple[F64, I64]:
    """Overlapping classes of unequal size, the labels neither dense nor sorted, one of them a singleton."""
    sizes = np.diff(np.array([0, 5, 7, 9, 10]) * n // 10)  # not drawn: every class but one has several samples
    labels = rng.permutation(np.repeat([3, 5, 11, 40], sizes))
    labels[n // 2] = 77
    return rng.normal(size=(n, d)) + np.sin(labels)[:, None] * np.arange(d) + 5, labels.astype(np.int64)


def whole(*args: Any, **options: Any) -> CentroidDistances:
    """Of all rows."""
    (found,) = centroid_distances(*args, **options)
    return found


def indices(found: CentroidDistances) -> tuple[float, float]:
    """DB and CH."""
    return davies_bouldin(found), calinski_harabasz(found)


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scikit_learn_to_1e_9(rng: np.random.Generator, dtype: type, standardise: bool) -> None:
    """The same numbers in float64, whatever the features are stored as: only the order of sums differs.

    No singleton: scikit-learn finds it 1e-8 off its own centroid.
    """
    x, labels = clusters(rng, n=700, d=40)
    labels[labels == 77] = 3
    given: NDArray[Any] = x.astype(dtype)
    exact = given.astype(np.float64)
    if standardise:
        exact = (exact - exact.mean(axis=0)) / exact.std(axis=0)
    db, ch = indices(whole(given, labels, standardise=standardise, block=64))
    assert db == pytest.approx(davies_bouldin_score(exact, labels), rel=1e-9)
    assert ch == pytest.approx(calinski_harabasz_score(exact, labels), rel=1e-9)


@pytest.mark.parametrize("block", [1, 7, 1024])
def test_the_simplified_silhouette_sample_by_sample(rng: np.random.Generator, block: int) -> None:
    x, labels = clusters(rng)
    found = whole(x, labels, block=block)
    names = np.unique(labels)
    middle = np.stack([x[labels == name].mean(axis=0) for name in names])
    expected = np.zeros(len(x))
    for i, row in enumerate(x):
        d = np.sqrt(((row - middle) ** 2).sum(axis=1))
        a, b = d[names == labels[i]][0], d[names != labels[i]].min()
        assert found.own[i] == pytest.approx(a, abs=1e-12)
        assert found.nearest[i] == pytest.approx(b, abs=1e-12)
        expected[i] = 0 if labels[i] == 77 else (b - a) / max(a, b)
    np.testing.assert_allclose(simplified_silhouette(found), expected, atol=1e-12)
    np.testing.assert_array_equal(names[found.classes], labels)


def test_an_offset_costs_nothing(rng: np.random.Generator) -> None:
    x, labels = clusters(rng)
    x = np.round(x * 64) / 64  # so that x + 5000 is exact in float32
    plain, moved = (whole((x + by).astype(np.float32), labels) for by in (0, 5000))
    np.testing.assert_allclose(moved.own, plain.own, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(indices(moved), indices(plain), rtol=1e-9)


def test_what_is_not_defined() -> None:
    """Every row on its centroid: CH has no spread to divide by. One centroid for two classes: the pair is left out."""
    x = np.array([[0.1, 0.0], [0.1, 0.0], [3.0, 1.0], [3.0, 1.0]])
    found = whole(x, np.array([0, 0, 1, 1]))
    np.testing.assert_array_equal(found.own, 0)
    np.testing.assert_array_equal(simplified_silhouette(found), 1)
    db, ch = indices(found)
    assert db == 0
    assert np.isnan(ch)
    x = np.array([[-1.0], [1.0], [-2.0], [2.0], [9.0], [11.0]])
    labels = np.array([0, 0, 1, 1, 2, 2])
    db, _ = indices(whole(x, labels))
    assert db == pytest.approx(davies_bouldin_score(x, labels), rel=1e-12)
    assert db == pytest.approx((2 / 10 + 3 / 10 + 3 / 10) / 3)


@pytest.mark.parametrize("block", [7, 1024])
def test_without_each_group_it_is_that_of_the_others(rng: np.random.Generator, block: int) -> None:
    """Centroids and distances as if the rows were not there; only the weights of the classes stay."""
    x, labels = clusters(rng, n=80)
    parts = rng.integers(-1, 3, size=80)
    parts[[np.flatnonzero(labels == label)[0] for label in np.unique(labels)]] = -1
    every = centroid_distances(x, labels, parts=parts, block=block)
    assert len(every) == 4
    for part, found in enumerate(every, start=-1):
        kept = parts != part if part >= 0 else np.ones(80, dtype=bool)
        expected = whole(x[kept], labels[kept])
        for name in ("own", "nearest", "classes", "apart"):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-10)
        np.testing.assert_allclose(simplified_silhouette(found), simplified_silhouette(expected), atol=1e-10)
        assert davies_bouldin(found) == pytest.approx(davies_bouldin(expected), rel=1e-10)
        members = np.unique(labels, return_counts=True)[1]
        np.testing.assert_array_equal(found.counts, members)
        middle = np.stack([x[kept & (labels == name)].mean(axis=0) for name in np.unique(labels)])
        mean = members @ middle / 80
        assert found.between == pytest.approx(float(members @ ((middle - mean) ** 2).sum(axis=1)))


def test_memory_is_two_numbers_per_row(rng: np.random.Generator) -> None:
    """Four times the rows: three more float64 vectors and what sorting the labels takes, no more."""
    peaks = {}
    for n in (4000, 16_000):
        x, labels = rng.normal(size=(n, 64)).astype(np.float32), rng.integers(0, 5, n)
        tracemalloc.start()
        whole(x, labels, block=256)
        peaks[n] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[16_000] - peaks[4000] < 12_000 * 10 * 8, "80 bytes a row; its features in float64 would be 512"


@pytest.mark.gpu
@pytest.mark.parametrize("standardise", [False, True])
def test_cupy_gives_what_numpy_gives(rng: np.random.Generator, standardise: bool, cupy: Any) -> None:
    x, labels = clusters(rng, n=500, d=32)
    found = whole(cupy.asarray(x.astype(np.float32)), labels, standardise=standardise, block=128)
    expected = whole(x.astype(np.float32), labels, standardise=standardise, block=128)
    for name in ("own", "nearest", "apart"):
        np.testing.assert_allclose(to_host(getattr(found, name)), getattr(expected, name), rtol=1e-9, atol=1e-12)
    assert indices(found) == pytest.approx(indices(expected), rel=1e-9)
