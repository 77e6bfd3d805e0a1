"""scikit-learn's bundled digits: 1,797 real handwritten digits of 8 x 8, no download.

Source: `sklearn.datasets.load_digits`, the test part of the UCI set "Optical Recognition of Handwritten Digits".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.pixels import PixelDataset


class DigitsReader:
    """The reader of `digits`."""

    info = DatasetInfo(
        name="digits",
        title="Handwritten digits, 8 x 8 grey (scikit-learn)",
        splits=("all",),
        default_split="all",
        counts={"all": 1_797},
        classes=10,
        licence="CC BY 4.0 (UCI)",
        homepage="bundled with scikit-learn",
        tree="no files: the images come with scikit-learn",
    )

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """The folder of scikit-learn's bundled data."""
        import importlib.util

        found = importlib.util.find_spec("sklearn")  # finds it without importing it, which takes a second
        return Path(found.origin).parent / "datasets" / "data" if found and found.origin else None

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every image once."""
        return ("all",)

    def open(self, argument: str, root: Path | None, split: str | None) -> PixelDataset:
        """All images, (8, 8) grey; the file's 0..16 is scaled to 0..255."""
        from sklearn.datasets import load_digits

        bundle = load_digits()
        return PixelDataset(
            name="digits",
            split="all",
            spec="digits",
            classes=tuple(str(digit) for digit in range(10)),
            ids=tuple(f"digits/{i:05d}" for i in range(len(bundle.images))),
            labels=np.asarray(bundle.target, dtype=np.int64),
            pixels=((bundle.images * 255 + 8) // 16).astype(np.uint8),  # v * 255 / 16, to the nearest
        )


READER = DigitsReader()
