"""Distances of blocks: where float32 products are let be, and where they are done again."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.engine.arrays.distances import Rows, distances
from tests.seeds import seeded

F64 = NDArray[np.float64]


def exact(x: F64, y: F64) -> F64:
    """Pair by pair."""
    return np.asarray(np.sqrt(((x[:, None] - y[None]) ** 2).sum(axis=2)))


def unit(x: F64) -> F64:
    """Centred, the longest row of length 1."""
    x = x - x.mean(axis=0)
    return np.asarray(x / np.sqrt((x**2).sum(axis=1)).max())


@pytest.fixture
def rng() -> np.random.Generator:
    return seeded(4)


def test_float32_products_err_by_less_than_1e_6(rng: np.random.Generator) -> None:
    x = unit(rng.normal(size=(60, 300)))
    found = distances(Rows.of(x[:30], single=True), Rows.of(x[30:], single=True))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact(x[:30], x[30:]), rtol=1e-6)
    whole = distances(Rows.of(x[:30]), Rows.of(x[30:]))
    assert whole.dtype == np.float64
    np.testing.assert_allclose(whole, exact(x[:30], x[30:]), rtol=1e-12)


@pytest.mark.parametrize("spread", [1e-2, 1e-4, 1e-6])
def test_near_pairs_are_done_again_in_float64(rng: np.random.Generator, spread: float) -> None:
    """Two tight groups far apart: float32 alone would lose distances within a group of this size altogether."""
    centres = rng.normal(size=(2, 200))
    x = unit(centres[np.repeat([0, 1], 20)] + spread * rng.normal(size=(40, 200)))
    rows = Rows.of(x, single=True)
    assert rows.single is not None
    naive = 2 * (rows.single[0] ** 2).sum() - 2 * rows.single[0] @ rows.single[1]
    if spread < 1e-3:
        assert abs(np.sqrt(abs(naive)) / exact(x[:1], x[1:2])[0, 0] - 1) > 1e-3
    found = distances(rows, rows)
    off = ~np.eye(40, dtype=bool)
    # float64 at a distance of 1e-6 of the lengths: 1e-16 / 1e-12 of the square.
    np.testing.assert_allclose(found[off], exact(x, x)[off], rtol=1e-3 if spread < 1e-5 else 2e-6)
    np.testing.assert_array_equal(np.diag(found), 0)


def test_duplicates_across_blocks_are_at_0(rng: np.random.Generator) -> None:
    x = unit(rng.normal(size=(20, 50)))
    found = distances(Rows.of(x, single=True), Rows.of(x.copy(), single=True))
    np.testing.assert_array_equal(np.diag(found), 0)
    assert (found[~np.eye(20, dtype=bool)] > 0.1).all()


def test_rows_that_would_underflow_stay_in_float64(rng: np.random.Generator) -> None:
    x = unit(rng.normal(size=(10, 50)))
    x[3] *= 1e-30
    assert Rows.of(x, single=True).single is None
    np.testing.assert_allclose(distances(Rows.of(x, single=True), Rows.of(x[:2])), exact(x, x[:2]), atol=1e-15)
