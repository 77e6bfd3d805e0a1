"""Samples that are pixels in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.storage.datasets.base import Reader, manifest_digest
from cvbench.storage.datasets.left_out import LeftOut


@dataclass(frozen=True, eq=False)
class PixelDataset:
    """A small data set that is held in memory whole.

    It is pickled by its reader: another process opens it again rather than receive its pixels.

    Attributes:
        pixels: (N, H, W) or, planes first as CIFAR has them, (N, 3, H, W) uint8.
        reader: What opened it, and opens it again.
        argument: What the reader was given of the spec.
        data_root: The folder that the reader was given.
    """

    name: str
    split: str
    spec: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    reader: Reader
    argument: str = ""
    data_root: Path | None = None
    factors: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def transform(self) -> None:
        """None: the images are taken as they are."""

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Nothing: the files hold nothing else."""
        return ()

    def read(self, index: int) -> NDArray[np.uint8]:
        """(H, W) grey or (H, W, 3) RGB uint8, a copy."""
        image = self.pixels[index]
        return np.array(np.moveaxis(image, 0, 2) if image.ndim == 3 else image, order="C")

    @cached_property
    def digest(self) -> str:
        """Hex sha256 over the manifest and every pixel."""
        arrays: dict[str, NDArray[Any]] = {f"factor {name}": values for name, values in self.factors.items()}
        return manifest_digest(
            name=self.name,
            split=self.split,
            classes=self.classes,
            ids=self.ids,
            arrays={"label": self.labels, "pixels": self.pixels, **arrays},
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reader.open, (self.argument, self.data_root, self.split)
