"""Samples that are pixels in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.storage.datasets.base import Reader
from cvbench.storage.datasets.formats.listed import Listed


@dataclass(frozen=True, eq=False)
class PixelDataset(Listed):
    """A small data set that is held in memory whole.

    It is pickled by its reader: another process opens it again rather than receive its pixels.

    Attributes:
        pixels: (N, H, W) or, planes first as CIFAR has them, (N, 3, H, W) uint8.
        reader: What opened it, and opens it again.
        argument: What the reader was given of the spec.
        data_root: The folder that the reader was given.
    """

    pixels: NDArray[np.uint8]
    reader: Reader
    argument: str = ""
    data_root: Path | None = None

    def read(self, index: int) -> NDArray[np.uint8]:
        """(H, W) grey or (H, W, 3) RGB uint8, a copy."""
        image = self.pixels[index]
        return np.array(np.moveaxis(image, 0, 2) if image.ndim == 3 else image, order="C")

    def images(self) -> Mapping[str, NDArray[Any]]:
        """Every pixel."""
        return {"pixels": self.pixels}

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reader.open, (self.argument, self.data_root, self.split)
