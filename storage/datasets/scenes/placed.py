"""Where the objects of a scene stand in an image, and the distances to their parts there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cvbench.storage.datasets.scenes.angles import cosine, sine
from cvbench.storage.datasets.scenes.birds import species_parts
from cvbench.storage.datasets.scenes.distances import (
    F32,
    Point,
    Window,
    to_ellipse,
    to_line,
    to_polygon,
    window,
)
from cvbench.storage.datasets.scenes.draws import Draws
from cvbench.storage.datasets.scenes.objects import parts_of
from cvbench.storage.datasets.scenes.parts import Line, Part, Polygon
from cvbench.storage.datasets.scenes.scene import Scene

_LAYOUTS: dict[int, tuple[tuple[int, int], ...]] = {
    1: ((0, 0),),
    2: ((-24, -4), (24, 4)),
    3: ((-24, 16), (24, 16), (0, -24)),
    4: ((-24, -24), (24, -24), (-24, 24), (24, 24)),
    5: ((-27, -27), (27, -27), (-27, 27), (27, 27), (0, 0)),
}
"""Middles of several objects, in hundredths of the image's edge from the first object's own place."""

_SHARES = {1: 1.0, 2: 0.68, 3: 0.62, 4: 0.58, 5: 0.5}
"""How large each of several is, against one alone."""

MOST = max(_LAYOUTS)


@dataclass(frozen=True)
class Place:
    """An object's frame in the image.

    Attributes:
        middle: Pixels from the left and the top.
        a, b: Pixels that one unit to the right, and one down, of the object's frame become; orthogonal.
        unit: Pixels of a unit, whatever its direction.
    """

    middle: Point
    a: Point
    b: Point
    unit: float

    def point(self, x: float, y: float) -> Point:
        """A point of the object in pixels."""
        return (
            self.middle[0] + x * self.a[0] + y * self.b[0],
            self.middle[1] + x * self.a[1] + y * self.b[1],
        )

    def vector(self, x: float, y: float) -> Point:
        """A direction of the object in pixels."""
        return x * self.a[0] + y * self.b[0], x * self.a[1] + y * self.b[1]

    def inside(self, at: Window) -> tuple[F32, F32]:
        """(h, w) each: the pixels in the object's own frame."""
        dx, dy = at.xs - np.float32(self.middle[0]), at.ys - np.float32(self.middle[1])
        return _along(dx, dy, self.a), _along(dx, dy, self.b)


def places(scene: Scene, size: int) -> list[Place]:
    """The objects of a scene, the first at its own place where there is one only."""
    draws = Draws(scene.seed)
    share = _SHARES[scene.count]
    unit = scene.size / 2000 * share * size
    stretch = draws.between("wide", 88, 100) / 100, draws.between("high", 88, 100) / 100
    found = []
    for number, (right, down) in enumerate(_LAYOUTS[scene.count]):
        angle = scene.angle + (draws.between(f"angle {number}", -8, 8) if number else 0)
        c, s, side = cosine(angle), sine(angle), -1 if scene.mirrored else 1
        x, y = _within(scene.x / 1000 + right / 100, scene.count), _within(scene.y / 1000 + down / 100, scene.count)
        a = side * unit * stretch[0] * c, side * unit * stretch[0] * s
        b = -unit * stretch[1] * s, unit * stretch[1] * c
        found.append(Place((x * size, y * size), a, b, unit))
    return found


def object_parts(scene: Scene) -> tuple[Part, ...]:
    """The parts of its object, from the back to the front."""
    return species_parts(scene.form) if scene.kind < 0 else parts_of(scene.kind, scene.form)


def part_window(part: Part, place: Place, margin: float, size: int) -> Window | None:
    """The pixels around a part, `margin` more on all sides; None if it is not in the image."""
    if isinstance(part, Polygon):
        points = [place.point(x, y) for x, y in part.points]
    elif isinstance(part, Line):
        points, margin = (
            [place.point(part.x0, part.y0), place.point(part.x1, part.y1)],
            margin + part.radius * place.unit,
        )
    else:
        points, margin = [place.point(part.x, part.y)], margin + (max(part.rx, part.ry) + part.ring) * place.unit
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return window((min(xs) - margin, min(ys) - margin), (max(xs) + margin, max(ys) + margin), size)


def part_distance(part: Part, place: Place, at: Window) -> F32:
    """(h, w) distances in pixels, positive inside."""
    if isinstance(part, Polygon):
        return to_polygon([place.point(x, y) for x, y in part.points], at)
    if isinstance(part, Line):
        ends = place.point(part.x0, part.y0), place.point(part.x1, part.y1)
        return to_line(*ends, part.radius * place.unit, at)
    c, s = cosine(part.turn), sine(part.turn)
    first, second = place.vector(c, s), place.vector(-s, c)
    one, two = _length(first), _length(second)
    along, radii = (first[0] / one, first[1] / one), (part.rx * one, part.ry * two)
    distance = to_ellipse(place.point(part.x, part.y), radii, along, at)
    return np.float32(part.ring * place.unit) - np.abs(distance) if part.ring else distance


def _within(place: float, count: int) -> float:
    """A middle that keeps several objects in the image."""
    return place if count == 1 else min(0.8, max(0.2, place))


def _length(vector: Point) -> float:
    return math.sqrt(vector[0] * vector[0] + vector[1] * vector[1])


def _along(dx: F32, dy: F32, axis: Point) -> F32:
    squared = axis[0] * axis[0] + axis[1] * axis[1]
    return dx * np.float32(axis[0] / squared) + dy * np.float32(axis[1] / squared)
