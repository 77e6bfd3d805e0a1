"""Where the images of several batches lie in one block of memory that processes share."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.pictures.geometry import Geometry

_PAGE = 4096


@dataclass(frozen=True)
class Layout:
    """Slots of a batch each, one behind the other; in a slot the images of each geometry, each from a page's start on.

    Attributes:
        geometries: What the images are fitted to.
        batch: Images of a batch.
        slots: Batches that the block has room for.
    """

    geometries: tuple[Geometry, ...]
    batch: int
    slots: int

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot, in whole pages."""
        return sum(self._bytes(geometry) for geometry in self.geometries)

    @property
    def nbytes(self) -> int:
        """Bytes of the block."""
        return self.slots * self.slot_bytes

    def views(self, block: Any, slot: int) -> dict[Geometry, NDArray[np.uint8]]:
        """For each geometry (batch, 3, h, w) uint8, the memory of a slot itself.

        Args:
            block: A buffer of `nbytes` bytes.
            slot: 0 to `slots` - 1.
        """
        found, at = {}, slot * self.slot_bytes
        for geometry in self.geometries:
            shape = (self.batch, 3, *geometry.size)
            found[geometry] = np.ndarray(shape, np.uint8, buffer=block, offset=at)
            at += self._bytes(geometry)
        return found

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return dataclasses.asdict(self)

    @staticmethod
    def of(fields: dict[str, Any]) -> Layout:
        """The reverse of `as_dict`, after JSON has made lists of tuples."""
        made: Any = Geometry  # whose fields were checked before they travelled
        plain = [{name: _tupled(value) for name, value in one.items()} for one in fields["geometries"]]
        return Layout(tuple(made(**one) for one in plain), fields["batch"], fields["slots"])

    def _bytes(self, geometry: Geometry) -> int:
        return -(-self.batch * 3 * math.prod(geometry.size) // _PAGE) * _PAGE


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
