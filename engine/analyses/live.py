"""Live analyses: a unit's partial from activations that are still on the device, batch by batch, layer by layer.

What is measured is what the view `maps` would hold, in its type. So a partial is the one that `measure` gives from the
store, and no map is ever kept: memory is one layer of one batch, and the partials.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Analysis, Layer, Partial, Result, Rows
from cvbench.engine.arrays.array import Array


class LiveUnit(Protocol):
    """Collects one unit. Per batch: `begin`, then `add` once per layer; at the end `partial`."""

    def begin(self, rows: NDArray[np.int64]) -> None:
        """The next batch: its samples' rows within the unit, ascending; unreadable ones are left out."""

    def add(self, index: int, maps: Array) -> None:
        """Layer number `index` of the batch: (len(rows), H, W, C). The caller may reuse the memory afterwards."""

    def partial(self) -> Partial:
        """The partial that `measure` gives for the whole unit."""


class LiveAnalysis(Analysis, Protocol):
    """An analysis that can be measured so."""

    def live(self, layers: Sequence[Layer]) -> LiveUnit:
        """Make the collector of one unit of these layers."""


class LayerwiseUnit:
    """The collector of an analysis that looks at each layer and image by itself.

    It keeps a small part per batch and layer, whose keys end in `/index` of the layer, and joins them at the end.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        measure_layer: Callable[[int, Layer, Array], Partial],
        merge: Callable[[Iterable[Partial]], Partial],
    ) -> None:
        self._layers, self._measure, self._merge = layers, measure_layer, merge
        self._parts: defaultdict[int, list[Partial]] = defaultdict(list)

    def begin(self, rows: NDArray[np.int64]) -> None:
        """Nothing to prepare: images are independent."""

    def add(self, index: int, maps: Array) -> None:
        self._parts[index].append(self._measure(index, self._layers[index], maps))

    def partial(self) -> Partial:
        joined: Partial = {}
        for index in range(len(self._layers)):
            joined |= self._merge(self._parts[index])
        return joined


class Layerwise(ABC):
    """An analysis of each layer and image by itself, without parameters: `name`, `measure_layer` and `summarise` are
    its own."""

    name: ClassVar[str]

    @abstractmethod
    def measure_layer(self, index: int, layer: Layer, maps: Array) -> Partial:
        """The part of layer number `index`, of (n, H, W, C) maps: arrays of n rows, whose keys end in `/index`."""

    @abstractmethod
    def summarise(self, layers: Sequence[Layer], partials: Iterable[Partial]) -> Result:
        """See `Analysis`."""

    def merge(self, partials: Iterable[Partial]) -> Partial:
        """One partial of several: their rows one after the other."""
        parts = list(partials)
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def measure(self, layers: Sequence[Layer], read: Callable[[Layer], Array], rows: Rows) -> Partial:
        """See `Analysis`."""
        partial: Partial = {}
        for index, layer in enumerate(layers):
            partial |= self.measure_layer(index, layer, read(layer))
        return partial

    def live(self, layers: Sequence[Layer]) -> LiveUnit:
        """See `LiveAnalysis`."""
        return LayerwiseUnit(layers, self.measure_layer, self.merge)

    def as_dict(self) -> Mapping[str, Any]:
        """No parameter changes a partial."""
        return {}

    def summary_dict(self) -> Mapping[str, Any]:
        """No parameter changes the summary."""
        return {}
