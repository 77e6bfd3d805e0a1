"""What an analysis is: `measure` one unit of samples into a small partial, `summarise` the partials into a result.

Both are pure. Partials are stored, and reduced in unit order, so a result does not depend on how many workers there
were, or how often the job was resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.arrays.array import Array

Partial: TypeAlias = dict[str, NDArray[np.float64]]
"""Small float64 arrays of one unit, by name."""

Rows: TypeAlias = NDArray[np.int64]
"""Positions of samples within their unit."""


NOT_FINITE = (
    "extract it again, into a new store: with --dtype float32 (float16 ends at 65,504) if it was made with --precision "
    "fp32 or bf16, else with --precision fp32 or bf16"
)
"""What to do about a layer with values that are not finite, in the network's arithmetic or in the stored type."""


@dataclass(frozen=True, order=True)
class Layer:
    """One tapped layer of one backbone."""

    backbone: str
    tap: str

    def __str__(self) -> str:
        return f"{self.backbone}/{self.tap}"


@dataclass(frozen=True)
class Result:
    """Labelled arrays, in the shape of an `xarray.Dataset`: `Dataset(data, coords, attrs)`.

    Attributes:
        name: The analysis.
        coords: Dimension -> labels.
        data: Variable -> (dimensions, array).
        attrs: What the numbers mean and how they were made; plain JSON values.
    """

    name: str
    coords: dict[str, list[Any]]
    data: dict[str, tuple[tuple[str, ...], NDArray[Any]]]
    attrs: dict[str, Any] = field(default_factory=dict)


class Analysis(Protocol):
    """All that a job asks of an analysis."""

    @property
    def name(self) -> str:
        """Its key in the registry and in the store."""

    def measure(self, layers: Sequence[Layer], read: Callable[[Layer], Array], rows: Rows) -> Partial:
        """The partial of one unit.

        Args:
            layers: All layers, in the result's order.
            read: Layer -> (len(rows), ...) activations; the same samples in the same order for every layer. Called once
                per layer, and the array is let go before the next call.
            rows: Where the samples stand in their unit, ascending; unreadable ones are left out.
        """

    def summarise(self, layers: Sequence[Layer], partials: Iterable[Partial]) -> Result:
        """The result of all partials, given in unit order."""

    def as_dict(self) -> Mapping[str, Any]:
        """Every parameter that changes a partial: part of the partial's key."""

    def summary_dict(self) -> Mapping[str, Any]:
        """Every parameter that changes only the summary."""
