"""Pictures of one size that lie in few files, whether they are held in memory or read one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cvbench.storage.datasets.base import Reader
from cvbench.storage.datasets.formats.listed import Listed

BLOCK = 1_024
"""Pictures that the digest is made of at a time."""


class Pictures(Protocol):
    """Pictures by their number from 0, each (H, W) grey or (H, W, 3) RGB uint8."""

    def __len__(self) -> int: ...

    @property
    def nbytes(self) -> int:
        """Size of what they are kept in, in memory or in a file."""

    def read(self, index: int) -> NDArray[np.uint8]:
        """One picture, of which the caller may do what he likes."""

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """All that tells these pictures from others, in order; some at a time."""


@dataclass(frozen=True, eq=False)
class ArrayPictures:
    """Pictures in memory.

    Attributes:
        pixels: (N, H, W) or (N, H, W, 3) uint8, with any strides.
    """

    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def nbytes(self) -> int:
        """Size of the pixels."""
        return self.pixels.nbytes

    def read(self, index: int) -> NDArray[np.uint8]:
        """(H, W) or (H, W, 3), a copy."""
        return np.array(self.pixels[index], order="C")

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """The pixels, `BLOCK` pictures at a time."""
        for start in range(0, len(self), BLOCK):
            yield self.pixels[start : start + BLOCK]


@dataclass(frozen=True, eq=False)
class PictureDataset(Listed):
    """A data set whose sample `i` is the picture `i`.

    It is pickled by its reader: another process opens it again rather than receive its pixels.

    Attributes:
        reader: What opened it, and opens it again.
        argument: What the reader was given of the spec.
        data_root: The folder that the reader was given.
    """

    pictures: Pictures
    reader: Reader
    argument: str = ""
    data_root: Path | None = None

    def read(self, index: int) -> NDArray[np.uint8]:
        """(H, W) grey or (H, W, 3) RGB uint8.

        Raises:
            DataUnavailableError: The file is gone or cannot be read.
            IntegrityError: It has changed since the data set was opened.
        """
        return self.pictures.read(index)

    @property
    def nbytes(self) -> int:
        """Size of what the pictures are kept in."""
        return self.pictures.nbytes

    def images(self) -> Mapping[str, NDArray[Any]]:
        """The SHA-256 of every pixel: the pixels themselves may be too many for memory."""
        digest = hashlib.sha256()
        for block in self.pictures.blocks():
            digest.update(np.ascontiguousarray(block).data)
        return {"pixels": np.frombuffer(digest.digest(), dtype=np.uint8)}

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reader.open, (self.argument, self.data_root, self.split)


@dataclass(frozen=True, eq=False)
class PictureSamples:
    """Samples that a reader has found, whose images are `pictures`.

    Attributes:
        classes: Class names by label.
        ids: Of each sample.
        labels: Of each sample.
        factors: Name -> (N,) array.
    """

    classes: Sequence[str]
    ids: Sequence[str]
    labels: NDArray[np.int64]
    pictures: Pictures
    factors: Mapping[str, NDArray[Any]] = field(default_factory=dict)
