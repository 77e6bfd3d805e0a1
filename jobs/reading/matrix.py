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
from cvbench.jobs.reading.reading import Reading
from cvbench.jobs.running.sizes import human

if TYPE_CHECKING:
    import dask.array

MUCH = 2**30
"""Bytes of one layer in memory that are worth a word."""


@dataclass(frozen=True, eq=False)
class Matrices(Reading):
    """Every selected layer, a vector per sample, at the samples that are committed and readable in all of them."""

    def __post_init__(self) -> None:
        for layer, stored in self.layers.items():
            if len(stored.shape) != 2:
                raise UsageError(
                    f"{layer} of {self.where} is a map per sample, a vector is needed",
                    where=f"view {self.selected.view}",
                    fix="--view head or --view pooled",
                )

    @classmethod
    def of(cls, reading: Reading) -> Matrices:
        """The layers of a reading.

        Raises:
            UsageError: One is a map per sample.
        """
        return cls(reading.store, reading.selected, reading.commits)

    @cached_property
    def samples(self) -> Samples:
        """The samples that the rows are."""
        return Samples(self.where, self.rows, self.classes, self.info.classes)

    @property
    def notes(self) -> list[str]:
        """Notes on the memory that a layer takes if that is much, and on the units that are left out."""
        n = len(self.rows)
        size = max(layer.shape[1] * layer.dtype.itemsize for layer in self.layers.values()) * n
        notes = []
        if size >= MUCH:
            notes.append(f"{self.where}: a layer of {n} samples is held in memory as one array, at most {human(size)}")
        if self.selected.left_out:
            notes.append(f"{self.selected.left_out} units are left out: not all layers have them")
        return notes

    def read(self, layer: Layer, device: str = "cpu") -> Array:
        """(n, d) of the stored type, on the host or, for "cuda", on the card."""
        stored = self.layers[layer]
        values: NDArray[Any] = np.empty((len(self.rows), *stored.shape[1:]), stored.dtype)
        at = 0
        for unit, rows in self.kept:
            values[at : at + len(rows)] = stored.read_unit(unit)[rows]
            at += len(rows)
        return to_device(values, device)

    def lazy(self, layer: Layer) -> dask.array.Array:
        """The rows of a layer, (n, d), a chunk per stored object: nothing is read yet."""
        stored, positions = self.layers[layer], self.rows
        values: Any = stored.dask()
        part: dask.array.Array = values
        if len(positions) < len(stored.rows):
            part = values[np.searchsorted(stored.rows, positions)]
        return part
