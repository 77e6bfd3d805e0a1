"""What is measured of each image by a pass of its own through a backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from cvbench.engine.models.backbones import Backbone


@dataclass(frozen=True)
class Tapped:
    """Numbers that are kept of one layer.

    Attributes:
        shape: Of one image's numbers.
        dims: Names of their axes.
        attrs: What a summary must know; plain JSON values. `position`, the place among all taps, is added.
        made: What changes the numbers of such a layer beside `Numbers.made`; part of its backbone's fingerprint.
    """

    shape: tuple[int, ...]
    dims: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)


IN_ROWS: Mapping[str, Any] = {"tokens": "in rows"}
"""`Tapped.made` of a layer whose tokens lie in an order of their own, and whose numbers know where."""


class Numbers(Protocol):
    """A pass. Frozen, of plain values: it travels to the actors, and two threads may share it."""

    @property
    def name(self) -> str:
        """Name of the command."""

    @property
    def view(self) -> str:
        """Name of the view: that of the command, or what begins with it and a dot."""

    @property
    def made(self) -> Mapping[str, Any]:
        """Everything that changes the numbers, beside backbone and images: part of the fingerprint."""

    def layers(self, backbone: Backbone) -> tuple[dict[str, Tapped], list[str]]:
        """Find what is kept of which tap, and what must be said of the others, by a look at the network on the CPU.

        Raises:
            UsageError: There is nothing to measure; says why.
        """

    def variants(self, backbone: Backbone) -> Sequence[Backbone]:
        """Make the networks that are run beside a backbone, once for each worker; usually none."""

    def measure(
        self, backbone: Backbone, variants: Sequence[Backbone], images: Tensor, taps: Mapping[str, Tapped]
    ) -> dict[str, Tensor]:
        """Measure a batch.

        Args:
            backbone: Which.
            variants: As made of it; nobody writes to them.
            images: (B, 3, h, w) uint8 on the backbone's device.
            taps: Of which layers.

        Returns:
            Tap -> (B, *shape) float32.
        """
