"""Measures of a map against loops over ranks and scikit-learn's trustworthiness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.manifold import trustworthiness as peer

from cvbench.engine.arrays import neighbours
from cvbench.engine.arrays.neighbours import distance_order, kept_neighbours, nearest, ranks, strips, votes
from tests.seeds import seeded

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@pytest.fixture
def rng() -> np.random.Generator:
    return seeded(5)


def order_of(x: F64) -> I64:
    """(n, n - 1) int64: the others, the nearest first, row by row."""
    d = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2))
    return np.array([[j for j in np.argsort(row, kind="stable") if j != i] for i, row in enumerate(d)])


def share_of_strangers(ranked_in: I64, neighbours_in: I64, k: int, i: int) -> float:
    """Venna & Kaski's sum for one row, and its norm without n k."""
    rank = {int(j): r for r, j in enumerate(ranked_in[i], start=1)}
    n = len(ranked_in)
    excess = sum(max(0, rank[int(j)] - k) for j in neighbours_in[i, :k])
    return 1 - 2 / (k * (2 * n - 3 * k - 1)) * excess


@pytest.mark.parametrize("strip_bytes", [1, 8 * 60 * 7, 2**26])
def test_the_measures_of_every_row(rng: np.random.Generator, strip_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours.strips, "__defaults__", (strip_bytes,))
    x, y = rng.normal(size=(60, 8)), rng.normal(size=(60, 2))
    y += x[:, :2]
    labels = rng.integers(0, 3, 60)
    rows = rng.permutation(60)[:25]
    found = kept_neighbours(x, y, rows, (3, 10), labels)
    in_x, in_y = order_of(x), order_of(y)
    for at, i in enumerate(rows):
        for column, k in enumerate((3, 10)):
            assert found.trustworthiness[at, column] == pytest.approx(share_of_strangers(in_x, in_y, k, i))
            assert found.continuity[at, column] == pytest.approx(share_of_strangers(in_y, in_x, k, i))
            shared = set(in_x[i, :k]) & set(in_y[i, :k])
            assert found.recall[at, column] == pytest.approx(len(shared) / k)
            for purity, accuracy, near in (
                (found.purity_features, found.accuracy_features, in_x),
                (found.purity_map, found.accuracy_map, in_y),
            ):
                around = labels[near[i, :k]]
                assert purity[at, column] == pytest.approx((around == labels[i]).mean())
                assert accuracy[at, column] == (np.bincount(around).argmax() == labels[i])


@pytest.mark.parametrize("k", [5, 30])
def test_trustworthiness_is_scikit_learns(rng: np.random.Generator, k: int) -> None:
    x = rng.normal(size=(150, 20))
    y = x[:, :2] + 0.5 * rng.normal(size=(150, 2))
    found = kept_neighbours(x, y, np.arange(150), (k,))
    assert found.trustworthiness.mean() == pytest.approx(peer(x, y, n_neighbors=k), abs=1e-12)
    assert found.continuity.mean() == pytest.approx(peer(y, x, n_neighbors=k), abs=1e-12)
    assert np.isnan(found.purity_map).all()


def test_a_faithful_map_is_1_and_a_random_one_by_chance(rng: np.random.Generator) -> None:
    x = rng.normal(size=(400, 2))
    rows = np.arange(400)
    turned = x @ np.array([[0.6, -0.8], [0.8, 0.6]]) * 17 + 3
    same = kept_neighbours(x, turned, rows, (10,))
    assert (same.trustworthiness.min(), same.continuity.min(), same.recall.min()) == (1, 1, 1)
    assert distance_order(x, turned, rows) == pytest.approx(np.ones(400), abs=1e-9)
    random = kept_neighbours(x, rng.normal(size=(400, 2)), rows, (10,))
    assert random.recall.mean() == pytest.approx(10 / 399, abs=0.02)
    assert random.trustworthiness.mean() == pytest.approx(0.5, abs=0.06)


def test_distance_order_is_spearmans(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(30, 5)), rng.normal(size=(30, 2))
    rows = rng.permutation(30)[:12]
    found = distance_order(x, y, rows)
    for at, i in enumerate(rows):
        others = [j for j in rows if j != i]
        dx, dy = (np.sqrt(((space[others] - space[i]) ** 2).sum(axis=1)) for space in (x, y))
        assert found[at] == pytest.approx(spearmanr(dx, dy).statistic, abs=1e-12)
    assert np.isnan(distance_order(x, y, rows[:2])).all()


def test_ties_go_to_the_first_row_and_the_smaller_label() -> None:
    strip = np.array([[3.0, 1.0, 1.0, 0.0, 1.0]])
    np.testing.assert_array_equal(nearest(strip, 3), [[3, 1, 2]])
    np.testing.assert_array_equal(ranks(strip, np.array([[3, 1, 0]])), [[1, 2, 5]])
    assert votes(np.array([[4, 2, 4, 2]]), np.array([2]))[1] == [1]


def test_k_beyond_half_of_the_rows_is_not_defined(rng: np.random.Generator) -> None:
    x = rng.normal(size=(12, 3))
    found = kept_neighbours(x, x[:, :2], np.arange(12), (5, 6))
    assert np.isfinite(found.trustworthiness[:, 0]).all()
    assert np.isnan(found.trustworthiness[:, 1]).all()
    assert np.isnan(kept_neighbours(x, x[:, :2], np.arange(12), (7,)).recall).all()


def test_a_row_is_not_its_own_neighbour(rng: np.random.Generator) -> None:
    x = np.repeat(rng.normal(size=(5, 3)), 2, axis=0)
    for cut, strip in strips(x, np.arange(10)):
        np.testing.assert_array_equal(nearest(strip, 1)[:, 0], np.arange(cut.start, cut.stop) ^ 1)
        np.testing.assert_array_equal(strip[np.arange(len(strip)), np.arange(cut.start, cut.stop)], np.inf)


@pytest.mark.gpu
def test_cupy_gives_what_numpy_gives(rng: np.random.Generator, cupy: Any) -> None:
    """Distances are in float64 on both, so the neighbours are the same and so is all that is counted of them."""
    x, y = rng.normal(size=(300, 20)).astype(np.float32), rng.normal(size=(300, 2))
    labels, rows = rng.integers(0, 4, 300), rng.permutation(300)[:120]
    found = kept_neighbours(cupy.asarray(x), cupy.asarray(y), rows, (5, 10), labels)
    expected = kept_neighbours(x, y, rows, (5, 10), labels)
    for name in ("trustworthiness", "continuity", "recall", "purity_map", "accuracy_features"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-12)
    on_device = distance_order(cupy.asarray(x), cupy.asarray(y), rows)
    np.testing.assert_allclose(on_device, distance_order(x, y, rows), atol=1e-9)
