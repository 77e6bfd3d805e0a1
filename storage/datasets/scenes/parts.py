"""The parts that objects are made of, in the object's own frame: x to the right and y down, both from -1 to 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Paint = Literal["body", "second", "accent", "dark", "light"]
"""`body` has the object's colour and texture, `second` a paler and `accent` a contrasting one; the others are fixed."""


@dataclass(frozen=True)
class Polygon:
    """A convex one."""

    paint: Paint
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Ellipse:
    """With its first radius turned by `turn` degrees clockwise; a `ring` is that much wide to either side."""

    paint: Paint
    x: float
    y: float
    rx: float
    ry: float
    turn: int = 0
    ring: float = 0.0


@dataclass(frozen=True)
class Line:
    """With round ends."""

    paint: Paint
    x0: float
    y0: float
    x1: float
    y1: float
    radius: float


Part = Polygon | Ellipse | Line


def polygon(paint: Paint, *corners: float) -> Polygon:
    """Polygon of corners x0, y0, x1, y1, ..."""
    return Polygon(paint, tuple(zip(corners[::2], corners[1::2], strict=True)))
