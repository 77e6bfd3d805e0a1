"""Stored maps with a class for each of their positions: the masks of a data set, at the resolution of a grid."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import NOT_FINITE, Layer
from cvbench.engine.pictures.boxes import image_size
from cvbench.engine.pictures.geometry import Geometry
from cvbench.engine.pictures.masks import check_mask, object_cells, object_pixels
from cvbench.engine.probe.parts import Part
from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.jobs.reading.images import open_stored
from cvbench.jobs.reading.reading import Reading
from cvbench.storage.datasets import Dataset
from cvbench.storage.datasets.base import Masked
from cvbench.storage.features.order import sample_order

I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
Cells = NDArray[np.bool_]
Way: TypeAlias = tuple[Geometry, tuple[int, int]]
"""Geometry of a backbone and a grid on its input: what labels depend on."""

WITH_MASKS = "scenes and its kin (scenes-...) have masks, and so has table:FILE with a column `mask` of paths"


@dataclass(frozen=True, eq=False)
class LabelledMaps:
    """The maps of one split, and which of their cells are the object's.

    Attributes:
        reading: Of the view `maps`.
        rows: (n,) int64 store positions with a mask, ascending.
        without: Samples that have none.
        packed: Way -> (n, bytes) its cells, a bit each.
    """

    reading: Reading
    rows: I64
    without: int
    packed: dict[Way, NDArray[np.uint8]]

    @classmethod
    def read(cls, reading: Reading, dataset: Dataset, resolution: int = 0, most: int | None = None) -> LabelledMaps:
        """Read the masks of a split at the grids of its layers.

        Memory: a bit for each cell of each image.

        Args:
            reading: The maps.
            dataset: Of the same split, see `open_masked`.
            resolution: A further grid of so many cells a side; 0 for none.
            most: Images, from the first on; None for all.

        Raises:
            IntegrityError: A mask that is not as large as its image.
            DecodeError, DataUnavailableError: A mask cannot be read.
        """
        stored, fitted = reading.layers, reading.geometries
        ways: dict[Way, list[NDArray[np.uint8]]] = {}
        for layer in reading.selected.layers:
            height, width = stored[layer].shape[1:3]
            ways[fitted[layer.backbone], (height, width)] = []
            if resolution:
                ways[fitted[layer.backbone], (resolution, resolution)] = []
        kept, rows = [], reading.rows if most is None else reading.rows[:most]
        order = sample_order(reading.info.n, reading.info.seed)[rows]
        for row, index in zip(rows.tolist(), order.tolist(), strict=True):
            found = _cells(dataset, index, list(ways))
            if found is not None:
                kept.append(row)
                for its, cells in zip(ways.values(), found, strict=True):
                    its.append(np.packbits(cells))
        packed = {way: np.stack(its) for way, its in ways.items() if its}
        return cls(reading, np.array(kept, dtype=np.int64), len(rows) - len(kept), packed)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> I64:
        """(n,) int64 class of each image."""
        found: I64 = self.reading.info.labels[self.rows]
        return found

    def way(self, layer: Layer, resolution: int = 0) -> Way:
        """The way of a layer: its own grid, or that of a resolution."""
        height, width = self.reading.layers[layer].shape[1:3]
        grid = (resolution, resolution) if resolution else (height, width)
        return self.reading.geometries[layer.backbone], grid

    def cells(self, way: Way, part: slice = slice(None)) -> Cells:
        """(m, h, w) bool of some of the images: the cells that are the object's."""
        height, width = way[1]
        bits = np.unpackbits(self.packed[way][part], axis=1, count=height * width)
        return bits.reshape(-1, height, width).astype(np.bool_)

    def classes(self, way: Way, part: slice = slice(None)) -> I64:
        """(m, h, w) int64 of some of the images: 0 for the background, else the class of the image plus 1."""
        return np.where(self.cells(way, part), self.labels[part][:, None, None] + 1, 0)

    def maps(self, layer: Layer) -> Iterator[tuple[slice, F32]]:
        """The maps of a layer, unit by unit: which of the images, and (m, h, w, d) float32.

        Raises:
            IntegrityError: Values that are not finite.
        """
        stored, at = self.reading.layers[layer], 0
        for unit in self.reading.selected.units:
            own = self.rows[(self.rows >= unit.start) & (self.rows < unit.stop)]
            if not len(own):
                continue
            values = stored.read_unit(unit)[own - unit.start].astype(np.float32)
            if not np.isfinite(values).all():
                raise IntegrityError(
                    f"{layer} of {self.reading.where} holds values that are not finite", fix=NOT_FINITE
                )
            yield slice(at, at + len(own)), values
            at += len(own)

    def positions(self, layer: Layer, most: int, seed: int) -> Part:
        """Positions of a layer and their classes: the same number of every image, in the order of the images.

        Args:
            layer: Which.
            most: Of all images together; no more than these have one.
            seed: Of the draw within each image; nothing is drawn where all fit.
        """
        way = self.way(layer)
        height, width = way[1]
        each = min(height * width, max(1, most // len(self)))
        features, classes = [], []
        for part, maps in self.maps(layer):
            flat, own = maps.reshape(len(maps), height * width, -1), self.classes(way, part).reshape(len(maps), -1)
            if each < height * width:
                rng = np.random.default_rng([seed, int(self.rows[part.start])])
                drawn = np.argsort(rng.random(own.shape), axis=1)[:, :each]
                flat = np.take_along_axis(flat, drawn[:, :, None], axis=1)
                own = np.take_along_axis(own, drawn, axis=1)
            features.append(flat.reshape(-1, flat.shape[2]))
            classes.append(own.ravel())
        return Part(np.concatenate(features), np.concatenate(classes))

    @cached_property
    def digest(self) -> str:
        """Digest of which images have masks, and of all cells; a data set's own is not of its masks' pixels."""
        found = hashlib.sha256(self.rows.astype("<i8").tobytes())
        for way, bits in self.packed.items():
            found.update(f"{way}".encode() + bits.tobytes())
        return found.hexdigest()[:16]


def open_masked(reading: Reading, source: str | None, data_root: str | None) -> Dataset:
    """Open the data set that the maps are of, which must have masks.

    Raises:
        DataUnavailableError: It is not there, or has no masks; says which have.
        FingerprintMismatchError: It is not what was extracted.
    """
    selected = reading.selected
    dataset = open_stored(reading.store, selected.dataset, selected.split, given=source, data_root=data_root)
    if isinstance(dataset, Masked) and dataset.has_masks:
        return dataset
    moved = dataset.transform is not None
    raise DataUnavailableError(
        f"{reading.where} has no masks",
        where=dataset.spec,
        why="its images are transformed, and the masks of the data set do not lie on them" if moved else None,
        fix=f"another data set: {WITH_MASKS}",
    )


def _cells(dataset: Dataset, index: int, ways: Sequence[Way]) -> list[Cells] | None:
    """The cells of one image by way; None if it has no mask."""
    assert isinstance(dataset, Masked)
    mask = dataset.mask(index)
    if mask is None:
        return None
    where = f"{dataset.spec}: {dataset.ids[index]}"
    size = image_size(dataset.read(index)) if isinstance(mask, bytes) else None
    pixels = {rules: object_pixels(mask, rules) for rules in {geometry.rules for geometry, _ in ways}}
    for rules, own in pixels.items():
        if size is not None and not (rules == "loader" and own.shape == size[::-1]):  # its image may not be turned
            check_mask(own, size, where)
    return [object_cells(pixels[geometry.rules], geometry, grid) for geometry, grid in ways]
