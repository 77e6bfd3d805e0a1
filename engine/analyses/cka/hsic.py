"""Unbiased HSIC of linear kernels, and CKA from it: arrays in, arrays out, NumPy or CuPy.

Symbols: X (b, p) features of one layer, b samples; K = X X' (b, b) its Gram matrix, K~ the same with zero diagonal.

    HSIC_1(K, L) = [ tr(K~ L~) + (1'K~1)(1'L~1)/((b-1)(b-2)) - 2/(b-2) 1'K~L~1 ] / (b (b-3))    Song et al. 2012
                 = <U(K), U(L)> / (b (b-3))
    U(K)_ij      = K~_ij - (r_i + r_j)/(b-2) + s/((b-1)(b-2)) for i != j, else 0;  r = K~ 1, s = 1' r
    CKA(X, Y)    = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))                                     Kornblith et al. 2019

The second line makes all pairs of layers one matrix product of stacked U(K). HSIC_1 does not change when a constant is
added to a feature, in exact arithmetic; in float32 it does, badly. So columns are centred before the Gram product.
Where the columns are centred, K 1 = 0 and K~ 1 = -diag K, and the first line needs p x p cross products only
(`hsic_features`): cheaper where all the layers together are narrower than b.

Rounding on the host: float16 and float32 input is multiplied in float32, in blocks of columns that are centred and
scaled by a power of two (exact; neither float16 values up to 65504 nor any float32 overflow), summed in float64.
float64 input stays float64. A cheaper way is tried first (`_plain_gram`); a device has its own (`device_gram`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.arrays.array import Array, from_torch, namespace, to_torch
from cvbench.engine.arrays.threads import in_order

COLUMNS = 8192
"""Columns per block: (b, 8192) float32 stays in a core's cache, and float32 sums stay short."""

PROBE = 1024
"""Columns that tell whether all need their means taken off."""

SMALLEST = 2.0**-60
"""A trace below this may have lost digits to float32's smallest numbers."""

UNCENTRED = 4.0
"""Squared norms of rows, in units of those of centred rows, up to which float32 products keep their digits."""


def flatten(x: Array) -> Array:
    """(b, ...) -> (b, p), columns in row-major order: the same for every block of rows of a layer."""
    return x.reshape(len(x), -1)


def flatten_as_stored(x: Array) -> Array:
    """(b, ...) -> (b, p), columns in the order of memory: no copy of a channels-last tensor seen as (b, C, H, W).

    For one array by itself, as its Gram matrix does not depend on the order of columns.
    """
    order = sorted(range(1, x.ndim), key=lambda axis: -x.strides[axis])
    return flatten(x.transpose(0, *order))


def gram(x: Array, y: Array | None = None, *, mean: Array | None = None, columns: int = COLUMNS) -> Array:
    """(X - m)(Y - m)' in float64.

    Args:
        x: (b, p) float16, float32 or float64.
        y: (c, p), with `mean`; None: x itself, half the work.
        mean: (p,) float64, subtracted from every row; None: the column means of x.
        columns: Columns multiplied at a time.

    Returns:
        (b, c) float64. Non-finite input gives a non-finite result, never an error.
    """
    xp = namespace(x)
    if xp is not np:
        return device_gram(x, y, mean, columns)

    def product(start: int) -> Array:
        part = slice(start, start + columns)
        centre = None if mean is None else mean[part]
        a, unit = _scaled(centred(x[:, part], centre))
        b, other = (a, unit) if y is None else _scaled(centred(y[:, part], centre))
        return (a @ b.T) * (unit * other)

    if y is None and mean is None and x.dtype != np.float64:
        k = _plain_gram(x, columns)
        if k is not None:
            return k
    shape = (len(x), len(x if y is None else y))
    return _summed(product, np.zeros(shape), range(0, x.shape[1], columns))


def device_gram(x: Array, y: Array | None, mean: Array | None, columns: int) -> Array:
    """`gram` on a device, in few launches and no wait: all columns are centred at once and multiplied side by side.

    Float16 input takes three passes: a float32 mean of less than 8,192 float16 rows is exact for a constant column, and
    neither the centred values nor `columns` products of them leave float32's range, so no scale is looked for.
    """
    xp = namespace(x)
    if x.dtype == xp.float16 and mean is None and y is None:
        values = xp.subtract(x, x.mean(axis=0, dtype=xp.float32))
        return side_by_side(values, values, columns)
    a, unit = _scaled(centred(x, mean))
    b, other = (a, unit) if y is None else _scaled(centred(y, mean))
    return side_by_side(a, b, columns) * (unit * other)


def side_by_side(a: Array, b: Array, columns: int) -> Array:
    """(b, p) and (c, p) of a device -> (b, c) float64: one product of many blocks of columns, then their sum.

    A single product of few rows and very many columns would leave most of a card idle, and its float32 sums long. Torch
    multiplies the blocks where they lie, in float32 or float64 as they are, TF32 off.
    """
    import torch

    from cvbench.engine.models.precision import exact_arithmetic

    xp = namespace(a)
    whole = a.shape[1] // columns
    total = xp.zeros((len(a), len(b)), dtype=xp.float64)
    with exact_arithmetic(torch.device("cuda")):
        if whole:
            left, right = (
                to_torch(part)[:, : whole * columns].view(len(part), whole, columns).transpose(0, 1) for part in (a, b)
            )
            total += from_torch(torch.bmm(left, right.mT)).sum(axis=0, dtype=xp.float64)
        if whole * columns < a.shape[1]:
            left, right = (to_torch(part)[:, whole * columns :] for part in (a, b))
            total += from_torch(left @ right.mT)
    return total


def _plain_gram(x: NDArray[Any], columns: int) -> NDArray[np.float64] | None:
    """The centred Gram of float32 products without a scale; None where that costs digits.

    Columns are left as they are if their means add little to the products, as the first ones tell, else a float32
    mean is taken off: two passes more. What is not taken off is the same in every row, so the small Gram matrix is
    centred once more, in float64. Digits are lost if a product leaves float32's range or if what is left of the means
    outweighs the spread (constant columns).
    """

    def as_it_is(start: int, width: int = columns) -> NDArray[Any]:
        part = x[:, start : start + width].astype(np.float32, copy=False)
        return np.asarray(part @ part.T)

    def moved(start: int) -> NDArray[Any]:
        part = x[:, start : start + columns].astype(np.float32, copy=False)
        part = part - np.full(len(part), 1 / len(part), dtype=np.float32) @ part  # half the time of np.mean
        return np.asarray(part @ part.T)

    with np.errstate(invalid="ignore", over="ignore"):
        probed = as_it_is(0, PROBE)
    centred_already = _keeps_digits(probed)
    for product in (as_it_is, moved) if centred_already else (moved,):
        k: NDArray[np.float64] = _summed(product, np.zeros((len(x), len(x))), range(0, x.shape[1], columns))
        if _keeps_digits(k):
            means = k.mean(axis=0)
            k -= means[:, None]
            k -= means - means.mean()
            return k
    return None


def _keeps_digits(k: NDArray[Any]) -> bool:
    """Whether float32 products (b, b) of rows hold the spread of the rows, too; infinite ones do not."""
    with np.errstate(invalid="ignore", over="ignore"):
        norms = float(k.trace())
        spread = norms - float(k.sum()) / len(k)
    return SMALLEST < spread < math.inf and norms < UNCENTRED * spread


def _summed(product: Callable[[int], Array], total: Array, starts: range) -> Array:
    """`total` plus the products of all blocks, added in order."""

    def quiet(start: int) -> Array:
        with np.errstate(invalid="ignore", over="ignore"):
            return product(start)

    with np.errstate(invalid="ignore", over="ignore"):
        for block in in_order(quiet, starts):
            total += block
    return total


def centred(x: Array, mean: Array | None = None) -> Array:
    """(b, p) less its column means, or less `mean` (p,) float64; float64 for float64 input, else float32.

    The mean is taken of the differences to the first row: a constant column becomes exactly 0, a large offset costs no
    digits. What float32 leaves of a mean, a 10^-7 part of the spread, U(K) does not see.
    """
    xp = namespace(x)
    work = xp.float64 if x.dtype == xp.float64 else xp.float32
    values = x.astype(work, copy=False)
    if mean is None:
        values = values - values[0]
        values -= values.mean(axis=0)
        return values
    return values - mean.astype(work)


def _scaled(values: Array) -> tuple[Array, Array]:
    """`values` in place over a power of two, so that no product overflows; that power as a float64 scalar."""
    xp = namespace(values)
    largest = xp.maximum(values.max(), -values.min())
    exponent = xp.frexp(largest)[1]
    exponent = xp.maximum(exponent, -125)  # its inverse must not overflow float32
    values *= xp.ldexp(xp.ones((), dtype=values.dtype), -exponent)
    return values, xp.ldexp(xp.ones((), dtype=xp.float64), exponent)


def u_centred(k: Array) -> Array:
    """U(K) of a (b, b) Gram matrix, b >= 4, as a new float64 array; its rows sum to zero and its diagonal is zero."""
    xp = namespace(k)
    b = len(k)
    u = xp.array(k, dtype=xp.float64)
    xp.fill_diagonal(u, 0.0)
    rows = u.sum(axis=1)
    shift = rows / (b - 2) - rows.sum() / (2 * (b - 1) * (b - 2))
    u -= shift[:, None]
    u -= shift[None, :]
    xp.fill_diagonal(u, 0.0)
    return u


def triangle(b: int) -> Array:
    """Flat positions of the entries above the diagonal of a (b, b) array, int64 (b(b-1)/2,), on the host."""
    rows, columns = np.triu_indices(b, 1)
    return rows * b + columns


def hsic_packed(packed: Array, b: int) -> Array:
    """HSIC_1 of every pair of layers.

    Args:
        packed: (L, b(b-1)/2) float64: per layer the entries of U(K) at `triangle(b)`, half of a symmetric matrix.
        b: Samples.

    Returns:
        (L, L) float64, symmetric.
    """
    return symmetric(packed @ packed.T) * (2.0 / (b * (b - 3)))


def hsic_features(features: Sequence[Array]) -> Array:
    """HSIC_1 of every pair of layers from p x p cross products; memory P * P * 8 bytes, P the layers' total width.

    Args:
        features: Per layer (b, p_l); b >= 4. Computed in float64.

    Returns:
        (L, L) float64, symmetric.
    """
    xp = namespace(features[0])
    parts = [centred(x.astype(xp.float64)) for x in features]
    stacked = xp.concatenate(parts, axis=1)
    diagonals = xp.stack([(x * x).sum(axis=1) for x in parts])
    squares = block_squares(stacked.T @ stacked, [x.shape[1] for x in parts])
    return hsic_from_sums(squares - diagonals @ diagonals.T, -diagonals)


def block_squares(cross: Array, widths: Sequence[int]) -> Array:
    """Squared Frobenius norm of each block of a (P, P) matrix cut at the layers' widths: (L, L)."""
    xp = namespace(cross)
    spans = list(itertools.pairwise(itertools.accumulate(widths, initial=0)))
    strips = xp.stack([(cross[a:z] ** 2).sum(axis=0) for a, z in spans])
    return xp.stack([strips[:, a:z].sum(axis=1) for a, z in spans], axis=1)


def hsic_from_sums(products: Array, rows: Array) -> Array:
    """HSIC_1 by its first line.

    Args:
        products: (L, L) float64, tr(K~_l K~_m) of every pair.
        rows: (L, n) float64, K~_l 1.

    Returns:
        (L, L) float64, symmetric.
    """
    n = rows.shape[1]
    totals = rows.sum(axis=1)
    value = products + totals[:, None] * totals[None, :] / ((n - 1) * (n - 2)) - (2.0 / (n - 2)) * (rows @ rows.T)
    return symmetric(value) / (n * (n - 3))


def symmetric(s: Array) -> Array:
    """(S + S')/2: a product of a matrix with its own transpose, without the last bit of a GEMM's two orders."""
    return (s + s.T) / 2


def cka(hsic: Array) -> Array:
    """CKA of every pair from HSIC of every pair.

    Args:
        hsic: (..., L, L) float64, summed over batches.

    Returns:
        (..., L, L) float64; nothing is clamped; NaN in the rows and columns of layers whose own HSIC is not positive.
    """
    xp = namespace(hsic)
    own = xp.diagonal(hsic, axis1=-2, axis2=-1)
    root = xp.sqrt(xp.where(own > 0, own, xp.nan))  # roots first: a product of two HSIC can overflow float64
    return hsic / root[..., :, None] / root[..., None, :]
