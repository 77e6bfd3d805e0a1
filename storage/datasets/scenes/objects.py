"""What each class is made of: its parts from the back to the front, by sub-class."""

from __future__ import annotations

from functools import cache

from cvbench.storage.datasets.scenes.factors import CLASSES
from cvbench.storage.datasets.scenes.parts import Ellipse, Line, Part, polygon

Parts = tuple[Part, ...]


@cache
def parts_of(kind: int, form: int) -> Parts:
    """The parts of a sub-class, from the back to the front."""
    return _MAKERS[CLASSES[kind]](form)


def bird(form: int) -> Parts:
    """Plain, or with a crest."""
    crest: Parts = (
        polygon("accent", 0.46, -0.62, 0.62, -0.98, 0.70, -0.60),
        polygon("accent", 0.32, -0.55, 0.36, -0.95, 0.56, -0.60),
    )
    return (
        polygon("second", -0.45, 0.10, -1.0, -0.18, -0.95, 0.28),
        Line("dark", -0.05, 0.50, -0.10, 0.92, 0.045),
        Line("dark", 0.20, 0.50, 0.20, 0.92, 0.045),
        *(crest if form else ()),
        polygon("accent", 0.75, -0.50, 1.0, -0.32, 0.75, -0.22),
        Ellipse("body", 0.0, 0.15, 0.66, 0.44, 8),
        Ellipse("body", 0.52, -0.36, 0.32, 0.30),
        Ellipse("second", -0.15, 0.12, 0.40, 0.20, 20),
        Ellipse("light", 0.60, -0.42, 0.10, 0.10),
        Ellipse("dark", 0.62, -0.42, 0.055, 0.055),
    )


def boat(form: int) -> Parts:
    """With sails, or with a funnel."""
    hull = polygon("body", -0.95, 0.30, 0.95, 0.30, 0.66, 0.84, -0.66, 0.84)
    stripe = polygon("light", -0.93, 0.34, 0.93, 0.34, 0.88, 0.44, -0.88, 0.44)
    if form:
        return (
            polygon("accent", 0.02, -0.80, 0.32, -0.80, 0.32, -0.1, 0.02, -0.1),
            polygon("dark", 0.02, -0.80, 0.32, -0.80, 0.32, -0.64, 0.02, -0.64),
            polygon("second", -0.58, -0.15, 0.52, -0.15, 0.52, 0.30, -0.58, 0.30),
            Ellipse("light", -0.33, 0.06, 0.11, 0.11),
            Ellipse("light", 0.0, 0.06, 0.11, 0.11),
            Ellipse("light", 0.32, 0.06, 0.11, 0.11),
            hull,
            stripe,
        )
    return (
        Line("dark", -0.02, -0.92, -0.02, 0.30, 0.04),
        polygon("second", 0.06, -0.86, 0.78, 0.16, 0.06, 0.16),
        polygon("light", -0.12, -0.60, -0.12, 0.16, -0.66, 0.16),
        polygon("accent", -0.02, -0.96, 0.24, -0.90, -0.02, -0.82),
        hull,
        stripe,
    )


def butterfly(form: int) -> Parts:
    """With round hind wings, or with tails."""
    parts: list[Part] = []
    for side in (-1, 1):
        hind = (
            Ellipse("second", side * 0.40, 0.42, 0.40, 0.34, side * 35)
            if not form
            else polygon("second", side * 0.06, 0.05, side * 0.66, 0.22, side * 0.72, 0.95, side * 0.30, 0.58)
        )
        parts += [
            hind,
            Ellipse("body", side * 0.50, -0.26, 0.56, 0.40, side * -35),
            Ellipse("light", side * 0.62, -0.36, 0.13, 0.13),
            Ellipse("dark", side * 0.62, -0.36, 0.06, 0.06),
            Line("dark", side * 0.04, -0.52, side * 0.26, -0.90, 0.03),
        ]
    return (*parts, Ellipse("dark", 0.0, 0.06, 0.10, 0.56), Ellipse("dark", 0.0, -0.52, 0.12, 0.12))


def car(form: int) -> Parts:
    """A saloon, or a lorry."""
    wheels: list[Part] = []
    for x in (-0.52, 0.52):
        wheels += [Ellipse("dark", x, 0.52, 0.25, 0.25), Ellipse("light", x, 0.52, 0.11, 0.11)]
    lamp = Ellipse("accent", 0.90, 0.22, 0.08, 0.09)
    if form:
        return (
            polygon("body", -0.97, -0.62, 0.38, -0.62, 0.38, 0.46, -0.97, 0.46),
            polygon("second", 0.42, -0.30, 0.78, -0.30, 0.97, 0.08, 0.97, 0.46, 0.42, 0.46),
            polygon("light", 0.52, -0.20, 0.74, -0.20, 0.86, 0.08, 0.52, 0.08),
            lamp,
            *wheels,
        )
    return (
        polygon("second", -0.62, 0.0, -0.42, -0.46, 0.26, -0.46, 0.56, 0.0),
        polygon("light", -0.48, -0.04, -0.34, -0.36, -0.08, -0.36, -0.08, -0.04),
        polygon("light", 0.04, -0.04, 0.04, -0.36, 0.22, -0.36, 0.42, -0.04),
        polygon("body", -0.97, 0.0, 0.80, 0.0, 0.97, 0.14, 0.97, 0.48, -0.97, 0.48),
        lamp,
        *wheels,
    )


def cup(form: int) -> Parts:
    """On a saucer, or a mug."""
    if form:
        return (
            Ellipse("second", 0.60, 0.06, 0.30, 0.38, 0, 0.08),
            polygon("body", -0.62, -0.62, 0.56, -0.62, 0.56, 0.84, -0.62, 0.84),
            Ellipse("second", -0.03, -0.62, 0.59, 0.17),
            Ellipse("dark", -0.03, -0.60, 0.46, 0.10),
        )
    return (
        Ellipse("second", 0.0, 0.70, 0.94, 0.17),
        Ellipse("second", 0.66, -0.04, 0.26, 0.26, 0, 0.07),
        polygon("body", -0.72, -0.42, 0.66, -0.42, 0.54, 0.30, 0.30, 0.70, -0.36, 0.70, -0.60, 0.30),
        Ellipse("second", -0.03, -0.42, 0.69, 0.19),
        Ellipse("dark", -0.03, -0.40, 0.54, 0.12),
    )


def fish(form: int) -> Parts:
    """With a forked tail, or with a fan and a fin on its back."""
    tail: Parts = (
        polygon("second", -0.48, -0.02, -1.0, -0.58, -0.78, 0.04),
        polygon("second", -0.48, 0.02, -1.0, 0.58, -0.78, -0.04),
    )
    fan: Parts = (
        polygon("second", -0.46, 0.0, -0.90, -0.50, -1.0, 0.0, -0.90, 0.50),
        polygon("second", -0.35, -0.30, -0.10, -0.78, 0.30, -0.70, 0.38, -0.30),
    )
    return (
        *(fan if form else tail),
        polygon("second", -0.05, 0.34, -0.28, 0.74, 0.28, 0.36),
        Ellipse("body", 0.16, 0.0, 0.78, 0.46),
        Line("dark", 0.44, -0.26, 0.38, 0.26, 0.025),
        polygon("accent", 0.02, 0.0, -0.26, -0.14, -0.26, 0.18),
        Ellipse("light", 0.66, -0.12, 0.12, 0.12),
        Ellipse("dark", 0.68, -0.12, 0.06, 0.06),
    )


def flower(form: int) -> Parts:
    """A daisy, or a tulip."""
    stem: Parts = (
        Line("accent", 0.0, 0.0, 0.0, 0.94, 0.055),
        Ellipse("accent", 0.28, 0.62, 0.28, 0.10, -35),
        Ellipse("accent", -0.28, 0.74, 0.28, 0.10, 35),
    )
    if form:
        return (
            *stem,
            polygon("second", -0.28, -0.20, 0.0, -0.98, 0.28, -0.20),
            Ellipse("body", -0.26, -0.36, 0.22, 0.52, -14),
            Ellipse("body", 0.26, -0.36, 0.22, 0.52, 14),
            Ellipse("body", 0.0, -0.22, 0.26, 0.42),
        )
    places = ((0.0, -0.43, 0), (0.37, -0.21, 60), (0.37, 0.21, 120), (0.0, 0.43, 0), (-0.37, 0.21, 60))
    petals = [Ellipse("body", x, y - 0.36, 0.20, 0.28, turn) for x, y, turn in (*places, (-0.37, -0.21, 120))]
    return (*stem, *petals, Ellipse("light", 0.0, -0.36, 0.22, 0.22), Ellipse("dark", 0.0, -0.36, 0.09, 0.09))


def house(form: int) -> Parts:
    """A cottage, or a tower."""
    if form:
        return (
            polygon("body", -0.46, -0.30, 0.46, -0.30, 0.46, 0.92, -0.46, 0.92),
            polygon("second", -0.62, -0.26, 0.0, -0.96, 0.62, -0.26),
            polygon("light", -0.16, -0.08, 0.16, -0.08, 0.16, 0.24, -0.16, 0.24),
            polygon("dark", -0.17, 0.46, 0.17, 0.46, 0.17, 0.92, -0.17, 0.92),
        )
    return (
        polygon("accent", 0.34, -0.86, 0.58, -0.86, 0.58, -0.20, 0.34, -0.20),
        polygon("body", -0.76, -0.10, 0.76, -0.10, 0.76, 0.88, -0.76, 0.88),
        polygon("second", -0.98, -0.04, 0.0, -0.86, 0.98, -0.04),
        polygon("light", -0.56, 0.16, -0.18, 0.16, -0.18, 0.50, -0.56, 0.50),
        Line("dark", -0.37, 0.16, -0.37, 0.50, 0.02),
        polygon("dark", 0.14, 0.26, 0.50, 0.26, 0.50, 0.88, 0.14, 0.88),
    )


def mushroom(form: int) -> Parts:
    """With a broad cap, or a pointed one."""
    stem: Parts = (
        polygon("second", -0.20, -0.10, 0.20, -0.10, 0.30, 0.86, -0.30, 0.86),
        Ellipse("second", 0.0, 0.86, 0.30, 0.08),
    )
    if form:
        return (
            *stem,
            polygon("body", -0.68, 0.16, -0.40, -0.50, 0.0, -0.96, 0.40, -0.50, 0.68, 0.16),
            Ellipse("light", 0.0, -0.48, 0.12, 0.12),
            Ellipse("light", -0.26, -0.12, 0.12, 0.12),
            Ellipse("light", 0.28, -0.10, 0.12, 0.12),
        )
    cap = (-0.96, 0.06, -0.86, -0.34, -0.56, -0.66, -0.20, -0.80, 0.20, -0.80, 0.56, -0.66, 0.86, -0.34, 0.96, 0.06)
    return (
        *stem,
        polygon("body", *cap),
        Ellipse("light", -0.46, -0.22, 0.15, 0.13),
        Ellipse("light", 0.08, -0.46, 0.16, 0.13),
        Ellipse("light", 0.54, -0.18, 0.14, 0.12),
    )


def tree(form: int) -> Parts:
    """With a crown of leaves, or a fir."""
    trunk = polygon("accent", -0.13, 0.20, 0.13, 0.20, 0.18, 0.94, -0.18, 0.94)
    if form:
        return (
            trunk,
            polygon("body", -0.80, 0.60, 0.0, -0.16, 0.80, 0.60),
            polygon("body", -0.64, 0.16, 0.0, -0.56, 0.64, 0.16),
            polygon("body", -0.46, -0.30, 0.0, -0.97, 0.46, -0.30),
        )
    return (
        trunk,
        Ellipse("body", -0.46, 0.02, 0.44, 0.40),
        Ellipse("body", 0.46, 0.02, 0.44, 0.40),
        Ellipse("body", 0.0, -0.40, 0.56, 0.52),
    )


_MAKERS = {maker.__name__: maker for maker in (bird, boat, butterfly, car, cup, fish, flower, house, mushroom, tree)}
