"""Transforms with the channels last, against numpy.fft in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cvbench.engine.arrays import dft
from tests.seeds import seeded

GRIDS = [(2, 2), (7, 7), (3, 8), (8, 3), (16, 16), (dft.HOST_SMALL + 1, 4), (28, 20)]


@pytest.fixture
def rng() -> np.random.Generator:
    return seeded(11)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 1e-6)])
def test_power(rng: np.random.Generator, grid: tuple[int, int], dtype: type[Any], tolerance: float) -> None:
    # Relative to the largest coefficient: what a transform of that precision can keep.
    maps = rng.normal(size=(3, *grid, 5)).astype(dtype)
    expected = np.abs(np.fft.rfft2(maps.astype(np.float64), axes=(1, 2))) ** 2
    found = dft.power(maps)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, atol=tolerance * expected.max())


def test_both_ways_agree_at_the_border(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = rng.normal(size=(2, dft.HOST_SMALL, dft.HOST_SMALL, 3))
    by_matrix = dft.power(maps)
    monkeypatch.setattr(dft, "HOST_SMALL", 1)
    np.testing.assert_allclose(dft.power(maps), by_matrix, rtol=1e-9)


@pytest.mark.parametrize(("width", "points"), [(5, 5), (6, 6), (5, 10), (6, 13)])
def test_rows_padded(rng: np.random.Generator, width: int, points: int) -> None:
    maps = rng.normal(size=(2, 3, width, 4))
    expected = np.fft.rfft(maps, n=points, axis=2)
    found = dft.row_transform(maps, points)
    np.testing.assert_allclose(found[:, :, 0], expected.real, atol=1e-13)
    np.testing.assert_allclose(found[:, :, 1], expected.imag, atol=1e-13)


def test_a_map_of_zeros_has_no_power_at_all() -> None:
    assert not dft.power(np.zeros((1, 7, 7, 2), np.float32)).any()


@pytest.mark.gpu
def test_cupy_gives_what_numpy_gives(rng: np.random.Generator, cupy: Any) -> None:
    maps = rng.normal(size=(3, 14, 14, 8)).astype(np.float32)
    np.testing.assert_allclose(dft.power(cupy.asarray(maps)).get(), dft.power(maps), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        dft.row_transform(cupy.asarray(maps), 28).get(), dft.row_transform(maps, 28), rtol=1e-5, atol=1e-5
    )


@pytest.mark.gpu
@pytest.mark.parametrize("grid", [*GRIDS, (56, 56), (64, 64), (dft.DEVICE_SMALL + 1, 8)])
def test_a_device_keeps_float32s_digits(rng: np.random.Generator, cupy: Any, grid: tuple[int, int]) -> None:
    maps = rng.normal(size=(2, *grid, 5)).astype(np.float32)
    expected = np.abs(np.fft.rfft2(maps.astype(np.float64), axes=(1, 2))) ** 2
    found = dft.power(cupy.asarray(maps)).get()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6 * expected.max())
