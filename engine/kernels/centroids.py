"""Distances of labelled rows to the centroids of the classes: arrays in, arrays out, NumPy or CuPy.

What the cheap companions of the silhouette are made of, O(n K d) in two passes over the rows, a block at a time: the
sums of the classes, then the distances to their centroids. The n x n distances are not needed.

    s_i = (b_i - a_i) / max(a_i, b_i)      a_i, b_i: to the own, to the nearest other centroid     Hruschka 2004
    DB = mean_c max_{d != c} (S_c + S_d) / M_cd      S_c: mean of a_i, M_cd: between centroids     Davies & Bouldin 1979
    CH = (sum_c n_c |m_c - m|^2 / (K - 1)) / (sum_i a_i^2 / (n - K))                            Calinski & Harabasz 1974

s is the simplified silhouette: another number than the silhouette, 0 for a row that is alone in its class. In DB a pair
of classes with the same centroid is left out, as in scikit-learn. CH is undefined (NaN) if every row is its centroid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.array import Array, namespace, to_host
from cvbench.engine.kernels.distances import FLOOR, Rows, squared_distances
from cvbench.engine.kernels.grouped import BLOCK, blocks, group_rows, prepare

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

PAIR_BYTES = 2**25
"""What the pairs of classes of some resamples may take at once in `davies_bouldin`."""


@dataclass(frozen=True, eq=False)
class CentroidDistances:
    """Of n rows in K classes, all on the host, rows in the order of the input.

    Attributes:
        own, nearest: (n,) float64 distance to the centroid of the own, and to the nearest of another class.
        classes: (n,) int64, 0 <= class < K, in the order of the labels.
        counts: (K,) int64 rows of each class.
        apart: (K, K) float64 distances between centroids.
        between: Sum over rows of the squared distance of their centroid to the mean of all rows.
    """

    own: F64
    nearest: F64
    classes: I64
    counts: I64
    apart: F64
    between: float


def centroid_distances(x: Array, labels: I64, *, standardise: bool = False, block: int = BLOCK) -> CentroidDistances:
    """Distances to the centroids.

    Memory: `x`, a few blocks (block, d), (K, d), (K, K) and (block, K) float64, and two numbers per row.

    Args:
        x: (n, d) of any float type, finite.
        labels: (n,) int64, at least two different ones.
        standardise: Each feature less its mean, over its standard deviation; a constant feature becomes 0.
        block: Rows per block.
    """
    xp, groups = namespace(x), group_rows(labels)
    points, n = prepare(x, groups, standardise=standardise, unit=False, block=block), len(labels)
    totals = xp.zeros((len(groups.counts), x.shape[1]))
    for rows in blocks(n, block):
        values = points.at(rows)
        classes, member = groups.indicator(rows, values)
        totals[classes] += member.T @ values
    members = xp.asarray(groups.counts.astype(np.float64))[:, None]
    centres = totals / members
    offset = centres - totals.sum(axis=0) / n
    middle = Rows.of(centres)
    own, nearest = np.empty(n), np.empty(n)
    for rows in blocks(n, block):
        found = Rows.of(points.at(rows))
        at = xp.asarray(groups.own[rows])
        gap = ((found.values - centres[at]) ** 2).sum(axis=1)
        own[groups.order[rows]] = to_host(xp.sqrt(gap * (gap > FLOOR * found.squares)))
        tile = squared_distances(found, middle)
        tile[xp.arange(len(at)), at] = xp.inf
        nearest[groups.order[rows]] = to_host(xp.sqrt(tile.min(axis=1)))
    apart = squared_distances(middle, middle)
    xp.fill_diagonal(apart, 0.0)
    classes_of = np.empty(n, dtype=np.int64)
    classes_of[groups.order] = groups.own
    between = float((members * offset**2).sum())
    return CentroidDistances(own, nearest, classes_of, groups.counts, to_host(xp.sqrt(apart)), between)


def simplified_silhouette(found: CentroidDistances) -> F64:
    """(n,) float64."""
    larger = np.maximum(found.own, found.nearest)
    s = (found.nearest - found.own) / np.where(larger == 0, 1.0, larger)
    return np.where(found.counts[found.classes] > 1, s, 0.0)


def davies_bouldin(spread: F64, apart: F64) -> F64:
    """DB of each of r sets of spreads.

    Args:
        spread: (r, K) mean distance to the own centroid.
        apart: (K, K) distances between centroids.

    Returns:
        (r,) float64.
    """
    closeness = 1 / np.where(apart > 0, apart, np.inf)  # 0 for a class and itself
    step = max(1, PAIR_BYTES // (8 * apart.size))
    worst = [
        ((part[:, :, None] + part[:, None, :]) * closeness).max(axis=2).mean(axis=1)
        for part in (spread[rows] for rows in blocks(len(spread), step))
    ]
    return np.concatenate(worst)


def calinski_harabasz(squares: F64, counts: I64, between: float) -> F64:
    """CH of each of r sets of (r, K) mean squared distances to the own centroid, classes of `counts` rows: (r,)."""
    within = squares @ counts.astype(np.float64)
    scale = between * (counts.sum() - len(counts)) / (len(counts) - 1)
    return np.where(within > 0, scale / np.where(within > 0, within, 1.0), np.nan)
