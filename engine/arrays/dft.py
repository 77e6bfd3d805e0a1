"""Discrete Fourier transforms of maps with their channels last: arrays in, arrays out, NumPy or CuPy.

The transform runs over the grid and the channels stay the fast axis, so nothing is transposed. Grids of feature maps
are small, and below some size a product with the matrix of the transform is faster than any FFT: at 14 x 14 x 384 and
7 x 7 x 768 two to three times on the host. The first of two products gives Z, of each row of the grid:

    Z[y, v] = sum_x t[y, x] exp(-2 pi i v x / M),  v = 0 .. M//2,  M >= W

kept as (n, H, 2, M//2 + 1, C), real and imaginary part apart, so that (y, part) is one axis of even stride.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cvbench.engine.arrays.array import Array, namespace, table
from cvbench.engine.arrays.product import product

HOST_SMALL, DEVICE_SMALL = 16, 64
"""Longest side of a grid up to which the transform is a product with its matrix. CuPy's own FFT over these axes brings
each to the end first, a copy of all: on a device the products are as few, and read and write half as much."""


def power(maps: Array) -> Array:
    """|F|^2 of every channel, F = fft2 over the grid, unnormalised.

    Args:
        maps: (n, H, W, C) float32 or float64.

    Returns:
        (n, H, W//2 + 1, C) of the same type.
    """
    xp = namespace(maps)
    n, height, width, channels = maps.shape
    if max(height, width) <= (HOST_SMALL if xp is np else DEVICE_SMALL):
        rows = row_transform(maps, width).reshape(n, 2 * height, -1)
        both = product(_column_matrix.on(maps, height, maps.dtype.str), rows).reshape(n, 2, height, -1, channels)
        real, imaginary = both[:, 0], both[:, 1]
    else:
        spectrum = _rfft2(maps, xp)
        real, imaginary = spectrum.real, spectrum.imag
    found = xp.square(real)
    found += xp.square(imaginary)
    return found


def row_transform(maps: Array, points: int) -> Array:
    """Z of each row, zero-padded to `points`.

    Args:
        maps: (n, H, W, C) float32 or float64.
        points: M >= W.

    Returns:
        (n, H, 2, M//2 + 1, C) of the same type.
    """
    n, height, width, channels = maps.shape
    matrix = _row_matrix.on(maps, width, points, maps.dtype.str)
    return product(matrix, maps).reshape(n, height, 2, points // 2 + 1, channels)


def _rfft2(maps: Array, xp: Any) -> Array:
    if xp is not np:
        return xp.fft.rfft2(maps, axes=(1, 2))
    import scipy.fft  # many channels at a time, and float32 as float32: twice as fast as numpy.fft

    return scipy.fft.rfft2(maps, axes=(1, 2))


@table
def _row_matrix(width: int, points: int, dtype: str) -> Array:
    """(2 (M//2 + 1), W): makes the real parts of Z of a row, then the imaginary ones."""
    return _parts(np.outer(np.arange(points // 2 + 1), np.arange(width)), points).reshape(-1, width).astype(dtype)


@table
def _column_matrix(height: int, dtype: str) -> Array:
    """(2 H, 2 H): of a column of Z, (y, part) on one axis, the real parts of F, then the imaginary ones."""
    real, imaginary = _parts(np.outer(np.arange(height), np.arange(height)), height)
    both = np.stack([np.stack([real, -imaginary], axis=-1), np.stack([imaginary, real], axis=-1)])
    return both.reshape(2 * height, 2 * height).astype(dtype)


def _parts(turns: Array, points: int) -> Array:
    """(2, ...) cos and -sin of 2 pi turns/points; exact multiples of a quarter give exactly 0 or 1."""
    angle = 2 * np.pi * (turns % points) / points
    parts = np.stack([np.cos(angle), -np.sin(angle)])
    quarters = 4 * (turns % points) % points == 0
    return np.where(quarters, np.round(parts), parts)
