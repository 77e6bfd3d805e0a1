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
from cvbench.engine.arrays.fetch import fetched
from cvbench.engine.arrays.grouped import BLOCK, PlacedCells, blocks, cells_of, prepare

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
    groups, there = cells.rows, cells.placed(x)
    points = prepare(x, groups, standardise=standardise, unit=False, block=block)
    sums = xp.zeros((len(cells.classes), x.shape[1]))
    for rows in blocks(n, block):
        values = points.at(rows)
        its, member = points.indicator(rows)
        sums[its] += member.T @ values
    totals = there.totals(sums.T).T
    every = [_Centres.of(there, totals, sums, part) for part in range(-1, cells.count)]
    found = np.empty((len(every), 2, n))
    for rows in blocks(n, block):
        of = Rows.of(points.at(rows))
        gaps = [gap for each in every for gap in each.distances(of, there.own[rows])]
        found[:, :, groups.order[rows]] = to_host(xp.stack(gaps)).reshape(len(every), 2, -1)
    classes_of = np.empty(n, dtype=np.int64)
    classes_of[groups.order] = cells.own
    aparts = fetched([each.apart() for each in every])
    between = to_host(xp.stack([each.between for each in every]))
    out: list[CentroidDistances] = []
    for part, apart in enumerate(aparts, start=-1):
        kept = slice(None) if part < 0 or parts is None else np.flatnonzero(parts != part)
        own_gap, nearest = found[1 + part][:, kept]
        spread = float(between[1 + part])
        out.append(CentroidDistances(own_gap, nearest, classes_of[kept], cells.members, apart, spread))
    return out


@dataclass(frozen=True, eq=False)
class _Centres:
    """Centroids (K, d) of the classes without one group, and () what `CentroidDistances.between` is."""

    middle: Rows
    between: Array

    @classmethod
    def of(cls, cells: PlacedCells, totals: Array, sums: Array, part: int) -> _Centres:
        """Divide the sums of the classes (K, d), less those (cells, d) of group `part`; -1: of no group."""
        if part >= 0:
            classes, its = cells.parts[1 + part]
            totals = totals.copy()
            totals[classes] -= sums[its]
        weight = cells.members[0][:, None]
        centres = totals / cells.members[1 + part][:, None]
        offset = centres - (weight * centres).sum(axis=0) / weight.sum()
        return cls(Rows.of(centres), (weight * offset**2).sum())

    def distances(self, found: Rows, own: Array) -> tuple[Array, Array]:
        """To the centroid of the own class and to the nearest other one, (b,) each."""
        centres = self.middle.values
        xp = namespace(centres)
        gap = ((found.values - centres[own]) ** 2).sum(axis=1)
        tile = squared_distances(found, self.middle)
        tile[xp.arange(len(own)), own] = xp.inf
        return xp.sqrt(gap * (gap > FLOOR * found.squares)), xp.sqrt(tile.min(axis=1))

    def apart(self) -> Array:
        """(K, K) distances between the centroids."""
        xp, gaps = namespace(self.middle.values), squared_distances(self.middle, self.middle)
        xp.fill_diagonal(gaps, 0.0)
        return xp.sqrt(gaps)


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
