"""Seven data sets to transfer to: scenes of any object, whose label is one factor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cvbench.storage.datasets.scenes.draws import Draws
from cvbench.storage.datasets.scenes.factors import BACKGROUNDS, CLASSES, COLOURS, SUBCLASSES, TEXTURES
from cvbench.storage.datasets.scenes.rule import usual
from cvbench.storage.datasets.scenes.samples import Sample, SceneSet, seeded
from cvbench.storage.datasets.scenes.scene import Scene

Change = Callable[[Scene, int, Draws], Scene]
"""(scene, label, draws) -> the scene with what the label stands for."""

_COUNTS = {"train": 600, "val": 200, "test": 400}
_FIRST = 20
_NUMBERS = ("one", "two", "three", "four", "five")
_HEADINGS = tuple(f"{angle} degrees" for angle in range(0, 360, 45))
_PLACES = ("top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right")


def _texture(scene: Scene, label: int, draws: Draws) -> Scene:
    return replace(scene, texture=label)


def _number(scene: Scene, label: int, draws: Draws) -> Scene:
    return replace(scene, count=label + 1, size=draws.between("task size", 450, 700), x=500, y=500, hidden=0)


def _colour(scene: Scene, label: int, draws: Draws) -> Scene:
    return replace(scene, colour=label)


def _heading(scene: Scene, label: int, draws: Draws) -> Scene:
    return replace(scene, angle=45 * label + draws.between("task angle", -8, 8), mirrored=False, count=1, hidden=0)


def _place(scene: Scene, label: int, draws: Draws) -> Scene:
    x, y = (
        200 + 300 * at + draws.between(f"task {axis}", -50, 50)
        for axis, at in zip("xy", (label % 3, label // 3), strict=True)
    )
    return replace(scene, x=x, y=y, size=draws.between("task size", 280, 380), count=1, hidden=0)


def _subclass(scene: Scene, label: int, draws: Draws) -> Scene:
    return replace(scene, kind=label // 2, form=label % 2)


def _background(scene: Scene, label: int, draws: Draws) -> Scene:
    return replace(scene, background=label)


def _task(number: int, name: str, of: str, classes: tuple[str, ...], change: Change) -> SceneSet:
    def make(seed: int) -> Sample:
        draws, label = Draws(seed), seed % len(classes)
        scene = usual(draws.below("kind", len(CLASSES)), seed)
        return Sample(f"{classes[label].replace(' ', '-')}/{seed}", label, change(scene, label, draws))

    make_split = seeded(_FIRST + number * len(_COUNTS), _COUNTS, make)
    return SceneSet(f"scenes-{name}", f"{of}, of any object", classes, _COUNTS, make_split)


TASKS = (
    _task(0, "textures", "the texture", TEXTURES, _texture),
    _task(1, "counts", "the number", _NUMBERS, _number),
    _task(2, "colours", "the colour", COLOURS, _colour),
    _task(3, "orientations", "the orientation", _HEADINGS, _heading),
    _task(4, "positions", "the position", _PLACES, _place),
    _task(5, "subclasses", "the sub-class", tuple(name for pair in SUBCLASSES for name in pair), _subclass),
    _task(6, "backgrounds", "the background", BACKGROUNDS, _background),
)
