"""Pictures of black and white: a bit for each pixel is held in memory, an eighth of the pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.storage.datasets.formats.pictures import BLOCK


def pack(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, ceil(H W / 8)) uint8 of (N, H, W) pixels that are 0 or anything else."""
    return np.packbits(pixels.reshape(len(pixels), -1), axis=1)


@dataclass(frozen=True, eq=False)
class BitPictures:
    """Pictures whose pixels are 0 or 255.

    Attributes:
        bits: As `pack` gives them.
        shape: Height and width.
    """

    bits: NDArray[np.uint8]
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.bits)

    @property
    def nbytes(self) -> int:
        """Size of the bits."""
        return self.bits.nbytes

    def read(self, index: int) -> NDArray[np.uint8]:
        """(H, W) uint8, 0 or 255."""
        return np.unpackbits(self.bits[index], count=math.prod(self.shape)).reshape(self.shape) * np.uint8(255)

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """The bits, of some pictures at a time."""
        for start in range(0, len(self), BLOCK):
            yield self.bits[start : start + BLOCK]
