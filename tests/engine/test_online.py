"""Means in one pass: the values, the Poisson bootstrap against the ordinary one, and cuts that do not matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvbench.engine.bootstrap import percentile_interval
from cvbench.engine.online import Means, RunningMeans
from tests.engine.test_hsic import F64


def means_of(values: F64, cuts: tuple[int, ...] = (), *, resamples: int = 200, seed: int = 0) -> Means:
    running = RunningMeans(values.shape[1], resamples=resamples, confidence=0.95, seed=seed)
    for part in np.split(values, cuts):
        running.add(part)
    return running.means()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_the_interval_is_that_of_the_ordinary_bootstrap(rng: np.random.Generator) -> None:
    values = rng.gamma(2.0, size=(400, 3)) * [1, 10, 0.01]
    found = means_of(values, resamples=4000)
    other = percentile_interval(values, lambda sums: sums / 400, resamples=4000)
    np.testing.assert_allclose(found.value, values.mean(axis=0), rtol=1e-12)
    # Both are estimates from 4000 resamples: the ends agree to a tenth of the width.
    width = other.high - other.low
    assert (np.abs(found.low - other.low) < 0.1 * width).all()
    assert (np.abs(found.high - other.high) < 0.1 * width).all()
    error = values.std(axis=0) / math.sqrt(400)
    np.testing.assert_allclose(found.high - found.low, 2 * 1.96 * error, rtol=0.1)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 700), max_size=6).map(sorted))
def test_where_the_images_are_cut_does_not_matter(cuts: list[int]) -> None:
    values = np.random.default_rng(4).normal(size=(700, 2))
    values[::7, 1] = np.nan
    whole, split = means_of(values), means_of(values, tuple(cuts))
    for name in ("value", "low", "high", "undefined"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(split, name))


def test_undefined_values_are_left_out_and_counted(rng: np.random.Generator) -> None:
    values = rng.normal(size=(50, 3))
    values[:5, 1] = np.nan
    values[:, 2] = np.inf
    found = means_of(values)
    assert found.undefined.tolist() == [0, 5, 50]
    assert found.value[1] == pytest.approx(values[5:, 1].mean())
    assert np.isnan([found.value[2], found.low[2], found.high[2]]).all()


def test_one_image_has_no_interval_and_a_difference_of_nothing_is_nothing() -> None:
    one = means_of(np.ones((1, 1)))
    assert one.value == [1]
    assert np.isnan(one.low).all()
    same = means_of(np.zeros((40, 1)))
    assert same.low.tolist() == same.high.tolist() == [0]


def test_the_seed_decides(rng: np.random.Generator) -> None:
    values = rng.normal(size=(60, 1))
    assert means_of(values, seed=1).low == means_of(values, seed=1).low
    assert means_of(values, seed=1).low != means_of(values, seed=2).low
