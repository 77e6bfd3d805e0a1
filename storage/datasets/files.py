"""Samples that are image files under one folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.base import manifest_digest
from cvbench.storage.datasets.left_out import LeftOut

ABSENT = -1
"""The size of a file that is listed but is not there."""


@dataclass(frozen=True, eq=False)
class FileDataset:
    """A data set whose sample `i` is the file `root / prefix / ids[i]`, of `sizes[i]` bytes when it was opened."""

    name: str
    split: str
    spec: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    root: Path
    sizes: NDArray[np.int64]
    prefix: str = ""
    factors: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def path(self, index: int) -> Path:
        """The file of a sample."""
        return self.root / self.prefix / self.ids[index]

    @property
    def transform(self) -> None:
        """None: the images are taken as they are."""

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

    @cached_property
    def digest(self) -> str:
        """Hex sha256 over the manifest: file names, sizes, labels and factors, not the files' contents."""
        arrays = {f"factor {name}": values for name, values in self.factors.items()}
        return manifest_digest(
            name=self.name,
            split=self.split,
            classes=self.classes,
            ids=self.ids,
            arrays={"label": self.labels, "size": self.sizes, **arrays},
        )

    @property
    def missing(self) -> list[str]:
        """Ids whose file is not there."""
        return [self.ids[i] for i in np.flatnonzero(self.sizes == ABSENT)]


def file_sizes(folder: Path, names: Sequence[str]) -> NDArray[np.int64]:
    """(N,) bytes of each file, ABSENT where there is no regular file."""
    sizes = np.full(len(names), ABSENT, dtype=np.int64)
    for i, name in enumerate(names):
        try:
            found = os.stat(f"{folder}/{name}")
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode):  # a pipe or a device would block a reader for ever
            sizes[i] = found.st_size
    return sizes
