"""The kernels against the formula, in float64, and their behaviour in float32 and float16."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.engine.analyses.cka import hsic
from cvbench.engine.arrays.array import to_host
from cvbench.engine.arrays.threads import host_threads
from tests.engine.analyses.cka_reference import hsic_1
from tests.seeds import seeded

F64 = NDArray[np.float64]
UNIT = 2.0**-24  # half the distance from 1 to the next float32
LAMBDA = 6.0  # deviations: beyond it once in 10^8 sums


@pytest.fixture
def rng() -> np.random.Generator:
    return seeded(20)


def by_gram(features: list[NDArray[Any]], columns: int = hsic.COLUMNS) -> F64:
    b = len(features[0])
    packed = [hsic.u_centred(hsic.gram(x, columns=columns)).ravel()[hsic.triangle(b)] for x in features]
    return np.asarray(hsic.hsic_packed(np.stack(packed), b))


def by_definition(features: list[NDArray[Any]]) -> F64:
    grams = [x.astype(np.float64) @ x.astype(np.float64).T for x in features]
    return np.array([[hsic_1(a, b) for b in grams] for a in grams])


@pytest.mark.parametrize("b", [4, 5, 16])
def test_both_forms_give_the_definition(rng: np.random.Generator, b: int) -> None:
    features: list[NDArray[Any]] = [rng.normal(size=(b, p)) * 10.0**p + p for p in (1, 3, 7)]
    expected = by_definition(features)
    # The definition itself loses digits to the offset; the scale of each entry is that of its layers.
    scale = np.sqrt(np.abs(np.outer(np.diag(expected), np.diag(expected))))
    np.testing.assert_allclose(by_gram(features) / scale, expected / scale, atol=1e-10)
    np.testing.assert_allclose(np.asarray(hsic.hsic_features(features)) / scale, expected / scale, atol=1e-10)


def test_gram_and_feature_form_agree_to_1e_10(rng: np.random.Generator) -> None:
    shared = rng.normal(size=(64, 8))
    features: list[NDArray[Any]] = [shared @ rng.normal(size=(8, p)) + rng.normal(size=(64, p)) for p in (2, 9, 20)]
    np.testing.assert_allclose(np.asarray(hsic.hsic_features(features)), by_gram(features), rtol=1e-10)


def test_a_channels_last_array_is_flattened_without_a_copy(rng: np.random.Generator) -> None:
    seen = rng.normal(size=(8, 3, 5, 4)).transpose(0, 3, 1, 2)
    flat = hsic.flatten_as_stored(seen)
    assert np.shares_memory(flat, seen)
    np.testing.assert_allclose(hsic.gram(flat), hsic.gram(hsic.flatten(seen)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("columns", [1, 7, 64, 4096])
def test_blocks_of_columns_do_not_change_the_gram(rng: np.random.Generator, columns: int) -> None:
    x = rng.normal(size=(10, 130))
    centred = x - x.mean(axis=0)
    np.testing.assert_allclose(hsic.gram(x, columns=columns), centred @ centred.T, rtol=1e-12, atol=1e-12)


def test_a_tile_is_a_part_of_the_gram(rng: np.random.Generator) -> None:
    x = rng.normal(size=(12, 30)) + 5
    mean = x.mean(axis=0)
    tile = hsic.gram(x[:5], x[5:], mean=mean, columns=8)
    np.testing.assert_allclose(tile, ((x - mean) @ (x - mean).T)[:5, 5:], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("columns", [16, 1024, hsic.COLUMNS])
def test_the_gram_of_float32_is_within_the_rounding_of_its_blocks(rng: np.random.Generator, columns: int) -> None:
    x = rng.normal(size=(16, 40_000)).astype(np.float32)
    exact = x.astype(np.float64)
    exact -= exact.mean(axis=0)
    error = np.abs(hsic.gram(x, columns=columns) - exact @ exact.T).max()
    # In whatever order a library adds k float32 products, rounding is at most LAMBDA sqrt(k) u times the sum of their
    # sizes (Higham & Mary 2019); blocks are added in float64, so their errors add like independent ones. Were blocks
    # added in float32, 2,500 of them would miss the first of these bounds by far.
    blocks = -(-x.shape[1] // columns)
    products = (exact**2).sum(axis=1).max() / blocks
    assert error < LAMBDA * math.sqrt(min(columns, x.shape[1]) * blocks) * UNIT * products


@pytest.mark.parametrize("far", [10.0, 1e4])
def test_a_row_far_from_the_others_costs_no_digits(rng: np.random.Generator, far: float) -> None:
    x = rng.normal(size=(16, 5_000)).astype(np.float32)
    x[0] += np.float32(far)
    exact = x.astype(np.float64)
    exact -= exact.mean(axis=0)
    expected = hsic.u_centred(exact @ exact.T)
    found = hsic.u_centred(hsic.gram(x))
    # No centring saves the float32 differences of the others where one row dominates: relative to its own entries.
    assert np.abs(found - expected).max() < 4 * 2.0**-23 * np.abs(exact @ exact.T).max()


@pytest.mark.parametrize("size", [1e-42, 1e-30, 1.0, 1e18, 1e37])
def test_any_magnitude_of_float32_keeps_its_digits(rng: np.random.Generator, size: float) -> None:
    x = (rng.normal(size=(8, 50)) * size).astype(np.float32)
    exact = x.astype(np.float64) - x.astype(np.float64).mean(axis=0)
    found = hsic.gram(x) / np.trace(exact @ exact.T)
    # Denormal values have one or two digits left when they are centred in float32.
    np.testing.assert_allclose(found, exact @ exact.T / np.trace(exact @ exact.T), atol=1e-6 if size > 1e-38 else 1e-2)


def test_u_centring_zeroes_rows_and_diagonal(rng: np.random.Generator) -> None:
    k = hsic.gram(rng.normal(size=(9, 4)))
    before = k.copy()
    u = hsic.u_centred(k)
    np.testing.assert_allclose(u.sum(axis=0), 0, atol=1e-13)
    assert not np.diag(u).any()
    np.testing.assert_array_equal(k, before)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [0.1, 1e4, -3.3])
def test_constant_features_have_exactly_no_hsic(dtype: type, value: float) -> None:
    x: NDArray[Any] = np.full((13, 7), value, dtype=dtype)
    assert not hsic.gram(x).any()
    assert not np.asarray(hsic.hsic_features([x])).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_input_is_not_hidden(rng: np.random.Generator, bad: float) -> None:
    x = rng.normal(size=(6, 5)).astype(np.float32)
    x[2, 3] = bad
    assert not np.isfinite(hsic.gram(x)).all()


def test_cka_of_a_layer_without_positive_hsic_is_nan_and_nothing_is_clamped() -> None:
    found = hsic.cka(np.array([[4.0, -2.0, 0.0], [-2.0, 0.25, 1.0], [0.0, 1.0, -1.0]]))
    np.testing.assert_array_equal(found[:2, :2], [[1.0, -2.0], [-2.0, 1.0]])
    assert np.isnan(found[2]).all()
    assert np.isnan(found[:, 2]).all()


def test_cka_does_not_overflow() -> None:
    np.testing.assert_array_equal(hsic.cka(np.full((2, 2), 1e300)), np.ones((2, 2)))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_cupy_gives_what_numpy_gives(rng: np.random.Generator, dtype: str, cupy: Any) -> None:
    features: list[NDArray[Any]] = [(rng.normal(size=(32, p)) + 3).astype(dtype) for p in (5, 700, 9000)]
    moved = [cupy.asarray(x) for x in features]
    packed = cupy.stack([hsic.u_centred(hsic.gram(x)).ravel()[cupy.asarray(hsic.triangle(32))] for x in moved])
    np.testing.assert_allclose(to_host(hsic.cka(hsic.hsic_packed(packed, 32))), hsic.cka(by_gram(features)), atol=1e-6)
    narrow = to_host(hsic.hsic_features(moved[:1]))
    np.testing.assert_allclose(narrow, np.asarray(hsic.hsic_features(features[:1])), rtol=1e-9)


@pytest.mark.parametrize("means", [(0.0, 0.0), (0.0, 50.0), (50.0, 0.0), (50.0, 50.0), (0.0, 1e4)])
def test_column_means_cost_no_digits_wherever_they_begin(rng: np.random.Generator, means: tuple[float, float]) -> None:
    # What is tried first is told by the first columns; a mean that begins later must not go unseen.
    widths = hsic.PROBE, hsic.COLUMNS  # the second begins within the first block
    sizes = [(32, width) for width in widths]
    parts = [rng.normal(size=s).astype(np.float32) + np.float32(m) for s, m in zip(sizes, means, strict=True)]
    x = np.concatenate(parts, axis=1)
    exact = x.astype(np.float64)
    exact -= exact.mean(axis=0)
    expected = exact @ exact.T
    # 1e-6 of the trace's mean: float32 products of 8192 columns; a mean of 1e4 leaves its own rounding in the input.
    np.testing.assert_allclose(hsic.gram(x), expected, atol=1e-6 * np.trace(expected) / 32)


def test_any_number_of_threads_gives_the_same_bits(rng: np.random.Generator) -> None:
    x = rng.normal(size=(16, 20_000)).astype(np.float32)
    alone = hsic.gram(x)
    with host_threads(3):
        np.testing.assert_array_equal(hsic.gram(x), alone)
