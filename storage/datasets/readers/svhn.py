"""SVHN, cropped digits (Netzer et al. 2011): 630,420 house numbers' digits of 32 x 32, in MATLAB's form.

    {train,test,extra}_32x32.mat        X (32, 32, 3, N) uint8, y (N, 1) from 1; 10 is the digit 0

The label is the digit: 10 becomes 0, as VTAB and torchvision have it. "extra" is easier material that VTAB leaves out
(task_adaptation/data/svhn.py). The 10 % of train that validate are the last there in the order in which TensorFlow
Datasets stores the images; here they follow from SHA-256 of the ids. A split is held in memory, once: train 225 MB,
test 80 MB, extra 1.6 GB.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.matarray import Wanted, load_arrays
from cvbench.storage.datasets.formats.pictures import ArrayPictures, PictureSamples
from cvbench.storage.datasets.readers.picture_reader import PictureReader
from cvbench.storage.datasets.readers.tree_reader import Tree

_COUNTS = {"train": 73_257, "test": 26_032, "extra": 531_131}
_EDGE = 32


def _file(split: str) -> str:
    return f"{split}_32x32.mat"


def _read(tree: Tree) -> PictureSamples:
    """In the order of the file."""
    name = _file(tree.split)
    tree.need(tree.folder, name, fix=f"it is a separate file at {tree.info.homepage}")
    path, most = tree.folder / name, _COUNTS[tree.split]
    found = load_arrays(path, {"X": Wanted((_EDGE, _EDGE, 3, None), most, "u1"), "y": Wanted((None, 1), most)})
    pixels, numbers = np.asarray(found["X"]).transpose(3, 0, 1, 2), np.asarray(found["y"]).reshape(-1)
    if len(pixels) != len(numbers):
        raise IntegrityError(f"{len(pixels):,} images but {len(numbers):,} labels", where=str(path))
    if not np.isin(numbers, np.arange(1, 11)).all():
        wrong = int(np.flatnonzero(~np.isin(numbers, np.arange(1, 11)))[0])
        raise IntegrityError(f"y[{wrong}] is {numbers[wrong]}, not a whole number from 1 to 10", where=str(path))
    return PictureSamples(
        classes=[str(digit) for digit in range(10)],
        ids=[f"{tree.split}/{i:06d}" for i in range(len(pixels))],
        labels=numbers.astype(np.int64) % 10,
        pictures=ArrayPictures(pixels),
    )


def _holds(folder: Path, root: Path) -> bool:
    return any((folder / _file(split)).is_file() for split in _COUNTS)


@dataclass(frozen=True, eq=False, kw_only=True)
class _SvhnReader(PictureReader):
    """The reader of `svhn`."""

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every image once: `extra`, which few have, only where it is there."""
        folder = self.locate(argument, root)
        extra = folder is not None and (folder / _file("extra")).is_file()
        return ("train", "test", "extra") if extra else ("train", "test")


READER = _SvhnReader(
    info=DatasetInfo(
        name="svhn",
        title="SVHN, cropped digits",
        splits=tuple(_COUNTS),
        default_split="test",
        counts=_COUNTS,
        classes=10,
        licence="non-commercial use only; cite Netzer et al. 2011",
        homepage="http://ufldl.stanford.edu/housenumbers/",
        tree="[svhn/]{train,test,extra}_32x32.mat",
        notes="extra: easier digits, which VTAB leaves out; 1.6 GB in memory",
        held_out=0.1,  # VTAB's 65,931 and 7,326
    ),
    places=("", "svhn", "SVHN", "svhn_cropped"),
    holds=_holds,
    read=_read,
)
