"""Distances of labelled rows to the centroids of the classes: arrays in, arrays out, NumPy or CuPy.

What the cheap companions of the silhouette are made of, O(n K d) in two passes over the rows, a block at a time: the
sums of the classes, then the distances to their centroids. The n x n distances are not needed.

    s_i = (b_i - a_i) / max(a_i, b_i)      a_i, b_i: to the own, to the nearest other centroid     Hruschka 2004
    DB = mean_c max_{d != c} (S_c + S_d) / M_cd      S_c: mean of a_i, M_cd: between centroids     Davies & Bouldin 1979
    CH = (sum_c n_c |m_c - m|^2 / (K - 1)) / (sum_i a_i^2 / (n - K))                            Calinski & Harabasz 1974

s is the simplified silhouette: another number than the silhouette, 0 for a row that is alone in its class. In DB a pair
of classes with the same centroid is left out, as in scikit-learn. CH is undefined (NaN) if every row is its centroid.

With the classes cut into g groups, the same besides without each group, its rows neither in the centroids nor among
those whose distance is taken: the sums are found once, the distances 1 + g times, each class keeping its full weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.arrays.array import Array, namespace, to_host
from cvbench.engine.arrays.distances import FLOOR, Rows, squared_distances
from cvbench.engine.arrays.grouped import BLOCK, Cells, blocks, cells_of, prepare

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CentroidDistances:
    """Distances of n rows in K classes, all on the host, rows in the order of the input.

    Attributes:
        own, nearest: (n,) float64 distance to the centroid of the own, and to the nearest of another class.
        classes: (n,) int64, 0 <= class < K, in the order of the labels.
        counts: (K,) int64 rows of each class, those that are left out included: its weight.
        apart: (K, K) float64 distances between centroids.
        between: Sum over rows of the squared distance of their centroid to the mean of all rows.
    """

    own: F64
    nearest: F64
    classes: I64
    counts: I64
    apart: F64
    between: float


def centroid_distances(
    x: Array, labels: I64, *, standardise: bool = False, parts: I64 | None = None, block: int = BLOCK
) -> list[CentroidDistances]:
    """Distances to the centroids: of all rows, then without each group.

    Memory: `x`, a few blocks (block, d), for each group (K, d) and (K, K) and two numbers per row, float64.

    Args:
        x: (n, d) of any float type, finite.
        labels: (n,) int64, at least two different ones.
        standardise: Each feature less its mean, over its standard deviation; a constant feature becomes 0.
        parts: (n,) int64 group of each row, 0 <= group < g, -1 for none; a class must keep a row without any group.
        block: Rows per block.

    Returns:
        1 + g; without `parts` one.
    """
    xp, cells, n = namespace(x), cells_of(labels, parts), len(labels)
    groups, own = cells.rows, cells.own
    points = prepare(x, groups, standardise=standardise, unit=False, block=block)
    sums = xp.zeros((len(cells.classes), x.shape[1]))
    for rows in blocks(n, block):
        values = points.at(rows)
        its, member = groups.indicator(rows, values)
        sums[its] += member.T @ values
    totals = cells.totals(sums.T).T
    every = [_Centres.of(cells, totals, sums, part) for part in range(-1, cells.count)]
    found = np.empty((len(every), 2, n))
    for rows in blocks(n, block):
        of = Rows.of(points.at(rows))
        found[:, :, groups.order[rows]] = [each.distances(of, own[rows]) for each in every]
    classes_of = np.empty(n, dtype=np.int64)
    classes_of[groups.order] = own
    out: list[CentroidDistances] = []
    for part, each in enumerate(every, start=-1):
        kept = slice(None) if part < 0 or parts is None else np.flatnonzero(parts != part)
        gaps = squared_distances(each.middle, each.middle)
        xp.fill_diagonal(gaps, 0.0)
        apart = to_host(xp.sqrt(gaps))
        own_gap, nearest = found[1 + part][:, kept]
        out.append(CentroidDistances(own_gap, nearest, classes_of[kept], cells.members, apart, each.between))
    return out


@dataclass(frozen=True, eq=False)
class _Centres:
    """Centroids (K, d) of the classes without one group, and what `CentroidDistances.between` is."""

    middle: Rows
    between: float

    @classmethod
    def of(cls, cells: Cells, totals: Array, sums: Array, part: int) -> _Centres:
        """Divide the sums of the classes (K, d), less those (cells, d) of group `part`; -1: of no group."""
        xp = namespace(sums)
        if part >= 0:
            out = cells.of(part)
            totals = totals.copy()
            totals[xp.asarray(cells.classes[out])] -= sums[xp.asarray(out)]
        left = cells.members if part < 0 else cells.members_without(part)
        weight = xp.asarray(cells.members.astype(np.float64))[:, None]
        centres = totals / xp.asarray(left.astype(np.float64))[:, None]
        offset = centres - (weight * centres).sum(axis=0) / weight.sum()
        return cls(Rows.of(centres), float((weight * offset**2).sum()))

    def distances(self, found: Rows, own: I64) -> tuple[F64, F64]:
        """To the centroid of the own class and to the nearest other one, (b,) each on the host."""
        centres = self.middle.values
        xp, at = namespace(centres), namespace(centres).asarray(own)
        gap = ((found.values - centres[at]) ** 2).sum(axis=1)
        tile = squared_distances(found, self.middle)
        tile[xp.arange(len(at)), at] = xp.inf
        return to_host(xp.sqrt(gap * (gap > FLOOR * found.squares))), to_host(xp.sqrt(tile.min(axis=1)))


def simplified_silhouette(found: CentroidDistances) -> F64:
    """(n,) float64."""
    larger = np.maximum(found.own, found.nearest)
    s = (found.nearest - found.own) / np.where(larger == 0, 1.0, larger)
    return np.where(found.counts[found.classes] > 1, s, 0.0)


def class_means(values: F64, found: CentroidDistances) -> F64:
    """(K,) means of (n,) values over the rows of each class."""
    return np.asarray(np.bincount(found.classes, values) / np.bincount(found.classes))


def davies_bouldin(found: CentroidDistances) -> float:
    """DB."""
    spread = class_means(found.own, found)
    closeness = 1 / np.where(found.apart > 0, found.apart, np.inf)  # 0 for a class and itself
    return float(((spread[:, None] + spread) * closeness).max(axis=1).mean())


def calinski_harabasz(found: CentroidDistances) -> float:
    """CH; NaN if every row is its centroid."""
    within = float(class_means(found.own**2, found) @ found.counts)
    scale = found.between * (found.counts.sum() - len(found.counts)) / (len(found.counts) - 1)
    return scale / within if within > 0 else float("nan")
