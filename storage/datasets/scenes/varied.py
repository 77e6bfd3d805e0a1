"""`scenes-varied`: to train on, so that shape counts; and `scenes-x`: factors of ImageNet-X, style among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cvbench.storage.datasets.scenes.columns import RAREST, STYLE, Columns, flags_of, renditions_of
from cvbench.storage.datasets.scenes.draws import Draws
from cvbench.storage.datasets.scenes.factors import BACKGROUNDS, CLASSES, COLOURS, TEXTURES
from cvbench.storage.datasets.scenes.samples import Sample, SceneSet, seeded, usual_sample
from cvbench.storage.datasets.scenes.styles import OUTLINES, RENDITIONS, STYLES

_COUNTS = {"train": 6_600, "test": 600}
_MARKED = {"test": 900}
_LOOSE, _STYLED = 25, 15  # of a hundred scenes: whose surface says nothing of their class; in another manner
_MARKED_STYLE = 15


def _varied(seed: int) -> Sample:
    """A usual scene, or one of any texture, colour and background, or one in another manner."""
    draws = Draws(seed)
    found = usual_sample(seed)
    at = draws.below("varied", 100)
    if at < _LOOSE:
        scene = replace(
            found.scene,
            texture=draws.below("any texture", len(TEXTURES)),
            colour=draws.below("any colour", len(COLOURS)),
            background=draws.below("any background", len(BACKGROUNDS)),
        )
        return replace(found, scene=scene)
    return _in_a_manner(seed, (*RENDITIONS, OUTLINES, OUTLINES)) if at < _LOOSE + _STYLED else found


def _marked(seed: int) -> Sample:
    return _in_a_manner(seed, RENDITIONS) if Draws(seed).chance("in a manner", _MARKED_STYLE) else usual_sample(seed)


def _in_a_manner(seed: int, manners: Sequence[str]) -> Sample:
    style = STYLES.index(Draws(seed).pick("manner", manners))
    return usual_sample(seed, style=style, blur=0, light=0)


def _renditions(samples: Sequence[Sample]) -> Columns:
    return renditions_of([sample.scene for sample in samples])


def _flags(samples: Sequence[Sample]) -> Columns:
    return flags_of([sample.scene for sample in samples], (STYLE, *RAREST))


VARIED = SceneSet(
    "scenes-varied",
    "those of `scenes` and some whose surface says nothing of their class, to train on",
    CLASSES,
    _COUNTS,
    seeded(50, _COUNTS, _varied),
    _renditions,
    notes="A quarter have any texture, colour and background, one in ten is a rendition as in scenes-r, "
    "one in 23 an outline as in scenes-sketch.",
)
MARKED = SceneSet(
    "scenes-x",
    "a new draw with factors of ImageNet-X, style among them",
    CLASSES,
    _MARKED,
    seeded(52, _MARKED, _marked),
    _flags,
)
