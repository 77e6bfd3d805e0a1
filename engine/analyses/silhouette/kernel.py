"""Silhouette of labelled rows: arrays in, arrays out, NumPy or CuPy. The n x n distances are never held.

    a_i = mean distance of i to the other members of its class, divisor n_c - 1
    b_i = least mean distance of i to the members of another class
    s_i = (b_i - a_i) / max(a_i, b_i);  0 if i is alone in its class, or a = b = 0      Rousseeuw 1987, equation 1

Sums of distances to every class are all it takes. Squared Euclidean and cosine have them in closed form, O(n K d):

    sum_j |x - x_j|^2     = n_c |x|^2 + Q_c - 2 x . X_c     X_c, Q_c: sums over the class of x_j and of |x_j|^2
    sum_j 1 - cos(x, x_j) = half of that for unit vectors; a zero vector is at distance 1 from every other

Euclidean distances have none: tiles of |x|^2 + |y|^2 - 2 x.y by matrix products, each also its mirror image.

With the classes cut into g groups, the sums over each part of a class give besides s without each group, exactly, as
if these rows were not there: the sum over the class less that over the part. One pass over the distances for all.

Rounding: rows are read a block at a time as they are stored, then centred in float64, in which the rest is done. Only
the Euclidean tiles of features stored in float32 or float16 are in float32, on the host, where
`cvbench.engine.arrays.distances` says that it is harmless: s is within 1e-6 then, else within 1e-12.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.arrays.array import Array, namespace, to_host
from cvbench.engine.arrays.distances import FLOOR, Rows, distances
from cvbench.engine.arrays.grouped import BLOCK, Points, blocks, cells_of, longest, prepare

SYMMETRIC_BYTES = 2**28
"""Half of the tiles suffice if the sums of all rows, (n, K) or (n, g K), are held: as long as these take 256 MB."""


def silhouette_samples(
    x: Array,
    labels: NDArray[np.int64],
    *,
    metric: str = "euclidean",
    standardise: bool = False,
    rows: NDArray[np.int64] | None = None,
    parts: NDArray[np.int64] | None = None,
    block: int = BLOCK,
) -> NDArray[np.float64]:
    """s of some rows against all rows: what these rows have in the silhouette of all, up to rounding.

    Memory: `x`, a few blocks (block, d) and a tile (block, block) of float64. Besides, Euclidean: (n, K) float64 sums
    up to `SYMMETRIC_BYTES`, else (block, K); closed forms: (K, d) and (block, K) float64. With g groups g K for each K.

    Args:
        x: (n, d) of any float type, finite.
        labels: (n,) int64, at least two different ones.
        metric: One of `options.METRICS`.
        standardise: Each feature less its mean, over its standard deviation; a constant feature becomes 0.
        rows: (m,) int64 rows to score, in any order; None: all.
        parts: (n,) int64 group of each row, 0 <= group < g, -1 for none; a class must keep a row without any group.
        block: Rows per block.

    Returns:
        (m,) float64 on the host, in the order of `rows`. With `parts` (1 + g, m): of all rows, then without each group,
        whose own rows have NaN there.
    """
    cells = cells_of(labels, parts)
    place = np.empty(len(labels), dtype=np.int64)
    place[cells.rows.order] = np.arange(len(labels))
    wanted = place if rows is None else place[rows]
    queries = np.unique(wanted)
    points = prepare(x, cells.rows, standardise=standardise, unit=metric == "cosine", block=block)
    sums = {"euclidean": euclidean_sums, "cosine": cosine_sums, "sqeuclidean": squared_sums}[metric]
    xp, there, at = namespace(x), cells.placed(x), namespace(x).asarray(queries)
    found = np.empty((1 + cells.count, len(queries)))
    for cut, part in sums(points, queries, block):
        own, totals = there.own[at[cut]], there.totals(part)
        left = (there.without(totals, part, out) for out in range(cells.count))
        s = [scores(its, own, there.members[out]) for out, its in enumerate(itertools.chain([totals], left))]
        found[:, cut] = to_host(xp.stack(s))
    its = cells.parts[cells.rows.own[queries]]
    for out in range(cells.count):
        found[1 + out, its == out] = np.nan
    found = found[:, np.searchsorted(queries, wanted)]
    return found[0] if parts is None else found


def scores(sums: Array, own: Array, counts: Array) -> Array:
    """s from sums of distances.

    Args:
        sums: (m, K) float64 sum of distances to the members of each class, the row itself at 0.
        own: (m,) int64 class of each row.
        counts: (K,) float64 members of each class.

    Returns:
        (m,) float64.
    """
    xp, members = namespace(sums), counts[own]
    rows, columns = xp.arange(len(sums)), own
    means = sums / counts
    a = sums[rows, columns] / xp.maximum(members - 1, 1)
    means[rows, columns] = xp.inf
    b = means.min(axis=1)
    larger = xp.maximum(a, b)
    return xp.where(members > 1, (b - a) / xp.where(larger == 0, 1.0, larger), 0.0)


def squared_sums(points: Points, queries: NDArray[np.int64], block: int = BLOCK) -> Iterator[tuple[slice, Array]]:
    """Sums of squared distances to the members of each class: (queries[slice], (b, K) float64), block by block.

    Rows in `points.zero` are left out of the sums.
    """
    xp, groups = namespace(points.x), points.groups
    size, width = len(groups.counts), points.x.shape[1]
    totals, squares, members = xp.zeros((size, width)), xp.zeros(size), xp.zeros(size)
    wanted = xp.asarray(queries)
    for rows in blocks(len(groups.own), block):
        x = points.at(rows)
        classes, member = points.indicator(rows)
        totals[classes] += member.T @ x
        squares[classes] += member.T @ (x * x).sum(axis=1)
        members[classes] += member.sum(axis=0) if points.zero is None else member.T @ (~points.zero[rows] * 1.0)
    for cut in blocks(len(queries), block):
        x = points.at(wanted[cut])
        scale = (x * x).sum(axis=1)[:, None] * members + squares
        sums = x @ totals.T
        sums *= -2.0
        sums += scale
        sums *= sums > FLOOR * scale
        yield cut, sums


def cosine_sums(points: Points, queries: NDArray[np.int64], block: int = BLOCK) -> Iterator[tuple[slice, Array]]:
    """Sums of 1 - cosine to the members of each class; `points` prepared with `unit`."""
    xp, groups = namespace(points.x), points.groups
    everyone = xp.asarray(groups.counts.astype(np.float64))
    zero = to_host(points.zero)
    zeros = xp.asarray(np.bincount(groups.own[zero], minlength=len(everyone)).astype(np.float64))
    for cut, sums in squared_sums(points, queries, block):
        sums *= 0.5
        sums += zeros
        at = np.flatnonzero(zero[queries[cut]])
        if len(at):
            sums[xp.asarray(at)] = everyone
            sums[xp.asarray(at), xp.asarray(groups.own[queries[cut][at]])] -= 1.0  # not from itself
        yield cut, sums


def euclidean_sums(points: Points, queries: NDArray[np.int64], block: int = BLOCK) -> Iterator[tuple[slice, Array]]:
    """Sums of distances to the members of each class: (queries[slice], (b, K) float64); all at once if by symmetry.

    In units of the longest row, which s does not depend on.
    """
    xp, groups = namespace(points.x), points.groups
    n, size = len(groups.own), len(groups.counts)
    single, unit = points.x.dtype.itemsize < 8, longest(points, block)

    def read(positions: slice | Array) -> Rows:
        return Rows.of(points.at(positions) / unit, single=single)

    if len(queries) == n and n * size * 8 <= SYMMETRIC_BYTES:
        yield slice(0, n), _all_by_symmetry(points, read, block)
        return
    wanted = xp.asarray(queries)
    for cut in blocks(len(queries), block):
        x = read(wanted[cut])
        sums = xp.zeros((len(x.values), size))
        for rows in blocks(n, block):
            tile = distances(x, read(rows))
            first, last = np.searchsorted(queries[cut], [rows.start, rows.stop]).tolist()  # they ascend
            if first < last:
                tile[xp.arange(first, last), wanted[cut][first:last] - rows.start] = 0.0
            classes, part = points.sums(rows, tile)
            sums[:, classes] += part
        yield cut, sums


def _all_by_symmetry(points: Points, read: Callable[[slice], Rows], block: int) -> Array:
    """(n, K) float64: a tile above the diagonal is summed along its rows and along its columns."""
    xp, groups = namespace(points.x), points.groups
    n = len(groups.own)
    sums = xp.zeros((n, len(groups.counts)))
    for rows in blocks(n, block):
        x = read(rows)
        classes, part = points.sums(rows, distances(x, x))
        sums[rows, classes] += part
        for columns in blocks(n, block, start=rows.stop):
            tile = distances(x, read(columns))
            for mine, others, seen in ((rows, columns, tile), (columns, rows, tile.T)):
                classes, part = points.sums(others, seen)
                sums[mine, classes] += part
    return sums
