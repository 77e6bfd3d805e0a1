"""`scenes-cue-conflict`: the shape of one class with the texture of another (as Geirhos et al. 2019).

A texture comes with its class's colour, as the style of a photograph does: shape and surface are the two cues.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cvbench.storage.datasets.scenes.columns import Columns
from cvbench.storage.datasets.scenes.draws import Draws
from cvbench.storage.datasets.scenes.factors import CLASSES, PLAIN
from cvbench.storage.datasets.scenes.samples import RANGE, Sample, SceneSet
from cvbench.storage.datasets.scenes.scene import Scene

_FIRST = 10 * RANGE
_EACH = 8  # of every shape with every texture


def _scenes(split: str) -> list[Sample]:
    """Large and upright on no ground."""
    found = []
    for shape, name in enumerate(CLASSES):
        for texture, other in enumerate(CLASSES):
            for number in range(_EACH):
                seed = _FIRST + (shape * len(CLASSES) + texture) * _EACH + number
                draws = Draws(seed)
                scene = Scene(
                    kind=shape,
                    form=number % 2,
                    seed=seed,
                    texture=texture,
                    colour=texture,
                    background=PLAIN,
                    size=draws.between("size", 780, 880),
                    angle=draws.between("angle", -10, 10),
                    mirrored=draws.chance("mirrored", 50),
                )
                found.append(Sample(f"{name}/{name}{number}-{other}{number}", shape, scene))
    return found


def _columns(samples: Sequence[Sample]) -> Columns:
    """Shape and texture by class."""
    shapes = np.array([CLASSES[sample.scene.kind] for sample in samples], dtype=np.str_)
    textures = np.array([CLASSES[sample.scene.texture] for sample in samples], dtype=np.str_)
    label = np.array([sample.scene.texture for sample in samples], dtype=np.int64)
    return {"shape": shapes, "texture": textures, "texture_label": label, "conflict": shapes != textures}


CUES = SceneSet(
    "scenes-cue-conflict",
    "the shape of one class, the texture of another",
    CLASSES,
    {"test": len(CLASSES) ** 2 * _EACH},
    _scenes,
    _columns,
    notes="A tenth has the texture of its own class: the factor `conflict` is false.",
)
