"""Analyses that look at each layer and each image by itself: the same numbers of stored units and of live batches."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Partial, Result, Rows
from cvbench.engine.analyses.checks import check_samples
from cvbench.engine.analyses.live import LiveUnit
from cvbench.engine.arrays.array import Array
from cvbench.engine.arrays.fetch import fetched


def layer_by_layer(
    measure_layer: Callable[[int, Layer, Array], Partial],
    layers: Sequence[Layer],
    read: Callable[[Layer], Array],
    rows: Rows,
) -> Partial:
    """The partial of a stored unit, of an analysis that looks at each layer and image by itself.

    Memory: one layer's unit as `read` gives it, and what `measure_layer` says.

    Args:
        measure_layer: Makes the part of layer number i, of (n, H, W, C) maps, and refuses others.
        layers, read, rows: As every analysis takes them.

    Raises:
        UsageError, IntegrityError: As `measure_layer`; a layer of another number of samples.
    """
    partial: Partial = {}
    for index, layer in enumerate(layers):
        maps = read(layer)
        check_samples(layer, len(maps), len(rows))
        partial |= measure_layer(index, layer, maps)
        del maps  # before the next is read
    return partial


@dataclass(frozen=True, eq=False)
class Measured:
    """Measurements of one layer.

    Attributes:
        numbers: Small float64 arrays where the maps lie; may be empty.
        finish: Makes the partial of them, on the host.
    """

    numbers: list[Array]
    finish: Callable[[list[NDArray[np.float64]]], Partial]

    @property
    def on_device(self) -> bool:
        """Whether the numbers are to be copied to the host."""
        return bool(self.numbers) and not isinstance(self.numbers[0], np.ndarray)

    def partial(self) -> Partial:
        """The partial, now."""
        return self.finish(fetched(self.numbers))


class _Joined:
    """Parts of one layer in their order, joined where the new ones have grown as large as what is joined already."""

    def __init__(self, merge: Callable[[Iterable[Partial]], Partial]) -> None:
        self._merge = merge
        self._parts: list[Partial] = []
        self._first = self._rest = 0  # bytes

    def add(self, part: Partial) -> None:
        self._parts.append(part)
        size = sum(values.nbytes for values in part.values())
        if len(self._parts) == 1:
            self._first = size
            return
        self._rest += size
        if self._rest >= self._first:
            self._parts = [self.partial()]
            self._first, self._rest = sum(values.nbytes for values in self._parts[0].values()), 0

    def partial(self) -> Partial:
        return self._merge(self._parts)


@dataclass(frozen=True, eq=False)
class _Awaited:
    """A layer of a batch whose numbers are not on the host yet."""

    index: int
    numbers: list[Array]
    finish: Callable[[list[NDArray[np.float64]]], Partial]
    count: int = 0

    def taken(self) -> _Awaited:
        """Without its numbers, whose memory the device may have back."""
        return replace(self, numbers=[], count=len(self.numbers))


class LayerwiseUnit:
    """The collector of an analysis that looks at each layer and image by itself.

    Parts of a layer, whose keys end in `/index`, are joined as they come. Memory: twice what they come to, joined.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        measure_layer: Callable[[int, Layer, Array], Measured],
        merge: Callable[[Iterable[Partial]], Partial],
    ) -> None:
        self._layers, self._measure = layers, measure_layer
        self._joined = [_Joined(merge) for _ in layers]
        self._batch: list[_Awaited] = []  # measured, its numbers on the device
        self._taken: deque[list[_Awaited]] = deque()

    def begin(self, rows: NDArray[np.int64]) -> None:
        """Nothing to prepare: images are independent."""

    def add(self, index: int, maps: Array) -> None:
        measured = self._measure(index, self._layers[index], maps)
        if measured.on_device:
            self._batch.append(_Awaited(index, measured.numbers, measured.finish))
        else:
            self._joined[index].add(measured.finish(measured.numbers))

    def take(self) -> list[Array]:
        """See `DeviceUnit`."""
        numbers = [array for awaited in self._batch for array in awaited.numbers]
        if numbers:
            self._taken.append([awaited.taken() for awaited in self._batch])
        self._batch = []
        return numbers

    def give(self, numbers: list[NDArray[np.float64]]) -> None:
        """See `DeviceUnit`."""
        if not numbers:
            return
        left = iter(numbers)
        for awaited in self._taken.popleft():
            self._joined[awaited.index].add(awaited.finish([*itertools.islice(left, awaited.count)]))

    def partial(self) -> Partial:
        joined: Partial = {}
        for one in self._joined:
            joined |= one.partial()
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
        return layer_by_layer(self.measure_layer, layers, read, rows)

    def live(self, layers: Sequence[Layer]) -> LiveUnit:
        """See `LiveAnalysis`."""
        return LayerwiseUnit(layers, self._measured, self.merge)

    def _measured(self, index: int, layer: Layer, maps: Array) -> Measured:
        part = self.measure_layer(index, layer, maps)
        return Measured([], lambda _: part)

    def as_dict(self) -> Mapping[str, Any]:
        """No parameter changes a partial."""
        return {}

    def summary_dict(self) -> Mapping[str, Any]:
        """No parameter changes the summary."""
        return {}
