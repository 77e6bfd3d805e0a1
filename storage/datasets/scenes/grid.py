"""`scenes-pug`: thirty objects, of which one factor varies at a time while the others stay as they are (as in PUG).

In `scenes-pug-loose` the others are of no help: an object has the colour and the background of another class. A split
is one factor, or all. The sample table has the name of the factor that varies as `subset`, the object as
`character_name`, and every factor's value under its own name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from cvbench.storage.datasets.scenes.columns import Columns
from cvbench.storage.datasets.scenes.draws import Draws
from cvbench.storage.datasets.scenes.factors import BACKGROUNDS, CLASSES, COLOURS, LIGHTS, TEXTURES
from cvbench.storage.datasets.scenes.placed import MOST
from cvbench.storage.datasets.scenes.samples import RANGE, Sample, SceneSet
from cvbench.storage.datasets.scenes.scene import Scene

_FIRST, _FIRST_LOOSE = 9 * RANGE, 53 * RANGE
_OBJECTS = 3  # of each class
_BLURS = 5
_ALONG = {"left": 300, "middle": 500, "right": 700}
_DOWN = {"top": 300, "middle": 500, "bottom": 700}

_VALUES: dict[str, tuple[Callable[[Scene, int], Scene], tuple[int, ...]]] = {
    "background": (lambda scene, at: replace(scene, background=at), tuple(range(len(BACKGROUNDS)))),
    "texture": (lambda scene, at: replace(scene, texture=at), tuple(range(len(TEXTURES)))),
    "colour": (lambda scene, at: replace(scene, colour=at), tuple(range(len(COLOURS)))),
    "size": (lambda scene, at: replace(scene, size=at), tuple(range(200, 1000, 100))),
    "orientation": (lambda scene, at: replace(scene, angle=at), tuple(range(-180, 180, 30))),
    "position": (
        lambda scene, at: replace(scene, x=list(_ALONG.values())[at % 3], y=list(_DOWN.values())[at // 3]),
        tuple(range(9)),
    ),
    "occlusion": (lambda scene, at: replace(scene, hidden=at), tuple(range(0, 70, 10))),
    "light": (lambda scene, at: replace(scene, light=at), tuple(range(len(LIGHTS)))),
    "blur": (lambda scene, at: replace(scene, blur=at), tuple(range(_BLURS))),
    "number": (lambda scene, at: replace(scene, count=at), tuple(range(1, MOST + 1))),
}
"""Factor -> how a scene gets a value of it, and the values."""

FACTORS = tuple(_VALUES)
"""What varies, one at a time."""


def _scenes(split: str, make: Callable[[int, int], Scene]) -> list[Sample]:
    """The samples of one factor, or of all; `make` makes the objects."""
    found = []
    for factor in FACTORS if split == "all" else (split,):
        change, values = _VALUES[factor]
        for kind, name in enumerate(CLASSES):
            for number in range(_OBJECTS):
                scene = make(kind, number)
                found += [Sample(f"{factor}/{name}-{number}/{value}", kind, change(scene, value)) for value in values]
    return found


def columns_of(samples: Sequence[Sample]) -> Columns:
    """The factor that varies, the object, and the position in words."""
    parts = [sample.id.split("/") for sample in samples]
    across, down = ({value: name for name, value in names.items()} for names in (_ALONG, _DOWN))
    places = [f"{down[sample.scene.y]} {across[sample.scene.x]}" for sample in samples]
    return {
        "subset": np.array([part[0] for part in parts], dtype=np.str_),
        "character_name": np.array([part[1] for part in parts], dtype=np.str_),
        "position": np.array(places, dtype=np.str_),
    }


def _object(kind: int, number: int) -> Scene:
    """An object as its class usually is, in the middle."""
    return Scene(
        kind=kind,
        form=number % 2,
        seed=_FIRST + kind * _OBJECTS + number,
        texture=kind,
        colour=kind,
        background=kind,
        mirrored=number == 1,
    )


def _loose(kind: int, number: int) -> Scene:
    """An object in the colour and before the background of two other classes."""
    seed, classes = _FIRST_LOOSE + kind * _OBJECTS + number, len(CLASSES)
    draws = Draws(seed)
    others = {name: (kind + 1 + draws.below(name, classes - 1)) % classes for name in ("colour", "background")}
    return replace(_object(kind, number), seed=seed, colour=others["colour"], background=others["background"])


_EACH = {factor: len(values) * len(CLASSES) * _OBJECTS for factor, (_, values) in _VALUES.items()}

GRID = SceneSet(
    "scenes-pug",
    "one factor varied at a time",
    CLASSES,
    {"all": sum(_EACH.values())} | _EACH,
    lambda split: _scenes(split, _object),
    columns_of,
    whole=("all",),
)
LOOSE = SceneSet(
    "scenes-pug-loose",
    "one factor varied at a time, of objects in the colour and before the background of other classes",
    CLASSES,
    {"all": sum(_EACH.values())} | _EACH,
    lambda split: _scenes(split, _loose),
    columns_of,
    whole=("all",),
)
