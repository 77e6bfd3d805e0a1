"""`scenes-fine`: twenty birds that differ in small parts, as CUB-200's do; `scenes` is its coarse partner."""

from __future__ import annotations

from dataclasses import replace

from cvbench.storage.datasets.scenes.birds import SPECIES
from cvbench.storage.datasets.scenes.draws import Draws
from cvbench.storage.datasets.scenes.factors import BACKGROUNDS, COLOURS, TEXTURES
from cvbench.storage.datasets.scenes.rule import usual
from cvbench.storage.datasets.scenes.samples import Sample, SceneSet, seeded

_COUNTS = {"train": 1_000, "test": 600}


def _bird(seed: int) -> Sample:
    """A bird of any colour and texture before any background: whole, sharp, and large enough to see its parts."""
    draws, label = Draws(seed), seed % len(SPECIES)
    scene = replace(
        usual(0, seed),
        kind=-1,
        form=label,
        texture=draws.below("any texture", len(TEXTURES)),
        colour=draws.below("any colour", len(COLOURS)),
        background=draws.below("any background", len(BACKGROUNDS)),
        size=draws.between("any size", 620, 860),
        x=500 + draws.between("any x", -60, 60),
        y=500 + draws.between("any y", -60, 60),
        hidden=0,
        blur=0,
        count=1,
    )
    return Sample(f"{SPECIES[label].replace(' ', '-')}/{seed}", label, scene)


FINE = SceneSet("scenes-fine", "twenty species of birds", SPECIES, _COUNTS, seeded(12, _COUNTS, _bird))
