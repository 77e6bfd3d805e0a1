"""A data set of a package beside cvbench: 60 striped images whose class is the direction of the stripes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.pixels import PixelDataset

CLASSES = ("across", "down", "falling")


class Stripes:
    info = DatasetInfo(
        name="stripes",
        title="Stripes in three directions",
        splits=("test",),
        default_split="test",
        counts={"test": 60},
        classes=3,
        licence="CC0",
        homepage="computed",
        tree="no files: the images are computed",
    )

    def locate(self, argument: str, root: Path | None) -> Path | None:
        return Path(__file__)

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        return ("test",)

    def open(self, argument: str, root: Path | None, split: str | None) -> PixelDataset:
        labels = np.arange(60) % 3
        y, x = np.mgrid[:32, :32]
        along = np.stack([y, x, x + y])[labels] + np.arange(60)[:, None, None] // 3
        pixels = (along % 8 < 4).astype(np.uint8) * 255
        ids = tuple(f"{number:02d}" for number in range(60))
        return PixelDataset("stripes", "test", "stripes", CLASSES, ids, labels, pixels, self)


READER = Stripes()
