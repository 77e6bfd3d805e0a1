"""Does a map keep the neighbours of the features? Per row, exact, a block of rows against all: NumPy or CuPy.

For row i of n, r_X(i, j) = 1 + #{l : |x_i - x_l| < |x_i - x_j|} is the rank of j in space X, and U_k(i) the k nearest
rows in space Y. With trustworthiness T and continuity C as means over i of

    t_i(k) = 1 - 2 / (k (2n - 3k - 1)) * sum_{j in U_k(i)} max(0, r_X(i, j) - k)       Venna & Kaski 2001, n k taken out
    c_i(k): the same, X and Y swapped;  recall_i(k) = |kNN_X(i) and kNN_Y(i)| / k
    purity_i(k): share of the k nearest with the label of i;  accuracy_i(k): 1 if their majority has it

Ranks are counted, not sorted: memory is one strip (block, n) of distances per space. Ties: the smaller index is nearer,
the smaller label wins a vote. Defined for k < n / 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.arrays.array import Array, namespace, to_host
from cvbench.engine.arrays.distances import Rows, squared_distances
from cvbench.engine.arrays.grouped import blocks

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

STRIP_BYTES = 2**26
BLOCK = 2048


def strips(x: Array, queries: I64, strip_bytes: int = STRIP_BYTES) -> Iterator[tuple[slice, Array]]:
    """Squared distances of some rows to all, the rows themselves at infinity: (queries[slice], (b, n) float64).

    Args:
        x: (n, d) of any float type, centred for the sake of rounding.
        queries: (m,) rows.
        strip_bytes: What one strip may hold.
    """
    xp = namespace(x)
    height = max(1, min(BLOCK, strip_bytes // (8 * len(x))))
    for cut in blocks(len(queries), height):
        at = xp.asarray(queries[cut])
        mine = Rows.of(x[at].astype(xp.float64))
        strip = xp.empty((len(at), len(x)))
        for rows in blocks(len(x), BLOCK):
            strip[:, rows] = squared_distances(mine, Rows.of(x[rows].astype(xp.float64)))
        strip[xp.arange(len(at)), at] = xp.inf
        yield cut, strip


def nearest(strip: Array, k: int) -> Array:
    """(b, k) int64 columns of the k smallest of each row, the smallest first; of equal ones the first."""
    xp = namespace(strip)
    found = xp.sort(xp.argpartition(strip, k - 1, axis=1)[:, :k], axis=1)
    order = xp.argsort(xp.take_along_axis(strip, found, axis=1), axis=1, kind="stable")
    return xp.take_along_axis(found, order, axis=1)


def ranks(strip: Array, columns: Array) -> Array:
    """(b, k) int64 rank, from 1, of these columns in each row of distances."""
    xp = namespace(strip)
    targets = xp.take_along_axis(strip, columns, axis=1)
    found = [(strip < targets[:, j : j + 1]).sum(axis=1) for j in range(columns.shape[1])]
    return xp.stack(found, axis=1) + 1


@dataclass(frozen=True, eq=False)
class Kept:
    """For m rows and each k, (m, len(ks)) float64; the class measures by space are NaN without labels."""

    trustworthiness: F64
    continuity: F64
    recall: F64
    purity_features: F64
    purity_map: F64
    accuracy_features: F64
    accuracy_map: F64


def kept_neighbours(x: Array, y: Array, queries: I64, ks: tuple[int, ...], labels: I64 | None = None) -> Kept:
    """The measures of some rows of a map `y` of the features `x`, among all n rows.

    Args:
        x: (n, d).
        y: (n, 2).
        queries: (m,) rows.
        ks: Ascending; NaN where k >= n / 2.
        labels: (n,) int64, dense or not; None: the class measures are NaN.
    """
    n, usable = len(x), tuple(k for k in ks if 2 * k < len(x))
    out = {name: np.full((len(queries), len(ks)), np.nan) for name in Kept.__annotations__}
    if not usable:
        return Kept(**out)
    most = usable[-1]
    for (cut, in_x), (_, in_y) in zip(strips(x, queries), strips(y, queries), strict=True):
        near_x, near_y = nearest(in_x, most), nearest(in_y, most)
        rank_x, rank_y = to_host(ranks(in_x, near_y)), to_host(ranks(in_y, near_x))
        near_x, near_y = to_host(near_x), to_host(near_y)
        shared = near_x[:, :, None] == near_y[:, None, :]
        for at, k in enumerate(usable):
            scale = 2 / (k * (2 * n - 3 * k - 1))
            out["trustworthiness"][cut, at] = 1 - scale * (rank_x[:, :k] - k).clip(min=0).sum(axis=1)
            out["continuity"][cut, at] = 1 - scale * (rank_y[:, :k] - k).clip(min=0).sum(axis=1)
            out["recall"][cut, at] = shared[:, :k, :k].sum(axis=(1, 2)) / k
            if labels is not None:
                for space, near in (("features", near_x), ("map", near_y)):
                    purity, accuracy = votes(labels[near[:, :k]], labels[queries[cut]])
                    out[f"purity_{space}"][cut, at] = purity
                    out[f"accuracy_{space}"][cut, at] = accuracy
    return Kept(**out)


def votes(near: I64, own: I64) -> tuple[F64, F64]:
    """Share of the neighbours' labels (b, k) that are one's own (b,), and whether the most frequent one is: (b,) each.

    >>> votes(np.array([[1, 1, 0], [2, 0, 0]]), np.array([1, 2]))
    (array([0.66666667, 0.33333333]), array([1., 0.]))
    """
    names, dense = np.unique(near, return_inverse=True)
    counts = np.zeros((len(near), len(names)), dtype=np.int64)
    np.add.at(counts, (np.arange(len(near))[:, None], dense.reshape(near.shape)), 1)
    purity = (near == own[:, None]).mean(axis=1)
    return purity, (names[counts.argmax(axis=1)] == own).astype(np.float64)


def distance_order(x: Array, y: Array, queries: I64) -> F64:
    """(m,) float64: Spearman correlation of each row's distances to the other queries in `x` and in `y`; ties by index.

    NaN for fewer than 3 queries.
    """
    if len(queries) < 3:
        return np.full(len(queries), np.nan)
    xp, everyone = namespace(x), np.arange(len(queries))
    order = []
    for space in (x, y):
        found = [to_host(strip) for _, strip in strips(space[xp.asarray(queries)], everyone)]
        matrix = np.concatenate(found)
        order.append(matrix.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable").astype(np.float64))
    m = len(queries) - 1  # the row itself is last in both
    gap = ((order[0] - order[1]) ** 2).sum(axis=1)
    return np.asarray(1 - 6 * gap / (m * (m * m - 1)))
