"""Cosine similarity between the local features of an image: arrays in, arrays out, NumPy or CuPy.

Symbols: t_i the feature at position i = y W + x of an H x W grid (row-major), P = H W;
u_i = t_i / max(|t_i|, 1e-12); S_ij = <u_i, u_j>. A zero feature gives 0 everywhere. "Centred" means that the image's
mean feature was subtracted first: raw cosines of deep features are mostly the cosine with that mean.

    lag mean (dy, dx)   mean of S over the pairs with that signed offset; symmetric under (dy, dx) -> (-dy, -dx),
                        so dy = 0 .. H-1 is kept: K = H (2W - 1) numbers, of which dy > 0 stands for two offsets
    c(r)                mean of S over pairs with floor(distance + 1/2) = r, r = 0 .. max(H, W)-1
    neighbour contrast  mean over pairs at L1 distance 1 less mean over pairs beyond
    correlation length  first r where (c(r) - c_inf) / (c(0) - c_inf) falls to 1/e, linear between integers;
                        c_inf = mean over i != j

The last three, and the mean over i != j, are sums over lag means. Two ways to these: all pairs multiplied, in blocks of
whole grid rows, the second position never above the first block's top row (`pair_statistics`); or, for large grids, the
autocorrelation along the rows by Fourier transform, zero-padded (Wiener-Khinchin), and along the columns by a product
for each frequency, summed over channels by both (`lag_statistics`): the same means for a tenth of the arithmetic at
56 x 56, but no single cosine, so neither |S| nor the matrix.

Rounding: float16 and float32 features are multiplied in float32, float64 in float64; products are added up by offset,
and matrices over images, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.arrays.array import Array, namespace, table
from cvbench.engine.arrays.dft import row_transform
from cvbench.engine.arrays.product import product

EPSILON = 1e-12
"""The least norm that a feature is divided by."""

FLAT = 1e-6
"""c(0) - c_inf below which a profile counts as flat: no correlation length. Above the rounding of float32 cosines."""

HOST_BLOCK, DEVICE_BLOCK = 2**20, 2**27
"""Cosines held at a time: what stays near a core, and what fills a GPU."""

F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lags:
    """The K offsets of an H x W grid, and what is read off their means; all float64, each (K,) but `profile`.

    Attributes:
        counts: Pairs of each offset, one sign only.
        profile: (K, R) makes c(r) of lag means, R = max(H, W).
        off: Makes the mean over i != j.
        near, far: Make the means over pairs at L1 distance 1, and beyond.
    """

    counts: F64
    profile: F64
    off: F64
    near: F64
    far: F64


@table
def lags(height: int, width: int) -> Lags:
    """The offsets of a grid of at least two positions a side.

    >>> lags(2, 3).counts.reshape(2, 5).astype(int).tolist()
    [[2, 4, 6, 4, 2], [1, 2, 3, 2, 1]]
    """
    dy, dx = np.arange(height)[:, None], np.arange(1 - width, width)[None, :]
    counts = ((height - dy) * (width - abs(dx))).astype(np.float64).ravel()
    pairs = counts * np.where(dy > 0, 2, 1).repeat(dx.size, axis=1).ravel()
    steps = np.floor(np.hypot(dy, dx) + 0.5).ravel()
    blocks = (dy + abs(dx)).ravel()

    def mean_over(chosen: NDArray[np.bool_]) -> F64:
        weights = pairs * chosen
        return np.asarray(weights / weights.sum())

    profile = np.stack([mean_over(steps == r) for r in range(max(height, width))], axis=1)
    return Lags(counts, profile, mean_over(blocks > 0), mean_over(blocks == 1), mean_over(blocks > 1))


def unit_features(maps: Array, *, centred: bool) -> tuple[Array, Array]:
    """The features of each image, scaled to length 1.

    Args:
        maps: (n, H, W, C) float16, float32 or float64.
        centred: Subtract the image's mean feature first.

    Returns:
        (n, P, C) float32 or float64, zero for a zero feature, NaN where a norm is not finite; and (n,) bool: any
        feature of the image is not zero (centred: they are not all equal).
    """
    xp = namespace(maps)
    n, height, width, channels = maps.shape
    work = xp.float64 if maps.dtype == xp.float64 else xp.float32
    values = maps.reshape(n, height * width, channels).astype(work, order="C")  # always a copy
    with np.errstate(invalid="ignore", over="ignore"):
        if centred:
            values -= values[:, :1].copy()  # equal features become exactly 0, whatever the rounding of their mean
            values -= values.mean(axis=1, keepdims=True)
        # On a device einsum would be a product of its own for every position.
        squares = xp.einsum("npc,npc->np", values, values) if xp is np else xp.square(values).sum(axis=2)
        norms = xp.sqrt(squares)
        norms = xp.where(xp.isfinite(norms), norms, xp.nan)
        values *= (1 / xp.maximum(norms, EPSILON))[:, :, None]
    return values, ~(norms == 0).all(axis=1)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Statistics of the similarities of n images; float64.

    Attributes:
        lags: (n, K) lag means.
        absolute: (n,) mean of |S| over i != j; NaN where pairs were not looked at one by one.
        matrix: (P, P) S summed over the images, right on and above the diagonal; None if it was not asked for.
    """

    lags: Array
    absolute: Array
    matrix: Array | None


def pair_statistics(units: Array, grid: tuple[int, int], *, matrix: bool, block: int | None = None) -> Pairs:
    """Multiply all pairs of positions of each image, and keep the sums.

    Memory: about 2 * block values beside the input and the result; a block is one grid row against all at least.

    Args:
        units: (n, P, C) from `unit_features`.
        grid: (H, W), H W = P.
        matrix: Whether to sum the matrices.
        block: Cosines held at a time; the default suits the device.
    """
    xp = namespace(units)
    (height, width), (n, size, _) = grid, units.shape
    counts = lags.on(units, height, width).counts
    means, absolute = xp.zeros((n, len(counts))), xp.zeros(n)
    total = xp.zeros((size, size)) if matrix else None
    for images, row, end in _blocks(n, height, width, block or (HOST_BLOCK if xp is np else DEVICE_BLOCK)):
        own = units[images]
        top, below = row * width, end * width
        # With all rows in one block both factors are the same memory: BLAS then computes one triangle only.
        cosines = product(own[:, top:below], own[:, top:].transpose(0, 2, 1))
        whole = end - row == height
        means[images] += (
            _whole_lag_sums(cosines, height, width)
            if whole and xp is not np
            else _lag_sums(cosines, end - row, height - row, height, width)
        )
        if total is not None:
            total[top:below, top:] += cosines[0] if len(cosines) == 1 else cosines.sum(axis=0, dtype=xp.float64)
        xp.abs(cosines, out=cosines)
        inner = below - top
        absolute[images] += cosines[:, :, :inner].sum(axis=2).sum(axis=1, dtype=xp.float64)
        if not whole:
            absolute[images] += 2 * cosines[:, :, inner:].sum(axis=2).sum(axis=1, dtype=xp.float64)
    itself = means[:, width - 1].copy()  # dy = dx = 0
    return Pairs(means / counts, (absolute - itself) / (size * (size - 1)), total)


def lag_statistics(units: Array, grid: tuple[int, int], *, block: int | None = None) -> Pairs:
    """Compute `pair_statistics` without its matrix, and without looking at single pairs.

    With Z[y, v] the transform of a row of one channel, padded to 2W points, the sums over the pairs of rows y, y + dy
    are the inverse transform of the sum over channels of Z[y + dy, v] conj Z[y, v].

    Memory: about 4 * block values beside the input and the result; a block is one image at least.

    Args:
        units: (n, P, C) from `unit_features`.
        grid: (H, W), H W = P.
        block: Values transformed at a time, whole images; the default suits the device.
    """
    xp = namespace(units)
    (height, width), (n, _, channels) = grid, units.shape
    counts = lags.on(units, height, width).counts
    means = xp.zeros((n, len(counts)))
    step = max(1, (block or (HOST_BLOCK if xp is np else DEVICE_BLOCK)) // (2 * height * (width + 1) * channels))
    for start in range(0, n, step):
        images = slice(start, start + step)
        rows = row_transform(units[images].reshape(-1, height, width, channels), 2 * width)
        by_frequency = rows.reshape(-1, 2 * height, width + 1, channels).transpose(0, 2, 1, 3)
        if xp is not np:
            by_frequency = by_frequency.copy()  # once: for a product it would be, for each of its operands
        # (b, width + 1, 2 H, 2 H), (y, part) twice
        products = product(by_frequency, by_frequency.transpose(0, 1, 3, 2))
        sums = xp.fft.irfft(_row_pairs(products, height), n=2 * width, axis=1).transpose(0, 2, 1)
        means[images] = xp.concatenate([sums[:, :, width + 1 :], sums[:, :, :width]], axis=2).reshape(-1, len(counts))
    return Pairs(means / counts, xp.full(n, math.nan), None)


def _row_pairs(products: Array, height: int) -> Array:
    """(b, V, 2H, 2H) products of parts of Z -> (b, V, H) complex sums of Z[y + dy] conj Z[y] over y, by dy."""
    xp = namespace(products)
    b, v = products.shape[:2]
    if xp is not np:
        sums = product(products.reshape(b, v, -1), _row_pair_matrix.on(products, height, products.dtype.str))
        return sums[:, :, :height] + 1j * sums[:, :, height:].astype(xp.float64)
    parts = products.reshape(b, v, height, 2, height, 2)
    found = []
    for part in (
        parts[:, :, :, 0, :, 0] + parts[:, :, :, 1, :, 1],
        parts[:, :, :, 0, :, 1] - parts[:, :, :, 1, :, 0],
    ):
        sums = xp.zeros((b, v, height))
        for y in range(height):
            sums[:, :, : height - y] += part[:, :, y, y:]
        found.append(sums)
    return found[0] + 1j * found[1]


def _lag_sums(cosines: Array, rows: int, below: int, height: int, width: int) -> Array:
    """(b, rows * W, below * W) of one block -> (b, K) sums over its pairs by offset, dy >= 0."""
    xp = namespace(cosines)
    b = len(cosines)
    table = cosines.reshape(b, rows, width, below, width)
    by_row = xp.zeros((b, width, height, width), dtype=cosines.dtype)  # first column, dy, second column
    for y in range(rows):
        by_row[:, :, : below - y] += table[:, y, :, y:]
    sums = xp.zeros((b, height, 2 * width - 1))
    for x in range(width):
        sums[:, :, width - 1 - x : 2 * width - 1 - x] += by_row[:, x]
    return sums.reshape(b, -1)


@table
def _row_pair_matrix(height: int, dtype: str) -> NDArray[Any]:
    """(4 H^2, 2 H) of products (y, part, y', part'): sums over y' - y = dy of the real parts, and of the imaginary."""
    y = np.arange(height)
    at = (y[None, :] - y[:, None])[:, :, None] == y  # (y, y', dy)
    made = np.zeros((height, 2, height, 2, 2, height))
    for one, other, part, sign in ((0, 0, 0, 1), (1, 1, 0, 1), (0, 1, 1, 1), (1, 0, 1, -1)):
        made[:, one, :, other, part] = sign * at
    return made.reshape(4 * height**2, 2 * height).astype(dtype)


def _whole_lag_sums(cosines: Array, height: int, width: int) -> Array:
    """(b, P, P) -> (b, K) sums over the pairs by offset, dy >= 0: `_lag_sums` of all rows, as two products.

    Few launches instead of one for each row and column; on the host the loops are cheaper.
    """
    xp = namespace(cosines)
    b = len(cosines)
    by_rows = cosines.reshape(b, height, width, height, width).transpose(0, 1, 3, 2, 4).reshape(b, height**2, width**2)
    across = product(by_rows, _offsets.on(cosines, width, True, cosines.dtype.str)).astype(xp.float64)
    return product(_offsets.on(cosines, height, False, "<f8").T, across).reshape(b, -1)


@table
def _offsets(side: int, signed: bool, dtype: str) -> NDArray[Any]:
    """(side^2, 2 side - 1), or (side^2, side) from 0 on: 1 where a pair of places (i, j) has the offset j - i."""
    i = np.arange(side)
    lag = (i[None, :] - i[:, None]).ravel()
    return np.asarray(lag[:, None] == np.arange(1 - side if signed else 0, side), dtype=dtype)


def _blocks(n: int, height: int, width: int, block: int) -> Iterator[tuple[slice, int, int]]:
    """Images, first and last grid row of each block; several images only with all their rows."""
    size = height * width
    images = max(1, block // (size * size))
    rows = height if images > 1 else max(1, min(height, block // (size * width)))
    for first in range(0, n, images):
        for row in range(0, height, rows):
            yield slice(first, first + images), row, min(row + rows, height)


def correlation_length(profile: F64, infinity: F64) -> F64:
    """Distance at which the profile has fallen to 1/e of its way from c(0) to c_inf, in grid steps.

    Args:
        profile: (n, R) c(r).
        infinity: (n,) c_inf.

    Returns:
        (n,) NaN where it never falls so far, or where it is flat.
    """
    depth = profile[:, 0] - infinity
    flat = ~(depth > FLAT)
    rest = (profile - infinity[:, None]) / np.where(flat, 1.0, depth)[:, None]
    fallen = rest <= 1 / math.e
    at = np.maximum(fallen.argmax(axis=1), 1)
    rows = np.arange(len(profile))
    before, after = rest[rows, at - 1], rest[rows, at]
    with np.errstate(invalid="ignore", divide="ignore"):
        length = at - 1 + (before - 1 / math.e) / (before - after)
    return np.where(flat | ~fallen.any(axis=1), np.nan, length)
