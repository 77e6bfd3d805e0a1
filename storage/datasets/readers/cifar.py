"""CIFAR-10 and CIFAR-100: 60,000 colour images of 32 x 32 in 10 or 100 classes (Krizhevsky 2009), in their Python form.

    cifar-10-batches-py/{data_batch_1..data_batch_5, test_batch, batches.meta}
    cifar-100-python/{train, test, meta}

Each file is a pickle of a dict: "data" (N, 3072) uint8, the red, green and blue plane of each image in row-major order,
and lists of labels: "labels", or of CIFAR-100 "fine_labels" and "coarse_labels". The classes of CIFAR-100 are the fine
ones; the 20 coarse ones are the factor `coarse`, by name. The split is held in memory: 150 MB for train, 30 MB for
test, and about twice that while it is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.pixels import PixelDataset
from cvbench.storage.datasets.formats.safe_pickle import load_plain
from cvbench.storage.datasets.roots import absent, first_match, lacks

_BYTES = 3 * 32 * 32


@dataclass(frozen=True, eq=False)
class CifarReader:
    """The reader of one of the two.

    Attributes:
        batches: Split -> its files, in order.
        meta: The file with the class names.
        names: Key of labels in a batch -> key of their names in `meta`; the first are the classes, others factors.
        factors: Key of labels in a batch -> the factor's name.
    """

    info: DatasetInfo
    batches: Mapping[str, tuple[str, ...]]
    meta: str
    folders: tuple[str, ...]
    names: Mapping[str, str]
    factors: Mapping[str, str]

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """The folder with any of the files; in the data root itself one does not suffice, "train" is a common name."""
        files = (self.meta, *(name for names in self.batches.values() for name in names))

        def holds(folder: Path) -> bool:
            return sum((folder / name).is_file() for name in files) >= (2 if folder == root else 1)

        return first_match(root, self.folders, holds)

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every image once."""
        return self.info.splits

    def open(self, argument: str, root: Path | None, split: str | None) -> PixelDataset:
        """One split, in the order of its files."""
        folder = self.locate(argument, root)
        if folder is None:
            raise absent(self.info, root)
        name, chosen = self.info.name, split or self.info.default_split
        needed = (*self.batches[chosen], self.meta)
        if missing := [file for file in needed if not (folder / file).is_file()]:
            raise lacks(f"{name}/{chosen}", missing, folder, f"unpack the archive again; it is at {self.info.homepage}")
        known = {key: _names(folder / self.meta, title) for key, title in self.names.items()}
        batches = [_batch(folder / file, known) for file in self.batches[chosen]]
        labels = {key: np.concatenate([found[key] for _, found in batches]) for key in known}
        pixels = np.concatenate([pixels for pixels, _ in batches])
        classes, *_ = known
        return PixelDataset(
            name=name,
            split=chosen,
            spec=name,
            classes=known[classes],
            ids=tuple(f"{chosen}/{i:05d}" for i in range(len(pixels))),
            labels=labels[classes],
            pixels=pixels,
            reader=self,
            data_root=folder,
            factors={factor: np.array(known[key])[labels[key]] for key, factor in self.factors.items()},
        )


def _reader(
    name: str,
    md5: str,
    tree: str,
    classes: int,
    *,
    batches: Mapping[str, tuple[str, ...]],
    meta: str,
    names: Mapping[str, str],
    factors: Mapping[str, str],
) -> CifarReader:
    """Make the reader of either; `tree` is the archive's folder, and the files that are expected in it."""
    folder = tree.partition("/")[0]
    info = DatasetInfo(
        name=name,
        title=f"CIFAR-{classes}",
        splits=("train", "test"),
        default_split="test",
        counts={"train": 50_000, "test": 10_000},
        classes=classes,
        licence="none stated; cite Krizhevsky 2009",
        homepage=f"https://www.cs.toronto.edu/~kriz/cifar.html (Python version, md5 {md5})",
        tree=f"[{name}/]{tree}",
        held_out=0.1,  # VTAB's 45,000 and 5,000
    )
    return CifarReader(info, batches, meta, ("", folder, name, f"{name}/{folder}"), names, factors)


READER_10 = _reader(
    "cifar10",
    "c58f30108f718f92721af3b95e74349a",
    "cifar-10-batches-py/{data_batch_1..data_batch_5,test_batch,batches.meta}",
    10,
    batches={"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
    meta="batches.meta",
    names={"labels": "label_names"},
    factors={},
)

READER_100 = _reader(
    "cifar100",
    "eb9058c3a382ffc7106e4002c42a8d85",
    "cifar-100-python/{train,test,meta}",
    100,
    batches={"train": ("train",), "test": ("test",)},
    meta="meta",
    names={"fine_labels": "fine_label_names", "coarse_labels": "coarse_label_names"},
    factors={"coarse_labels": "coarse"},
)


def _names(path: Path, key: str) -> tuple[str, ...]:
    names = _field(path, load_plain(path), key)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise IntegrityError(f"{key} is not a list of names", where=str(path))
    return tuple(names)


def _batch(path: Path, names: Mapping[str, tuple[str, ...]]) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.int64]]]:
    """(N, 3, 32, 32) uint8 and (N,) int64 for each kind of label in one file."""
    content = load_plain(path)
    pixels = _field(path, content, "data")
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != _BYTES:
        raise IntegrityError(f"data is not an array (N, {_BYTES}) of uint8", where=str(path))
    labels = {}
    for key, known in names.items():
        values = _field(path, content, key)
        if not isinstance(values, list) or not all(type(value) is int and 0 <= value < len(known) for value in values):
            raise IntegrityError(f"{key} is not a list of numbers from 0 to {len(known) - 1}", where=str(path))
        if len(values) != len(pixels) or not values:
            raise IntegrityError(f"{len(pixels)} images but {len(values)} {key}", where=str(path))
        labels[key] = np.array(values, dtype=np.int64)
    return pixels.reshape(-1, 3, 32, 32), labels


def _field(path: Path, content: object, name: str) -> object:
    if not isinstance(content, dict) or name not in content:
        raise IntegrityError(f"not a file of CIFAR: there is no {name!r} in it", where=str(path))
    return content[name]
