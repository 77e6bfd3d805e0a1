"""scikit-learn's bundled digits: 1,797 real handwritten digits of 8 x 8, no download.

Source: `sklearn.datasets.load_digits`, the test part of the UCI set "Optical Recognition of Handwritten Digits".

The file has no split of its own. Ours orders the images by the SHA-256 of their ids, which no version of a random
generator can change, and takes 1,200 to train, 200 to validate and 397 to test. Writers are in more than one split:
the file does not say who wrote what.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.pixels import PixelDataset

_COUNTS = {"all": 1_797, "train": 1_200, "val": 200, "test": 397}


class DigitsReader:
    """The reader of `digits`."""

    info = DatasetInfo(
        name="digits",
        title="Handwritten digits, 8 x 8 grey (scikit-learn)",
        splits=tuple(_COUNTS),
        default_split="all",
        counts=_COUNTS,
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
        """The images of a split, (8, 8) grey, in the order of the file; its 0..16 is scaled to 0..255."""
        from sklearn.datasets import load_digits

        bundle = load_digits()
        chosen = split or self.info.default_split
        ids = [f"digits/{i:05d}" for i in range(len(bundle.images))]
        rows = _rows(ids, chosen)
        pixels = ((bundle.images * 255 + 8) // 16).astype(np.uint8)  # v * 255 / 16, to the nearest
        return PixelDataset(
            name="digits",
            split=chosen,
            spec="digits",
            classes=tuple(str(digit) for digit in range(10)),
            ids=tuple(ids[row] for row in rows),
            labels=np.asarray(bundle.target, dtype=np.int64)[rows],
            pixels=pixels[rows],
            reader=self,
        )


def _rows(ids: list[str], split: str) -> NDArray[np.int64]:
    """Rows of the images of a split, ascending."""
    if split == "all":
        return np.arange(len(ids))
    order = sorted(range(len(ids)), key=lambda row: hashlib.sha256(ids[row].encode()).digest())
    begin = 0
    for name in ("train", "val", "test"):
        end = begin + _COUNTS[name]
        if name == split:
            break
        begin = end
    return np.sort(np.array(order[begin:end], dtype=np.int64))


READER = DigitsReader()
