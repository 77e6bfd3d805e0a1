"""Euclidean distances of blocks of centred rows by matrix products, |x|^2 + |y|^2 - 2 x.y: NumPy or CuPy.

Rounding. In float64 what lies below `FLOOR` of the squares it is the difference of is rounding, and taken as 0: so
duplicates are at 0. In float32 the product is twice as fast and errs by about 1e-7 of |x||y|. That is harmless where
the difference is of the size of the squares; rows with a pair closer than `NEAR` of them are computed again in float64.
So a mean of distances errs by less than 1e-6 of itself, whatever the data. On a device all is in float64: the host
would have to ask for the rows that are near, and wait, for every tile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvbench.engine.arrays.array import Array, namespace

FLOOR = 1e-13
NEAR = 1 / 16
TINY = 1e-12
"""Of the longest row: float32 products of rows shorter than this may underflow."""


@dataclass(frozen=True, eq=False)
class Rows:
    """A block of rows: values (b, d) float64, squares (b,) of their lengths; single (b, d) float32 if that suffices,
    on the host alone."""

    values: Array
    squares: Array
    single: Array | None = None

    @classmethod
    def of(cls, values: Array, *, single: bool = False) -> Rows:
        """`values` are (b, d) float64, centred; for `single`, of length 1 at most, the longest of all rows near 1."""
        squares = (values * values).sum(axis=1)
        wanted = single and namespace(values) is np and bool(squares.min() > TINY**2)
        return cls(values, squares, values.astype(np.float32) if wanted else None)

    def at(self, index: Array) -> Rows:
        """Some of the rows, in float64."""
        return Rows(self.values[index], self.squares[index])


def distances(x: Rows, y: Rows) -> Array:
    """(b, c) distances: float32 if both blocks have it, else float64. `y is x` sets the diagonal to 0 exactly."""
    xp = namespace(x.values)
    if x.single is None or y.single is None:
        tile = squared_distances(x, y)
    else:
        across = x.squares.astype(np.float32)[:, None]
        tile = x.single @ y.single.T
        tile *= -2.0
        tile += across
        tile += y.squares.astype(np.float32)
        if y is x:
            np.fill_diagonal(tile, np.inf)  # is not near
        near = np.flatnonzero((tile < NEAR * across).any(axis=1))
        if len(near):
            tile[near] = squared_distances(x.at(near), y)
    if y is x:
        xp.fill_diagonal(tile, 0.0)
    return xp.sqrt(tile, out=tile)


def squared_distances(x: Rows, y: Rows) -> Array:
    """(b, c) float64 squared distances."""
    across = x.squares[:, None]
    tile = x.values @ y.values.T
    tile *= -2.0
    tile += across
    tile += y.squares
    tile *= tile > FLOOR * across  # nothing below 0 is left
    return tile
