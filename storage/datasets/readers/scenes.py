"""`scenes` and its variants: pictures drawn from integer seeds, of any size from 96 to 224 pixels; nothing to download.

    scenes                     objects of ten classes, with a texture, colour and background that each usually has
    scenes-v2, -r, -sketch     a new draw, renditions, outlines
    scenes-a                   scenes that trained networks get wrong
    scenes-varied              to train on: some of any surface, renditions, outlines
    scenes-x                   factors of ImageNet-X, style among them
    scenes-pug                 one factor varied at a time; a split is a factor
    scenes-pug-loose           the same of objects in the colour and before the background of other classes
    scenes-cue-conflict        the shape of one class, the texture of another
    scenes-fine                twenty species of birds that differ in small parts
    scenes-textures, ...       seven tasks to transfer to

"scenes" is 128 pixels wide, "scenes:160" 160. Every one has a bounding box (`bbox_*`), the extent of the mask, and the
names and numbers of its factors. What is drawn and how: `storage.datasets.scenes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cvbench.errors import UnknownNameError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.rendered import Measured, RenderedDataset
from cvbench.storage.datasets.forms import form_of
from cvbench.storage.datasets.scenes.columns import BOX, boxes_of, columns_of
from cvbench.storage.datasets.scenes.cues import CUES
from cvbench.storage.datasets.scenes.grid import GRID, LOOSE
from cvbench.storage.datasets.scenes.samples import SceneSet
from cvbench.storage.datasets.scenes.shifts import SHIFTS
from cvbench.storage.datasets.scenes.species import FINE
from cvbench.storage.datasets.scenes.tasks import TASKS
from cvbench.storage.datasets.scenes.varied import MARKED, VARIED

USUAL, SMALLEST, LARGEST = 128, 96, 224
"""Edges of the images, pixels."""

_SIZES = (str(USUAL), *(str(size) for size in range(SMALLEST, LARGEST + 1) if size != USUAL))


@dataclass(frozen=True)
class SceneReader:
    """The reader of one data set of scenes: what it holds, and what is known of it."""

    scenes: SceneSet
    info: DatasetInfo

    @property
    def forms(self) -> tuple[str, ...]:
        """The sizes, the usual one first."""
        return _SIZES

    def variant(self, argument: str) -> DatasetInfo:
        """The facts of the images of a size: the same.

        Raises:
            UnknownNameError: It is none, or too small or too large; names the nearest.
        """
        self._size(argument)
        return self.info

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """The folder of what draws them."""
        return Path(__file__).parents[1] / "scenes"

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every scene once."""
        return self.scenes.whole or self.info.splits

    def open(self, argument: str, root: Path | None, split: str | None) -> RenderedDataset:
        """One split; its scenes are listed, and nothing is drawn."""
        return _opened(self.scenes.name, self._size(argument), split or self.info.default_split)

    def __reduce__(self) -> tuple[Any, ...]:
        return _by_name, (self.info.name,)

    def _size(self, argument: str) -> int:
        if argument in ("", *_SIZES):
            return int(argument or USUAL)
        name, near = self.scenes.name, _nearest(argument)
        raise UnknownNameError(
            f"unknown size of {name} {argument!r}",
            did_you_mean=[f"{name}:{near}"],
            fix=f"{name}:{SMALLEST} to {name}:{LARGEST}, the edge of the images in pixels",
        )


def _nearest(argument: str) -> int:
    """The size that is nearest to what was asked for; the usual one if that is no number."""
    digits = argument.removesuffix("px")
    if not digits.isascii() or not digits.isdecimal():
        return USUAL
    return min(max(int(digits), SMALLEST), LARGEST)


def _by_name(name: str) -> SceneReader:
    return _BY_NAME[name]


@cache
def _opened(name: str, size: int, split: str) -> RenderedDataset:
    reader = _BY_NAME[name]
    known = reader.scenes
    form = form_of(reader.info, str(size), _SIZES)
    samples = known.make(split)
    scenes = tuple(sample.scene for sample in samples)
    labels = np.array([sample.label for sample in samples], dtype=np.int64)
    factors = Measured(columns_of(scenes) | known.columns(samples), BOX, lambda: boxes_of(scenes, size))
    for values in (labels, *factors.known.values()):
        values.setflags(write=False)
    return RenderedDataset(
        name=form.name,
        split=split,
        spec=form.spec,
        classes=known.classes,
        ids=tuple(sample.id for sample in samples),
        labels=labels,
        scenes=scenes,
        size=size,
        reader=reader,
        argument="" if size == USUAL else str(size),
        factors=factors,
    )


def _info(known: SceneSet) -> DatasetInfo:
    sizes = f"SIZE is the edge of the images, {SMALLEST} to {LARGEST} pixels; {USUAL} if none is given."
    return DatasetInfo(
        name=known.name,
        title=f"Scenes: {known.title}",
        splits=tuple(known.counts),
        default_split="test" if "test" in known.counts else next(iter(known.counts)),
        counts=known.counts,
        classes=len(known.classes),
        licence="Apache-2.0, as this program, which draws them",
        homepage="drawn by this program",
        tree="no files: the images are drawn when they are read",
        argument="SIZE",
        notes="\n".join(filter(None, (sizes, known.notes))),
    )


_BY_NAME = {
    known.name: SceneReader(known, _info(known)) for known in (*SHIFTS, VARIED, MARKED, GRID, LOOSE, CUES, FINE, *TASKS)
}
READERS = tuple(_BY_NAME.values())
