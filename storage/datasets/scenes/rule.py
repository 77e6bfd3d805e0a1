"""Seed -> scene: which values occur, and how often. A seed decides all; its last digit is the class.

A class has its own texture in `OWN_TEXTURE` of a hundred scenes, and so on: the texture tells most, the background
little, and the shape all. What else varies is mostly as usual; the constants say in how many of a hundred scenes.
"""

from __future__ import annotations

from collections.abc import Sequence

from cvbench.storage.datasets.scenes.draws import Draws
from cvbench.storage.datasets.scenes.factors import (
    BACKGROUNDS,
    CLASSES,
    COLOURS,
    LARGER,
    LIGHTS,
    SMALLER,
    TEXTURES,
    USUAL_ANGLE,
    USUAL_SIZE,
)
from cvbench.storage.datasets.scenes.scene import Scene

OWN_TEXTURE, OWN_COLOUR, OWN_BACKGROUND = 95, 88, 50
_USUAL_SIZE, _CENTRAL, _UPRIGHT, _RIGHT, _FREE, _EVEN, _SHARP, _ALONE = 90, 90, 94, 88, 93, 86, 96, 96


def usual(kind: int, seed: int) -> Scene:
    """A scene of a class as the seed has it."""
    draws = Draws(seed)
    size, angle = _size(draws), _angle(draws)
    x, y = (_place(draws, axis, size) for axis in "xy")
    return Scene(
        kind=kind,
        form=draws.below("form", 2),
        seed=seed,
        texture=_own(draws, "texture", kind, OWN_TEXTURE, TEXTURES),
        colour=_own(draws, "colour", kind, OWN_COLOUR, COLOURS),
        background=_own(draws, "background", kind, OWN_BACKGROUND, BACKGROUNDS),
        size=size,
        x=x,
        y=y,
        angle=angle,
        mirrored=not draws.chance("looks right", _RIGHT),
        hidden=0 if draws.chance("free", _FREE) else draws.between("hidden", 8, 30),
        light=0 if draws.chance("even", _EVEN) else draws.between("light", 1, len(LIGHTS) - 1),
        blur=0 if draws.chance("sharp", _SHARP) else draws.between("blur", 1, 3),
        count=1 if draws.chance("alone", _ALONE) else draws.between("count", 2, 3),
    )


def class_of(seed: int) -> int:
    """The class that a seed is dealt: every class comes once in ten seeds."""
    return seed % len(CLASSES)


def _own(draws: Draws, name: str, kind: int, percent: int, names: Sequence[str]) -> int:
    """The class's own value, in so many of a hundred, else any other."""
    if draws.chance(f"own {name}", percent):
        return kind
    other = draws.below(name, len(names) - 1)
    return other + (other >= kind)


def _size(draws: Draws) -> int:
    if draws.chance("usual size", _USUAL_SIZE):
        return draws.between("size", *USUAL_SIZE)
    return draws.between("size", *draws.pick("size range", (SMALLER, LARGER)))


def _angle(draws: Draws) -> int:
    if draws.chance("upright", _UPRIGHT):
        return draws.between("angle", -USUAL_ANGLE, USUAL_ANGLE)
    return draws.between("turned", USUAL_ANGLE + 15, 360 - USUAL_ANGLE - 15)


def _place(draws: Draws, axis: str, size: int) -> int:
    """A middle from which the object stays in the image."""
    room = max(0, (1000 - size) // 2)
    near = min(room, 50) if draws.chance("central", _CENTRAL) else room
    return 500 + draws.between(axis, -near, near)
