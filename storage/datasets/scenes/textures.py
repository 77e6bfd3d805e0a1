"""What covers an object: patterns over its own frame, so that they turn and grow with it.

Each is a function (u, v, soft) -> (h, w) in [0, 1], the share of the second tone; u and v go from -1 to 1 over the
object, `soft` is the width of a pixel in their units, over which an edge fades.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cvbench.storage.datasets.scenes.distances import F32
from cvbench.storage.datasets.scenes.draws import hashed
from cvbench.storage.datasets.scenes.factors import TEXTURES

Texture = Callable[[F32, F32, float], F32]

_HALF = np.float32(0.5)


def texture(index: int, u: F32, v: F32, soft: float) -> F32:
    """The pattern of a position in `factors.TEXTURES`."""
    return _TEXTURES[TEXTURES[index]](u, v, soft)


def stripes(u: F32, v: F32, soft: float) -> F32:
    """Slanting."""
    f = 2.6
    return _step(_gap((u + v) * np.float32(f)) - np.float32(0.25), soft * f * 1.4)


def planks(u: F32, v: F32, soft: float) -> F32:
    """Lying."""
    f = 4.0
    row = v * np.float32(f)
    return _step(_gap(row) - np.float32(0.25), soft * f) + u * np.float32(0)


def rings(u: F32, v: F32, soft: float) -> F32:
    """Around the middle."""
    f = 4.2
    return _step(_gap(np.sqrt(u * u + v * v) * np.float32(f)) - np.float32(0.25), soft * f)


def grid(u: F32, v: F32, soft: float) -> F32:
    """Thin lines both ways."""
    f = 3.6
    return _step(np.float32(0.13) - np.minimum(_gap(u * np.float32(f)), _gap(v * np.float32(f))), soft * f)


def zigzag(u: F32, v: F32, soft: float) -> F32:
    """Lines that go up and down."""
    f = 3.2
    return _step(_gap(v * np.float32(f) + _gap(u * np.float32(f)) * np.float32(1.6)) - np.float32(0.25), soft * f * 1.9)


def scales(u: F32, v: F32, soft: float) -> F32:
    """Rows of arcs, each moved by half."""
    f = 3.8
    x, y = _rows(u, v, f)
    r = np.sqrt(x * x + (y - _HALF) * (y - _HALF))
    return _step(np.float32(0.12) - np.abs(r - np.float32(0.48)), soft * f)


def dots(u: F32, v: F32, soft: float) -> F32:
    """Round, in rows."""
    f = 3.4
    x, y = _rows(u, v, f)
    return _step(np.float32(0.29) - np.sqrt(x * x + (y - _HALF) * (y - _HALF)), soft * f)


def bricks(u: F32, v: F32, soft: float) -> F32:
    """Joints between bricks in rows, each moved by half."""
    f = 4.4
    row = np.floor(v * np.float32(f))
    across = _gap(u * np.float32(f / 2) + row * _HALF) * np.float32(2)
    return _step(np.float32(0.11) - np.minimum(_gap(v * np.float32(f)), across), soft * f)


def speckles(u: F32, v: F32, soft: float) -> F32:
    """Spots of many sizes, at random."""
    f = 5.0
    x, y = u * np.float32(f), v * np.float32(f)
    i, j = np.floor(x), np.floor(y)
    at = (i + np.float32(64)).astype(np.uint32), (j + np.float32(64)).astype(np.uint32)
    one, two = hashed(*at, 11), hashed(*at, 12)
    dx, dy = x - i - np.float32(0.3) - one * np.float32(0.4), y - j - np.float32(0.3) - two * np.float32(0.4)
    return _step(np.float32(0.14) + one * np.float32(0.24) - np.sqrt(dx * dx + dy * dy), soft * f)


def checks(u: F32, v: F32, soft: float) -> F32:
    """A chessboard."""
    f = 1.8
    a, b = _gap(u * np.float32(f)) - np.float32(0.25), _gap(v * np.float32(f)) - np.float32(0.25)
    nearer = np.minimum(np.abs(a), np.abs(b))
    return _step(np.where(a * b > 0, nearer, -nearer), soft * f)


def _gap(x: F32) -> F32:
    """Distance to the next whole number, 0 to 1/2."""
    gap: F32 = np.abs(x - np.floor(x + _HALF))
    return gap


def _rows(u: F32, v: F32, f: float) -> tuple[F32, F32]:
    """The place within a cell: -1/2 to 1/2 across and 0 to 1 down; odd rows are moved by half."""
    y = v * np.float32(f)
    row = np.floor(y)
    x = u * np.float32(f) + row * _HALF
    return x - np.floor(x + _HALF), y - row


def _step(x: F32, soft: float) -> F32:
    """0 where x is negative, 1 where it is positive, a ramp of width `soft` between."""
    share: F32 = x * np.float32(1 / soft) + _HALF
    np.maximum(share, np.float32(0), out=share)
    np.minimum(share, np.float32(1), out=share)
    return share


_TEXTURES: dict[str, Texture] = {
    maker.__name__: maker for maker in (stripes, planks, rings, grid, zigzag, scales, dots, bricks, speckles, checks)
}
