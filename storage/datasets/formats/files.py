"""Samples that are image files under one folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.formats.listed import Listed
from cvbench.storage.datasets.left_out import LeftOut

ABSENT = -1
"""The size of a file that is listed but is not there."""


@dataclass(frozen=True, eq=False)
class FileDataset(Listed):
    """A data set whose sample `i` is the file `root / ids[i]`, of `sizes[i]` bytes when it was opened."""

    root: Path
    sizes: NDArray[np.int64]

    def path(self, index: int) -> Path:
        """The file of a sample."""
        return self.root / self.ids[index]

    def where(self, index: int) -> str:
        """The place of a sample's file, for messages."""
        return str(self.path(index))

    def read(self, index: int) -> bytes:
        """The file's bytes; refused if its size is not the one found when the data set was opened."""
        path, expected = self.path(index), int(self.sizes[index])
        try:
            with open(path, "rb") as handle:
                data = handle.read(max(expected, 0) + 1)  # one more shows that it grew, whatever it grew to
        except OSError as err:
            raise DataUnavailableError(f"cannot read a sample of {self.name}", where=str(path), why=str(err)) from err
        if len(data) != expected:
            raise IntegrityError(
                "the file changed after the data set was opened",
                where=str(path),
                why=f"it had {expected} bytes, now {'more' if len(data) > expected else len(data)}",
                fix="leave the files alone while a job runs, then start it again",
            )
        return data

    def images(self) -> Mapping[str, NDArray[Any]]:
        """The sizes of the files, not their contents."""
        return {"size": self.sizes}

    @property
    def missing(self) -> list[int]:
        """Indices of the samples whose file is not there."""
        return [int(i) for i in np.flatnonzero(self.sizes == ABSENT)]


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples that a reader has found in a tree of image files.

    Attributes:
        classes: Class names by label.
        ids: Paths below the folder of the images.
        labels: Of each image, -1 for none.
        sizes: (N,) int64 bytes of each image, where they were found on the way.
        factors: Name -> (N,) array.
        left_out: What lies there and was not taken.
    """

    classes: Sequence[str]
    ids: Sequence[str]
    labels: Sequence[int] | NDArray[np.int64]
    sizes: NDArray[np.int64] | None = None
    factors: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()

    def dataset(self, name: str, split: str, spec: str, root: Path) -> FileDataset:
        """The data set of these samples, whose images lie below `root`."""
        return FileDataset(
            name=name,
            split=split,
            spec=spec,
            classes=tuple(self.classes),
            ids=tuple(self.ids),
            labels=np.array(self.labels, dtype=np.int64),
            root=root,
            sizes=file_sizes(root, self.ids) if self.sizes is None else self.sizes,
            factors=self.factors,
            left_out=self.left_out,
        )


def read_bounded(path: Path, most: int, *, what: str, too_large: str) -> bytes:
    """The bytes of a file, refused before it is read if they are more than `most`.

    Args:
        what: What it is, for errors.
        too_large: What is said of a larger one; "{size}" in it is its bytes.

    Raises:
        DataUnavailableError: It cannot be read, or is no regular file.
        IntegrityError: It is too large.
    """
    try:
        found = path.stat()
        data = path.read_bytes() if stat.S_ISREG(found.st_mode) and found.st_size <= most else b""
    except OSError as err:
        raise DataUnavailableError(f"cannot read {what}", where=str(path), why=str(err)) from err
    if not stat.S_ISREG(found.st_mode):  # a pipe or a device would block a reader for ever
        raise DataUnavailableError(f"cannot read {what}", where=str(path), why="it is no regular file")
    if found.st_size > most:
        raise IntegrityError(too_large.format(size=f"{found.st_size:,}"), where=str(path))
    return data


def file_sizes(folder: Path, names: Sequence[str]) -> NDArray[np.int64]:
    """(N,) bytes of each file, ABSENT where there is no regular file."""
    sizes = np.full(len(names), ABSENT, dtype=np.int64)
    for i, name in enumerate(names):
        try:
            found = os.stat(os.path.join(folder, name))
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode):  # a pipe or a device would block a reader for ever
            sizes[i] = found.st_size
    return sizes
