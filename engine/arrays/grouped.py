"""Labelled rows, sorted by class and read a block at a time: standardised, centred, of unit length, in float64.

Nothing of the size of the input is made: a block is made ready anew whenever it is read. That costs O(block d), little
beside the O(block^2 d) of a product with it, and the input stays as it is stored, in float16 or float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.arrays.array import Array, namespace
from cvbench.engine.arrays.distances import FLOOR

BLOCK = 1024
"""Rows per block, the side of a tile."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows sorted by label, on the host.

    Attributes:
        order: (n,) int64: position p holds row order[p].
        own: (n,) int64 class of each position, 0 <= own < K, ascending.
        counts: (K,) int64 members of each class, none 0.
        labels: (K,) int64 label of each class, ascending.
    """

    order: NDArray[np.int64]
    own: NDArray[np.int64]
    counts: NDArray[np.int64]
    labels: NDArray[np.int64]


def group_rows(labels: NDArray[np.int64]) -> Groups:
    """Sort rows by label, those of one label in their order."""
    names, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    return Groups(order, inverse[order], counts, names)


@dataclass(frozen=True, eq=False)
class Cells:
    """Classes cut into groups that are left out one after the other: whatever is a sum over the rows of each cell gives
    all classes without each group, exactly, from one pass over the rows.

    Attributes:
        rows: Rows sorted by class and then by group; its `own` and `counts` are of cells.
        classes: (cells,) int64 class of each cell, ascending.
        parts: (cells,) int64 group of each cell, 0 <= part < count, -1 for rows that are never left out.
        members: (K,) int64 rows of each class.
        count: How many groups, g.
    """

    rows: Groups
    classes: NDArray[np.int64]
    parts: NDArray[np.int64]
    members: NDArray[np.int64]
    count: int

    @property
    def own(self) -> NDArray[np.int64]:
        """(n,) class of each position."""
        return self.classes[self.rows.own]

    def members_without(self, part: int) -> NDArray[np.int64]:
        """(K,) rows of each class that are not in a group."""
        left = self.members.copy()
        cells = self.of(part)
        left[self.classes[cells]] -= self.rows.counts[cells]
        return left

    def of(self, part: int) -> NDArray[np.int64]:
        """The cells of a group: at most one in a class."""
        return np.flatnonzero(self.parts == part)

    def placed(self, like: Array) -> PlacedCells:
        """Bring what makes sums over classes of sums over cells to where `like` is."""
        xp, parts = namespace(like), range(-1, self.count)
        members = [self.members if part < 0 else self.members_without(part) for part in parts]
        cells = [self.of(part) for part in parts]
        places = xp.asarray(np.concatenate([np.stack([self.classes[one], one]) for one in cells], axis=1))
        ends = np.cumsum([0, *map(len, cells)]).tolist()
        return PlacedCells(
            xp.asarray(self.own),
            xp.asarray(np.stack(members).astype(np.float64)),
            [(places[0, a:b], places[1, a:b]) for a, b in pairwise(ends)] if self.count else [],
        )


@dataclass(frozen=True, eq=False)
class PlacedCells:
    """Cells where the rows are, brought there once.

    Attributes:
        own: (n,) int64 class of each position.
        members: (1 + g, K) float64 rows of each class: of all, then without each group.
        parts: Of the rows that are never left out, then of each group: the classes of its cells, and the cells, int64;
            empty without groups.
    """

    own: Array
    members: Array
    parts: list[tuple[Array, Array]]

    def totals(self, sums: Array) -> Array:
        """(b, K) sums over classes from (b, cells) sums over cells."""
        if not self.parts:
            return sums  # a cell is a class
        total = namespace(sums).zeros((len(sums), self.members.shape[1]))
        for classes, cells in self.parts:
            total[:, classes] += sums[:, cells]
        return total

    def without(self, totals: Array, sums: Array, part: int) -> Array:
        """(b, K) sums over classes without a group; what is left of rounding alone becomes 0.

        Args:
            totals: From `totals`, none negative.
            sums: (b, cells).
            part: The group.
        """
        classes, cells = self.parts[1 + part]
        left = totals.copy()
        left[:, classes] -= sums[:, cells]
        left *= left > FLOOR * totals
        return left


def cells_of(labels: NDArray[np.int64], parts: NDArray[np.int64] | None = None) -> Cells:
    """Cells of rows.

    Args:
        labels: (n,) int64.
        parts: (n,) int64 group of each row, -1 for none; None: no groups.
    """
    names, inverse, members = np.unique(labels, return_inverse=True, return_counts=True)
    if parts is None:
        rows = group_rows(labels)
        return Cells(rows, np.arange(len(names)), np.full(len(names), -1), members, 0)
    count = int(parts.max()) + 1
    rows = group_rows(inverse * (count + 1) + parts + 1)
    return Cells(rows, rows.labels // (count + 1), rows.labels % (count + 1) - 1, members, count)


@dataclass(frozen=True, eq=False)
class Points:
    """Rows of `x` by their position in `groups`, made ready when they are read: (x - shift) * factor.

    With `centre`: then over their length, less `centre`; rows of length 0 stay 0, and `zero` (n,) names them. The
    `order` and `own` of `groups` are here once more, where `x` is.
    """

    x: Array
    groups: Groups
    order: Array
    own: Array
    shift: Array
    factor: Array
    centre: Array | None = None
    zero: Array | None = None

    def at(self, positions: slice | Array) -> Array:
        """(len(positions), d) float64."""
        xp = namespace(self.x)
        values = self.x[self.order[positions]].astype(xp.float64)
        values -= self.shift
        values *= self.factor
        if self.centre is None:
            return values
        length = lengths(values)
        values /= xp.where(length > 0, length, 1.0)
        values -= self.centre
        return xp.where(length > 0, values, 0.0)

    def indicator(self, positions: slice) -> tuple[slice, Array]:
        """The classes that these positions span, and (positions, classes) float64, 1 where one belongs to the other."""
        xp, classes = namespace(self.x), self._spanned(positions)
        return classes, (self.own[positions, None] == xp.arange(classes.start, classes.stop)).astype(xp.float64)

    def sums(self, positions: slice, tile: Array) -> tuple[slice, Array]:
        """The classes that these positions span, and (b, classes) float64 sums of the columns of each.

        Args:
            positions: What the columns of the tile are.
            tile: (b, positions), float32 or float64; either is added up in float64.
        """
        if namespace(tile) is not np:  # one product instead of a sum for each class
            classes, member = self.indicator(positions)
            return classes, tile.astype(np.float64, copy=False) @ member
        classes = self._spanned(positions)
        ends = np.searchsorted(self.groups.own[positions], np.arange(classes.start, classes.stop + 1))
        if tile.flags.c_contiguous:
            return classes, np.add.reduceat(tile, ends[:-1], axis=1, dtype=np.float64)
        parts = [tile[:, a:b].sum(axis=1, dtype=np.float64) for a, b in pairwise(ends.tolist())]
        return classes, np.stack(parts, axis=1)

    def _spanned(self, positions: slice) -> slice:
        own = self.groups.own[positions]
        return slice(int(own[0]), int(own[-1]) + 1)


def prepare(x: Array, groups: Groups, *, standardise: bool, unit: bool, block: int = BLOCK) -> Points:
    """Prepare how rows are read: centred against cancellation, which changes no distance; standardised; of unit length.

    Args:
        x: (n, d).
        groups: Of its rows.
        standardise: z-score of each feature.
        unit: For the cosine, which depends on the origin: no centring but that of the standardisation.
        block: Rows per block.
    """
    xp = namespace(x)
    shift, factor = xp.zeros(x.shape[1]), xp.ones(x.shape[1])

    def read(rows: slice) -> Array:
        return x[rows].astype(xp.float64)

    if standardise:
        shift, deviation = moments(read, len(x), block)
        factor = xp.where(deviation > 0, 1.0 / xp.where(deviation > 0, deviation, 1.0), 0.0)
    elif not unit:
        shift = column_means(read, len(x), block)
    plain = Points(x, groups, xp.asarray(groups.order), xp.asarray(groups.own), shift, factor)
    if not unit:
        return plain
    zero, centre = [], xp.zeros_like(shift)
    for rows in blocks(len(x), block):
        values = plain.at(rows)
        length = lengths(values)
        zero.append(length[:, 0] == 0)
        values /= xp.where(length > 0, length, 1.0)
        centre += values.sum(axis=0)
    return replace(plain, centre=centre / len(x), zero=xp.concatenate(zero))


def moments(read: Callable[[slice], Array], n: int, block: int = BLOCK) -> tuple[Array, Array]:
    """Mean and standard deviation (divisor n) of each column, both (d,) float64; a constant one has exactly 0."""
    mean = column_means(read, n, block)
    square = sum(((read(rows) - mean) ** 2).sum(axis=0) for rows in blocks(n, block))
    return mean, namespace(mean).sqrt(square / n)


def column_means(read: Callable[[slice], Array], n: int, block: int = BLOCK) -> Array:
    """Mean of each column, (d,) float64, by differences to the first row: of a constant column exactly its value."""
    first = read(slice(0, 1))[0]
    return first + sum((read(rows) - first).sum(axis=0) for rows in blocks(n, block)) / n


def longest(points: Points, block: int = BLOCK) -> float:
    """Length of the longest row, 1 if all are 0."""
    found = [lengths(points.at(rows)).max() for rows in blocks(len(points.groups.own), block)]
    return float(namespace(points.x).stack(found).max()) or 1.0


def lengths(values: Array) -> Array:
    """(b, 1) Euclidean lengths of rows (b, d) float64."""
    return namespace(values).sqrt((values * values).sum(axis=1, keepdims=True))


def blocks(n: int, block: int, start: int = 0) -> Iterator[slice]:
    """start <= i < n in runs of `block`; the last may be shorter."""
    for at in range(start, n, block):
        yield slice(at, min(at + block, n))
