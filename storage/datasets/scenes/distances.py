"""Signed distances from pixels to shapes, positive inside: what anti-aliased coverage is made of.

    coverage = min(1, max(0, distance + 1/2))       of a pixel of edge 1

Exact inside of a convex polygon and beside its edges, and for lines; to the first order for ellipses (f / |grad f|).
Every operation is one that IEEE 754 defines to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Point = tuple[float, float]


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels: their middles as a row (1, w) and a column (h, 1), float32."""

    top: int
    left: int
    xs: F32
    ys: F32

    @property
    def right(self) -> int:
        """The first column behind it."""
        return self.left + int(self.xs.shape[1])

    @property
    def bottom(self) -> int:
        """The first row below it."""
        return self.top + int(self.ys.shape[0])

    @property
    def rows(self) -> slice:
        """Its rows in the image."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """Its columns in the image."""
        return slice(self.left, self.right)


def window(low: Point, high: Point, size: int) -> Window | None:
    """The pixels of an image of `size` that a rectangle touches; None if there is none."""
    left, top = max(0, math.floor(low[0])), max(0, math.floor(low[1]))
    right, bottom = min(size, math.ceil(high[0])), min(size, math.ceil(high[1]))
    if right <= left or bottom <= top:
        return None
    middles = _middles(size)
    return Window(top, left, middles[None, left:right], middles[top:bottom, None])


@cache
def _middles(size: int) -> F32:
    """(S,) the middles of pixels."""
    return np.arange(size, dtype=np.float32) + np.float32(0.5)


def to_polygon(points: Sequence[Point], at: Window) -> F32:
    """(h, w) distances to a convex polygon, its corners in either order."""
    area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in _edges(points))
    sign = 1.0 if area > 0 else -1.0
    found: F32 | None = None
    for (x0, y0), (x1, y1) in _edges(points):
        length = math.sqrt((x1 - x0) * (x1 - x0) + (y1 - y0) * (y1 - y0))
        if length == 0:
            continue
        nx, ny = sign * (y0 - y1) / length, sign * (x1 - x0) / length
        edge = at.xs * np.float32(nx) + (at.ys * np.float32(ny) - np.float32(nx * x0 + ny * y0))
        found = edge if found is None else np.minimum(found, edge, out=found)
    assert found is not None
    return found


def to_ellipse(middle: Point, radii: Point, along: Point, at: Window) -> F32:
    """(h, w) distances to an ellipse.

    Args:
        along: The direction of its first radius, of length 1.
    """
    c, s = along
    rx, ry = radii
    dx, dy = at.xs - np.float32(middle[0]), at.ys - np.float32(middle[1])
    u = (dx * np.float32(c) + dy * np.float32(s)) * np.float32(1 / rx)
    v = (dy * np.float32(c) - dx * np.float32(s)) * np.float32(1 / ry)
    k = u * u + v * v
    if rx == ry:
        return np.float32(rx) - np.sqrt(k) * np.float32(rx)
    u *= np.float32(1 / rx)
    v *= np.float32(1 / ry)
    u *= u
    v *= v
    u += v
    np.sqrt(u, out=u)
    np.sqrt(k, out=k)
    u += np.float32(1e-6)
    return k * (np.float32(1) - k) / u


def to_line(start: Point, end: Point, radius: float, at: Window) -> F32:
    """(h, w) distances to a thick line with round ends."""
    ex, ey = end[0] - start[0], end[1] - start[1]
    squared = ex * ex + ey * ey or 1.0
    dx, dy = at.xs - np.float32(start[0]), at.ys - np.float32(start[1])
    along = dx * np.float32(ex / squared) + dy * np.float32(ey / squared)
    np.minimum(np.maximum(along, np.float32(0), out=along), np.float32(1), out=along)
    x = dx - along * np.float32(ex)
    y = dy - along * np.float32(ey)
    x *= x
    y *= y
    x += y
    return np.float32(radius) - np.sqrt(x, out=x)


def covered(distance: F32, more: float = 0.0) -> F32:
    """(h, w) coverage in [0, 1] of the shape made `more` pixels wider on all sides."""
    share: F32 = distance + np.float32(0.5 + more)
    np.maximum(share, np.float32(0), out=share)
    np.minimum(share, np.float32(1), out=share)
    return share


def _edges(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    return list(zip(points, [*points[1:], points[0]], strict=True))
