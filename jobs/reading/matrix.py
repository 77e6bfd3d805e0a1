"""The layers of a selection as whole matrices of the same rows, in memory or lazily, for the whole-matrix analyses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.samples import Samples
from cvbench.engine.arrays.array import Array, to_device
from cvbench.errors import UsageError
from cvbench.jobs.reading.rows import readable_rows
from cvbench.jobs.reading.selection import Selected
from cvbench.jobs.running.sizes import human
from cvbench.storage.features import FeatureLayer, FeatureStore
from cvbench.storage.features.units import Unit

if TYPE_CHECKING:
    import dask.array


@dataclass(frozen=True, eq=False)
class Matrices:
    """Every selected layer at the samples that are committed and readable in all of them."""

    store: FeatureStore
    selected: Selected

    def __post_init__(self) -> None:
        for layer, stored in self.features.items():
            if len(stored.shape) != 2:
                raise UsageError(
                    f"{layer} of {self.where} is a map per sample, a vector is needed",
                    where=f"view {self.selected.view}",
                    fix="--view head or --view pooled",
                )

    @cached_property
    def features(self) -> dict[Layer, FeatureLayer]:
        """Each layer as it is stored."""
        return {layer: self.store.layer(self.selected.group(layer), layer.tap) for layer in self.selected.layers}

    @cached_property
    def kept(self) -> list[tuple[Unit, NDArray[np.int64]]]:
        """Units and the rows of each that count."""
        return [(unit, readable_rows(self.features.values(), unit)) for unit in self.selected.units]

    @property
    def where(self) -> str:
        """The data set, for messages."""
        return f"{self.selected.dataset}/{self.selected.split}"

    @cached_property
    def samples(self) -> Samples:
        """What the rows are."""
        positions = np.concatenate([unit.start + rows for unit, rows in self.kept])
        info = self.store.split(self.selected.dataset, self.selected.split)
        return Samples(self.where, positions, info.labels[positions], info.classes)

    @property
    def notes(self) -> list[str]:
        """What it takes, and what is left out."""
        n = len(self.samples.positions)
        size = max(layer.shape[1] * layer.dtype.itemsize for layer in self.features.values()) * n
        notes = [f"{self.where}: a layer of {n} samples is held in memory as one array, at most {human(size)}"]
        if self.selected.left_out:
            notes.append(f"{self.selected.left_out} units are left out: not all layers have them")
        return notes

    def read(self, layer: Layer, device: str = "cpu") -> Array:
        """(n, d) of the stored type, on the host or, for "cuda", on the card."""
        stored = self.features[layer]
        values: NDArray[Any] = np.empty((len(self.samples.positions), *stored.shape[1:]), stored.dtype)
        at = 0
        for unit, rows in self.kept:
            values[at : at + len(rows)] = stored.read_unit(unit)[rows]
            at += len(rows)
        return to_device(values, device)

    def lazy(self, layer: Layer) -> dask.array.Array:
        """The same rows, (n, d), a chunk per stored object: nothing is read yet."""
        stored, positions = self.features[layer], self.samples.positions
        values: Any = stored.dask()
        part: dask.array.Array = values
        if len(positions) < len(stored.rows):
            part = values[np.searchsorted(stored.rows, positions)]
        return part
