"""Grey pictures that lie at even distances in one file: read one at a time, so that memory does not grow with them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError


@dataclass(frozen=True, eq=False)
class FilePictures:
    """Pictures of which number `i` begins at byte `start + rows[i] * stride` of a file.

    Attributes:
        shape: Height and width.
        size: Bytes of the whole file when it was looked at first: another size is another file.
    """

    path: Path
    start: int
    stride: int
    shape: tuple[int, int]
    rows: NDArray[np.int64]
    size: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes of the pictures in the file."""
        return len(self) * self.shape[0] * self.shape[1]

    def read(self, index: int) -> NDArray[np.uint8]:
        """(H, W) uint8.

        Raises:
            DataUnavailableError: The file is gone or cannot be read.
            IntegrityError: Its size has changed.
        """
        try:
            with open(self.path, "rb") as handle:
                return self._take(handle, index)
        except OSError as err:
            raise self._gone(err) from err

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """The pictures one by one."""
        try:
            with open(self.path, "rb") as handle:
                for index in range(len(self)):
                    yield self._take(handle, index)
        except OSError as err:
            raise self._gone(err) from err

    def _take(self, handle: BinaryIO, index: int) -> NDArray[np.uint8]:
        pixels = np.empty(self.shape, dtype=np.uint8)
        handle.seek(self.start + int(self.rows[index]) * self.stride)
        if os.fstat(handle.fileno()).st_size != self.size or handle.readinto(pixels.data) != pixels.nbytes:  # type: ignore[attr-defined]
            raise IntegrityError(
                "the file changed after the data set was opened",
                where=str(self.path),
                why=f"it had {self.size:,} bytes",
                fix="leave the files alone while a job runs, then start it again",
            )
        return pixels

    def _gone(self, err: OSError) -> DataUnavailableError:
        return DataUnavailableError("cannot read a file of the data set", where=str(self.path), why=str(err))
