"""`scenes` and the sets that shift it, as ImageNetV2, -R, -Sketch and -A shift ImageNet."""

from __future__ import annotations

from collections.abc import Sequence

from cvbench.storage.datasets.scenes.columns import Columns, flags_of, renditions_of
from cvbench.storage.datasets.scenes.factors import CLASSES
from cvbench.storage.datasets.scenes.hard import HARD_SEEDS
from cvbench.storage.datasets.scenes.samples import RANGE, Sample, SceneSet, seeded, usual_sample
from cvbench.storage.datasets.scenes.styles import RENDITIONS, STYLES

_COUNTS = {"train": 4_000, "val": 400, "test": 500}
_TEST = {"test": 500}
_HARD = 8
"""The range of seeds that those of `scenes-a` are chosen from."""


def hard_candidates(count: int) -> list[Sample]:
    """The first scenes that `scenes-a` is chosen from: drawn as usual, in no other set."""
    return [usual_sample(seed) for seed in range(_HARD * RANGE, _HARD * RANGE + count)]


def _flags(samples: Sequence[Sample]) -> Columns:
    return flags_of([sample.scene for sample in samples])


def _renditions(samples: Sequence[Sample]) -> Columns:
    return renditions_of([sample.scene for sample in samples])


def _rendition(seed: int) -> Sample:
    """Every class in every manner alike."""
    style = RENDITIONS[seed // len(CLASSES) % len(RENDITIONS)]
    return usual_sample(seed, style=STYLES.index(style), blur=0, light=0)


def _sketch(seed: int) -> Sample:
    return usual_sample(seed, style=STYLES.index("sketch"), blur=0, light=0, hidden=0)


SHIFTS = (
    SceneSet("scenes", "objects of ten classes", CLASSES, _COUNTS, seeded(1, _COUNTS, usual_sample), _flags),
    SceneSet("scenes-v2", "a new draw", CLASSES, _TEST, seeded(5, _TEST, usual_sample), _flags),
    SceneSet("scenes-r", "renditions", CLASSES, _TEST, seeded(6, _TEST, _rendition), _renditions),
    SceneSet("scenes-sketch", "outlines", CLASSES, _TEST, seeded(7, _TEST, _sketch)),
    SceneSet(
        "scenes-a",
        "those that trained networks get wrong",
        CLASSES,
        {"test": len(HARD_SEEDS)},
        lambda split: [usual_sample(seed) for seed in HARD_SEEDS],
        _flags,
        notes="Chosen because small trained networks err on them, as ImageNet-A was: accuracies are low by design.",
    ),
)
