"""CIFAR-10: 60,000 colour images of 32 x 32 in ten classes (Krizhevsky 2009), in its Python form.

    cifar-10-batches-py/{data_batch_1..data_batch_5, test_batch, batches.meta}

Each file is a pickle of a dict: "data" (N, 3072) uint8, the red, green and blue plane of each image in row-major order,
and "labels", a list; `batches.meta` holds "label_names". The split is held in memory: 150 MB for train, 30 MB for test
(180 MB is the whole data set), and about twice that while it is opened.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.pixels import PixelDataset
from cvbench.storage.datasets.roots import absent, first_match, listing
from cvbench.storage.datasets.safe_pickle import load_plain

_BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
_META = "batches.meta"
_FOLDERS = ("", "cifar-10-batches-py", "cifar10", "cifar10/cifar-10-batches-py")
_BYTES = 3 * 32 * 32


class CifarReader:
    """The reader of `cifar10`."""

    info = DatasetInfo(
        name="cifar10",
        title="CIFAR-10",
        splits=("train", "test"),
        default_split="test",
        counts={"train": 50_000, "test": 10_000},
        classes=10,
        licence="none stated; cite Krizhevsky 2009",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html (Python version, md5 c58f30108f718f92721af3b95e74349a)",
        tree="[cifar10/]cifar-10-batches-py/{data_batch_1..data_batch_5,test_batch,batches.meta}",
    )

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """The folder with `batches.meta` or any of the batches."""
        names = (_META, *_BATCHES["train"], *_BATCHES["test"])
        return first_match(root, _FOLDERS, lambda folder: any((folder / name).is_file() for name in names))

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every image once."""
        return self.info.splits

    def open(self, argument: str, root: Path | None, split: str | None) -> PixelDataset:
        """One split, in the order of its files."""
        folder = self.locate(argument, root)
        if folder is None:
            raise absent(self.info, root)
        chosen = split or self.info.default_split
        needed = (*_BATCHES[chosen], _META)
        if missing := [name for name in needed if not (folder / name).is_file()]:
            raise DataUnavailableError(
                f"cifar10/{chosen} lacks {', '.join(missing)}",
                where=str(folder),
                why=f"found {listing(folder)}",
                fix=f"unpack the archive again; it is at {self.info.homepage}",
            )
        classes = _class_names(folder / _META)
        batches = [_batch(folder / name, len(classes)) for name in _BATCHES[chosen]]
        pixels = np.concatenate([pixels for pixels, _ in batches])
        return PixelDataset(
            name="cifar10",
            split=chosen,
            spec="cifar10",
            classes=classes,
            ids=tuple(f"{chosen}/{i:05d}" for i in range(len(pixels))),
            labels=np.concatenate([labels for _, labels in batches]),
            pixels=pixels,
            data_root=str(folder),
        )


READER = CifarReader()


def _class_names(path: Path) -> tuple[str, ...]:
    names = _field(path, load_plain(path), "label_names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise IntegrityError("label_names is not a list of names", where=str(path))
    return tuple(names)


def _batch(path: Path, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(N, 3, 32, 32) uint8 and (N,) int64 of one file."""
    content = load_plain(path)
    pixels, labels = _field(path, content, "data"), _field(path, content, "labels")
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != _BYTES:
        raise IntegrityError(f"data is not an array (N, {_BYTES}) of uint8", where=str(path))
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < classes for label in labels):
        raise IntegrityError(f"labels is not a list of numbers from 0 to {classes - 1}", where=str(path))
    if len(labels) != len(pixels) or not labels:
        raise IntegrityError(f"{len(pixels)} images but {len(labels)} labels", where=str(path))
    return pixels.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.int64)


def _field(path: Path, content: object, name: str) -> object:
    if not isinstance(content, dict) or name not in content:
        raise IntegrityError(f"not a file of CIFAR-10: there is no {name!r} in it", where=str(path))
    return content[name]
