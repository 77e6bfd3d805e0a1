"""Principal components by the covariance, against a singular value decomposition of the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cvbench.engine.arrays.pca import block_sums, matrix_moments, moments, principal_axes
from tests.seeds import seeded

F64 = NDArray[np.float64]


@pytest.fixture
def rng() -> np.random.Generator:
    return seeded(3)


def rows(rng: np.random.Generator, n: int = 200, d: int = 12) -> F64:
    """Correlated features of unlike scales, away from 0."""
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * 10.0 ** np.linspace(-2, 2, d) + 50


def reference(x: F64, k: int, standardise: bool) -> tuple[F64, F64]:
    """Scores and shares of variance from the singular value decomposition, signs as the definition says."""
    z = x - x.mean(axis=0)
    if standardise:
        z = z / x.std(axis=0)
    left, size, axes = np.linalg.svd(z, full_matrices=False)
    scores = left * size
    sign = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    return (scores * sign)[:, :k], (size**2 / (size**2).sum())[:k]


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("block", [1, 7, 4096])
def test_scores_are_those_of_the_svd(rng: np.random.Generator, standardise: bool, block: int) -> None:
    x = rows(rng)
    axes = principal_axes(matrix_moments(x, block), 5, standardise=standardise)
    expected, share = reference(x, 5, standardise)
    # The square of the condition number of the chosen axes costs digits: 1e-16 * 1e6.
    np.testing.assert_allclose(axes.scores(x), expected, atol=1e-8 * np.abs(expected).max())
    np.testing.assert_allclose(axes.share, share, rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, 59), max_size=6), seed=st.integers(0, 1000))
def test_blocks_can_be_added_up_anywhere(cuts: list[int], seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(60, 4)) + 100
    parts = np.split(x, sorted(set(cuts)))
    order = np.random.default_rng(seed).permutation(len(parts))
    found = moments(60, x[0], np.sum([block_sums(parts[i], x[0]) for i in order], axis=0))
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(x.T, bias=True), rtol=1e-9, atol=1e-11)


def test_an_offset_of_a_million_costs_nothing(rng: np.random.Generator) -> None:
    x = np.round(rng.normal(size=(100, 6)) * 1024) / 1024
    plain, moved = (matrix_moments(values).covariance for values in (x, x + 1e6))
    np.testing.assert_allclose(moved, plain, rtol=1e-9, atol=1e-12)


def test_constant_features_become_0(rng: np.random.Generator) -> None:
    x = np.column_stack([rows(rng), np.full(200, 0.1, dtype=np.float32), np.full(200, -7e8)])
    axes = principal_axes(matrix_moments(x), 50, standardise=True)
    assert axes.weights.shape == (14, 12), "no axis without variance"
    np.testing.assert_array_equal(axes.weights[12:], 0)
    np.testing.assert_allclose(axes.share.sum(), 1, rtol=1e-12)
    same = principal_axes(matrix_moments(np.full((5, 3), 2.5)), 2, standardise=True)
    np.testing.assert_array_equal(same.scores(np.full((5, 3), 2.5)), np.zeros((5, 1)))


def test_the_sign_is_fixed(rng: np.random.Generator) -> None:
    x = rows(rng)
    axes = principal_axes(matrix_moments(x), 4, standardise=True)
    directions = axes.weights * x.std(axis=0)[:, None]
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(4)]
    assert (largest > 0).all()
    np.testing.assert_allclose((directions**2).sum(axis=0), 1, rtol=1e-9)
