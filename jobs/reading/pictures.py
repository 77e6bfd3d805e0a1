"""What of a data set's own files belongs beside what is computed: bounding boxes, and a few images to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.pictures.boxes import image_size, to_input
from cvbench.engine.pictures.decode import Geometry, decode
from cvbench.engine.pictures.transforms import render
from cvbench.storage.features.order import sample_order

if TYPE_CHECKING:
    from cvbench.storage.datasets import Dataset
    from cvbench.storage.features import SplitInfo

F64 = NDArray[np.float64]
BOX = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")


@dataclass(frozen=True)
class Boxes:
    """Bounding boxes of the split's samples; `original` is (N, 4) x, y, width, height in the images' own pixels."""

    dataset: Dataset
    split: SplitInfo
    original: F64

    def at(self, rows: NDArray[np.int64], geometries: Sequence[Geometry]) -> list[F64]:
        """(n, 4) x0, y0, x1, y1 in the input pixels of each geometry; NaN where the crop leaves nothing.

        The files' headers are read for the images' sizes, once for all geometries.
        """
        order = sample_order(self.split.n, self.split.seed)[rows]
        sizes = np.array([image_size(self.dataset.read(int(index))) for index in order], dtype=np.int64)
        return [to_input(self.original[rows], sizes.reshape(-1, 2), geometry) for geometry in geometries]


def boxes_of(dataset: Dataset, split: SplitInfo) -> Boxes | None:
    """The boxes of a split, or None if the data set has none, or moves its images away from under them."""
    if not set(BOX) <= set(split.factors) or dataset.transform is not None:
        return None
    return Boxes(dataset, split, np.stack([np.asarray(split.factors[name], np.float64) for name in BOX], axis=1))


def inputs_of(
    dataset: Dataset, split: SplitInfo, rows: NDArray[np.int64], geometries: Mapping[str, Geometry]
) -> dict[str, NDArray[np.uint8]]:
    """Backbone -> (n, h, w, 3) RGB uint8: the samples as that backbone sees them."""
    order = sample_order(split.n, split.seed)[rows]
    seen: dict[str, list[Any]] = {name: [] for name in geometries}
    for index in order:
        payload = dataset.read(int(index))
        images = {rules: decode(payload, rules) for rules in {geometry.rules for geometry in geometries.values()}}
        for name, geometry in geometries.items():
            seen[name].append(np.moveaxis(render(images[geometry.rules], geometry, dataset.transform), 0, -1))
    return {name: np.stack(images) for name, images in seen.items()}
