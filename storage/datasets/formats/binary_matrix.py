"""NORB's binary matrices: a magic number for the type, the number of dimensions, the dimensions, the numbers.

All is little-endian; at least three dimensions are written, of which those beyond the number are 1. The authors pack
the files with gzip, and they are read packed or not.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.formats.shapes import Shape, fits, in_words

_TYPES = {0x1E3D4C55: "u1", 0x1E3D4C54: "<i4"}
_MOST_DIMENSIONS = 8
PACKED = ".gz"


@dataclass(frozen=True)
class Matrix:
    """A matrix in a file, of which only the header was read.

    Attributes:
        shape: Its dimensions.
        dtype: "u1" or "<i4".
        start: The byte, unpacked, at which the numbers begin.
        size: Bytes of the file as it lies there.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    start: int
    size: int

    @property
    def packed(self) -> bool:
        """Whether it is packed with gzip."""
        return self.path.name.endswith(PACKED)

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    def parts(self) -> Iterator[NDArray[np.generic]]:
        """The entries along the first dimension, one at a time.

        Raises:
            IntegrityError: The file ends early, goes on after the last, or is damaged.
        """
        each = math.prod(self.shape[1:]) * self.dtype.itemsize
        with _opened(self.path) as handle:
            handle.read(self.start)
            for _ in range(self.shape[0]):
                data = handle.read(each)
                if len(data) != each:
                    raise _damaged(self.path, "it ends early")
                yield np.frombuffer(data, dtype=self.dtype).reshape(self.shape[1:])
            if handle.read(1):
                raise _damaged(self.path, f"more follows after a matrix of shape {self.shape}")

    def load(self) -> NDArray[np.generic]:
        """All of it."""
        return np.stack(list(self.parts()))


def look_at(path: Path, shape: Shape, dtype: str, most: int) -> Matrix:
    """Look at the header of a matrix, whose shape and type must be as expected.

    Args:
        shape: None stands for any length from 1 to `most`.

    Raises:
        DataUnavailableError: The file cannot be read.
        IntegrityError: It is no such matrix, or its size is not that of one.
    """
    with _opened(path) as handle:
        head = handle.read(8)
        magic, dimensions = struct.unpack("<Ii", head) if len(head) == 8 else (0, 0)
        if magic not in _TYPES or not 0 < dimensions <= _MOST_DIMENSIONS:
            raise _damaged(path, f"the magic number is {magic:#010x}, and there are {dimensions} dimensions")
        written = max(3, dimensions)
        sizes = handle.read(4 * written)
        if len(sizes) != 4 * written:
            raise _damaged(path, "it ends early")
    found = struct.unpack(f"<{written}i", sizes)[:dimensions]
    if not fits(found, shape, most) or np.dtype(_TYPES[magic]) != np.dtype(dtype):
        kind = np.dtype(_TYPES[magic]).name
        why = (
            f"expected {in_words(shape)} of {np.dtype(dtype).name} with N up to {most:,}; found shape {found} of {kind}"
        )
        raise IntegrityError("a file of the data set holds another matrix", where=str(path), why=why)
    matrix = Matrix(path, found, np.dtype(dtype), 8 + len(sizes), os.stat(path).st_size)
    whole = matrix.start + matrix.nbytes
    if not matrix.packed and matrix.size != whole:
        raise _damaged(path, f"it has {matrix.size:,} bytes, a matrix of shape {found} {whole:,}")
    return matrix


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The unpacked bytes of a file."""
    try:
        with open(path, "rb") as handle:
            if path.name.endswith(PACKED):
                with gzip.open(handle) as unpacked:
                    yield unpacked  # type: ignore[misc]  # a GzipFile reads as any file
            else:
                yield handle
    except (gzip.BadGzipFile, EOFError, zlib.error) as err:
        raise _damaged(path, str(err)) from err
    except OSError as err:
        raise DataUnavailableError("cannot read a file of the data set", where=str(path), why=str(err)) from err


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError("not a binary matrix of NORB, or damaged", where=str(path), why=why, fix="get the file again")
