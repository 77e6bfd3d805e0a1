"""Live analyses: a unit's partial from activations that are still on the device, batch by batch, layer by layer.

What is measured is what the view `maps` would hold, in its type. So a partial is the one that `measure` gives from the
store, and no map is ever kept: memory is one layer of one batch, and the partials.
On a device the numbers of a batch go to the host in one copy, while the next batch runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Analysis, Layer, Partial
from cvbench.engine.arrays.array import Array


class LiveUnit(Protocol):
    """Collects one unit. Per batch: `begin`, then `add` once per layer; at the end `partial`."""

    def begin(self, rows: NDArray[np.int64]) -> None:
        """The next batch: its samples' rows within the unit, ascending; unreadable ones are left out."""

    def add(self, index: int, maps: Array) -> None:
        """Layer number `index` of the batch: (len(rows), H, W, C). The caller may reuse the memory afterwards."""

    def partial(self) -> Partial:
        """The partial that `measure` gives for the whole unit."""


@runtime_checkable
class DeviceUnit(LiveUnit, Protocol):
    """A collector that leaves its numbers on the device while a batch runs, so that the host need not wait for them."""

    def take(self) -> list[Array]:
        """After the last layer of a batch: its numbers that are still on the device. None on the host."""

    def give(self, numbers: list[NDArray[np.float64]]) -> None:
        """Receive what was taken, now on the host; batch by batch in their order, all of them before `partial`."""


class LiveAnalysis(Analysis, Protocol):
    """An analysis that can be measured so."""

    def live(self, layers: Sequence[Layer]) -> LiveUnit:
        """Make the collector of one unit of these layers."""
