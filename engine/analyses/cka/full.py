"""CKA of all rows as one batch, exact, without an n x n array: `debiased` and `biased`.

Debiased uses HSIC_1 of n samples. Biased (Kornblith et al. 2019) uses HSIC_0 = tr(K H L H)/(n-1)^2 with H
the centring matrix; of centred features it is |X'Y|_F^2/(n-1)^2. It tends to 1 for wide layers (p >> n) even if they
are independent: it is here to compare with the literature, not to draw conclusions from convolution maps.

Two exact ways, the cheaper is taken: p x p cross products where all layers together are at most n (and 8,192) wide;
else the Gram matrices tile by tile, each tile of all layers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import NOT_FINITE, Layer, Result
from cvbench.engine.analyses.cka import hsic
from cvbench.engine.analyses.cka.measure import MIN_BATCH
from cvbench.engine.analyses.cka.result import cka_result
from cvbench.engine.arrays.array import Array, namespace, to_host
from cvbench.errors import IntegrityError, UsageError

Estimator = Literal["debiased", "biased"]
ReadRows = Callable[[Layer, slice], Array]

MAX_FEATURES = 8192
"""Total width up to which the (P, P) float64 cross products are kept: 512 MB."""


def full_cka(
    layers: Sequence[Layer], read_rows: ReadRows, n: int, block: int = 512, *, estimator: Estimator = "debiased"
) -> Result:
    """CKA of every pair of L layers from all n rows at once. It has no interval: there is one batch.

    Memory: two blocks of rows of one layer, and either P * P * 8 bytes or L * block * block * 8; P columns in all.
    Reads: every row once for the means, then once (cross products) or about n / (2 block) times (tiles).

    Args:
        layers: In the result's order.
        read_rows: (layer, rows) -> (len(rows), ...) activations.
        n: Rows, at least 4.
        block: Rows read at a time, the side of a tile.
        estimator: "debiased" or "biased".

    Raises:
        UsageError: fewer than 4 rows, or another estimator.
        IntegrityError: a layer with values that are not finite.
    """
    if estimator not in ("debiased", "biased"):
        raise UsageError(f"unknown estimator {estimator!r}", fix="minibatch, debiased or biased")
    if n < MIN_BATCH:
        raise UsageError(f"CKA needs at least {MIN_BATCH} samples, there are {n}", fix="extract more samples")

    def read(index: int, rows: slice) -> Array:
        return hsic.flatten(read_rows(layers[index], rows))

    means = [_column_means(read, i, layer, n, block) for i, layer in enumerate(layers)]
    width = sum(len(mean) for mean in means)
    sums = _feature_sums if width <= min(n, MAX_FEATURES) else _tile_sums
    products, squares, rows = sums(means, read, n, block)
    total = squares / (n - 1) ** 2 if estimator == "biased" else hsic.hsic_from_sums(products, rows)
    attrs = {"estimator": estimator, "batch_size": n, "samples": n, "dropped": 0}
    return cka_result(layers, np.asarray(total, dtype=np.float64)[None], attrs)


Read = Callable[[int, slice], Array]

Sums = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""tr(K~_l K~_m) and tr(K_l K_m), both (L, L); K~_l 1, (L, n)."""


def _column_means(read: Read, index: int, layer: Layer, n: int, block: int) -> Array:
    """(p,) float64: the first row plus the mean difference to it, so that a constant column is met exactly."""
    first: Array = None
    total: Array = None
    for rows in _blocks(n, block):
        x = read(index, rows)
        wide = x.astype(namespace(x).float64)
        first = wide[0].copy() if first is None else first
        part = (wide - first).sum(axis=0)
        total = part if total is None else total + part
    if not bool(namespace(total).isfinite(total).all()):
        raise IntegrityError(f"{layer} holds values that are not finite", where=str(layer), fix=NOT_FINITE)
    return first + total / n


def _feature_sums(means: Sequence[Array], read: Read, n: int, block: int) -> Sums:
    """From cross products: tr(K_l K_m) = |X_l'X_m|_F^2 of centred features, whose K~ 1 = -diag K."""
    xp = namespace(means[0])
    stacked_means = xp.concatenate(list(means))
    widths = [len(mean) for mean in means]
    edges = np.cumsum([0, *widths])
    cross = xp.zeros((edges[-1], edges[-1]), dtype=xp.float64)
    diagonals = np.zeros((len(means), n))
    for rows in _blocks(n, block):
        x = xp.concatenate([read(i, rows).astype(xp.float64) for i in range(len(means))], axis=1) - stacked_means
        cross += x.T @ x
        for i in range(len(means)):
            diagonals[i, rows] = to_host((x[:, edges[i] : edges[i + 1]] ** 2).sum(axis=1))
    squares = to_host(hsic.block_squares(cross, widths))
    return squares - diagonals @ diagonals.T, squares, -diagonals


def _tile_sums(means: Sequence[Array], read: Read, n: int, block: int) -> Sums:
    """From tiles of Gram matrices; a tile above the diagonal stands for its mirror image too."""
    size = len(means)
    products, squares, sums = np.zeros((size, size)), np.zeros((size, size)), np.zeros((size, n))
    spans = list(_blocks(n, block))
    for at, rows in enumerate(spans):
        for columns in spans[at:]:
            diagonal = rows == columns
            tiles = [_tile(means[i], read, i, rows, columns) for i in range(size)]
            xp = namespace(tiles[0])
            own = xp.stack([xp.diagonal(tile).copy() for tile in tiles]) if diagonal else None
            for i, tile in enumerate(tiles):
                if diagonal:
                    xp.fill_diagonal(tile, 0.0)
                else:
                    sums[i, columns] += to_host(tile.sum(axis=0))
                sums[i, rows] += to_host(tile.sum(axis=1))
            flat = xp.stack([tile.ravel() for tile in tiles])
            found = to_host(flat @ flat.T) * (1 if diagonal else 2)
            products += found
            squares += found if own is None else found + to_host(own @ own.T)
    return products, squares, sums


def _tile(mean: Array, read: Read, index: int, rows: slice, columns: slice) -> Array:
    x = read(index, rows)
    return hsic.gram(x, None if rows == columns else read(index, columns), mean=mean)


def _blocks(n: int, block: int) -> Iterator[slice]:
    for start in range(0, n, block):
        yield slice(start, min(start + block, n))
