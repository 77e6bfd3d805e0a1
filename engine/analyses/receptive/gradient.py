"""The gradient of the middle position of a layer with respect to the input, and how far it reaches.

Of a layer on an H x W grid the position (H // 2, W // 2) is taken, whose middle lies at ((H // 2 + 1/2) h / H,
(W // 2 + 1/2) w / W) pixels of an h x w input. Its output y (C,) is summed over channels, v = 1, or with random signs,
v = -1 or 1, drawn once a layer; g = d(v . y) / d input, by pixel and colour, of the network in eval mode and float32.

radius_50, radius_95   least distance from the middle within which the pixels hold that share of sum |g|; pixels
..._squared            the same of sum g^2. With random signs its expectation is the squared Jacobian of the position,
                       all channels together
rows, columns          height and width of the smallest box around all pixels with g != 0: at most the geometric field
within_r               share of sum |g| at distances up to r, at `CURVE` even steps between 0 and the farthest pixel

Luo et al. 2016 average |g| over images first. Here each image has its own numbers, and those are averaged: no image
with large gradients outweighs the others, and there are intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cvbench.engine.models.backbones import Backbone
from cvbench.engine.models.layouts import TapLayout, in_rows
from cvbench.engine.models.precision import exact_arithmetic
from cvbench.engine.models.projections import Read, tapped
from cvbench.engine.models.views import spatial
from cvbench.errors import UsageError, lacking

Output = Literal["sum", "signs"]
SHARES = (0.5, 0.95)
MEASURES = ("radius_50", "radius_95", "radius_50_squared", "radius_95_squared", "rows", "columns")
CURVE = 24
"""Steps of the share by distance."""
CHUNK = 4
"""Images whose whole graph is held at a time."""
_CANCELLED = 1e-3
"""A summed output whose gradient is so small beside that of random signs is constant but for rounding."""


@dataclass(frozen=True)
class Field:
    """Place of the middle position of a layer.

    Attributes:
        grid: (rows, columns) of the layer.
        size: (height, width) of the input in pixels.
    """

    grid: tuple[int, int]
    size: tuple[int, int]

    @classmethod
    def of(cls, layout: TapLayout, size: tuple[int, int]) -> Field:
        """The middle of a layer of this layout."""
        return cls((layout.height, layout.width), size)

    @property
    def position(self) -> tuple[int, int]:
        """Row and column on the grid."""
        return self.grid[0] // 2, self.grid[1] // 2

    @property
    def middle(self) -> tuple[float, float]:
        """Pixels down and across."""
        down, across = (
            (at + 0.5) * side / cells for at, side, cells in zip(self.position, self.size, self.grid, strict=True)
        )
        return down, across

    def distances(self) -> Tensor:
        """(h * w,) float64 pixels from the middle to the middle of each pixel, row by row."""
        down, across = (
            torch.arange(side, dtype=torch.float64) + 0.5 - at for side, at in zip(self.size, self.middle, strict=True)
        )
        return torch.hypot(down[:, None], across[None, :]).flatten()

    def curve(self) -> Tensor:
        """(CURVE,) float64 distances of `within_r`, evenly between 0 and that of the farthest pixel."""
        return torch.linspace(0, float(self.distances().max()), CURVE + 2, dtype=torch.float64)[1:-1]

    def uniform_radii(self) -> tuple[float, ...]:
        """The radii of a gradient that is the same everywhere."""
        return tuple(field_numbers(torch.ones((1, 1, *self.size)), self)[0, :2].tolist())


def position_gradients(
    backbone: Backbone,
    images: Tensor,
    taps: Sequence[str],
    take: Callable[[str, Tensor], None],
    output: Output = "sum",
) -> None:
    """The gradient of the middle position of each layer with respect to the normalised input.

    One forward pass, and one backward pass a layer. Memory: the graph of the images, and one gradient.

    Args:
        backbone: Whose; its precision has no part in it.
        images: (B, 3, h, w) uint8 on its device.
        taps: Layers with a grid.
        take: Gets of each layer (tap, (B, 3, h, w) float32), zeros where it does not depend on the input.
        output: What is made of the channels.

    Raises:
        UsageError: No gradient can be taken through the network.
    """
    layouts, scores = backbone.layouts(taps), dict[str, Tensor]()
    inputs = backbone.inputs(images).float().detach().requires_grad_()

    def watch(tap: str, item: Read) -> Callable[[nn.Module, Any, Any, Any], None]:
        layout = layouts[tap]

        def hook(module: nn.Module, inputs: Any, named: Any, given: Any) -> None:
            activation = tapped(item, module, inputs, named, given)
            row, column = Field.of(layout, (1, 1)).position
            values = spatial(in_rows(activation, layout), layout)[:, row, column]
            # At once: what follows may change the activation in place.
            scores[tap] = (values * _weights(values.shape[1], output).to(values)).sum()

        return hook

    with ExitStack() as hooks, torch.enable_grad(), exact_arithmetic(backbone.device):
        for tap in taps:
            name, item = backbone.source_of(tap)
            module = backbone.network.get_submodule(name)
            hooks.callback(module.register_forward_hook(watch(tap, item), with_kwargs=True).remove)
        try:
            backbone.network(inputs)
            hooks.close()
            for tap in taps:
                take(tap, _gradient(scores.pop(tap), inputs, last=not scores))
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or lacking(error) is not None:
                raise
            raise UsageError(
                f"no gradient can be taken through {backbone.spec.key}", why=" ".join(str(error).split())[:200]
            ) from error


def _gradient(score: Tensor, inputs: Tensor, *, last: bool) -> Tensor:
    if not score.requires_grad:
        return torch.zeros_like(inputs)
    found: Sequence[Tensor | None] = torch.autograd.grad(score, inputs, retain_graph=not last, allow_unused=True)
    return torch.zeros_like(inputs) if found[0] is None else found[0]


def _weights(channels: int, output: Output) -> Tensor:
    if output == "sum":
        return torch.ones(channels)
    return torch.randint(0, 2, (channels,), generator=torch.Generator().manual_seed(channels)) * 2.0 - 1.0


def field_numbers(gradient: Tensor, field: Field) -> Tensor:
    """Measure gradients.

    Args:
        gradient: (B, colours, h, w).
        field: Of the layer whose gradient it is.

    Returns:
        (B, 6 + CURVE) float64: `MEASURES`, then the share within each distance of `Field.curve`. NaN, but for rows and
        columns, where the gradient is 0 everywhere; all NaN where it is not finite.
    """
    distances = field.distances().to(gradient.device)
    order = torch.argsort(distances, stable=True)
    sorted_distances = distances[order]
    absolute, squared = (
        values.sum(dim=1).flatten(1)[:, order].cumsum(dim=1)
        for values in (gradient.double().abs(), gradient.double().square())
    )
    columns = [sorted_distances[_first_at(sums, share)] for sums in (absolute, squared) for share in SHARES] + list(
        _box(gradient)
    )
    ends = torch.searchsorted(sorted_distances, field.curve().to(gradient.device), right=True).clamp(min=1) - 1
    total = absolute[:, -1:]
    table = torch.cat([torch.stack(columns, dim=1), absolute[:, ends] / total], dim=1)
    table[(total[:, 0] == 0)[:, None] & _undefined(table)] = torch.nan
    table[~total[:, 0].isfinite()] = torch.nan
    return table


def _first_at(sums: Tensor, share: float) -> Tensor:
    """(B,) index of the first pixel with which the cumulative sums (B, pixels) reach a share of the whole."""
    wanted = share * sums[:, -1:]
    return torch.searchsorted(sums, wanted).clamp(max=sums.shape[1] - 1)[:, 0]


def _box(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) height and width of the box around what is not 0; 0 without."""
    seen = (gradient != 0).any(dim=1)
    sides = []
    for axis in (2, 1):
        lines = seen.any(dim=axis)  # (B, side)
        numbers = torch.arange(lines.shape[1], device=lines.device)
        first = torch.where(lines, numbers, lines.shape[1]).amin(dim=1)
        last = torch.where(lines, numbers, -1).amax(dim=1)
        sides.append((last - first + 1).clamp(min=0).double())
    return sides[0], sides[1]


def _undefined(table: Tensor) -> Tensor:
    """Columns that a gradient of 0 leaves undefined."""
    found = torch.ones(table.shape[1], dtype=torch.bool, device=table.device)
    found[MEASURES.index("rows") : MEASURES.index("columns") + 1] = False
    return found


def measure_fields(backbone: Backbone, images: Tensor, taps: Sequence[str], output: Output) -> dict[str, Tensor]:
    """The numbers of each layer, `CHUNK` images at a time: tap -> (B, 6 + CURVE) float32."""
    layouts, size = backbone.layouts(taps), backbone.preprocess.geometry.size
    parts: dict[str, list[Tensor]] = {tap: [] for tap in taps}

    def take(tap: str, gradient: Tensor) -> None:
        parts[tap].append(field_numbers(gradient, Field.of(layouts[tap], size)).float())

    for start in range(0, len(images), CHUNK):
        position_gradients(backbone, images[start : start + CHUNK], taps, take, output)
    return {tap: torch.cat(found) for tap, found in parts.items()}


def cancelled_layers(backbone: Backbone, taps: Sequence[str]) -> list[str]:
    """The layers whose channels sum to a constant, as behind a norm over channels: their sum has no gradient."""
    size = backbone.preprocess.geometry.size
    noise = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def sizes(output: Output) -> dict[str, float]:
        found: dict[str, float] = {}

        def take(tap: str, gradient: Tensor) -> None:
            found[tap] = float(torch.linalg.vector_norm(gradient))

        position_gradients(backbone, noise.to(backbone.device), taps, take, output)
        return found

    summed, signed = sizes("sum"), sizes("signs")
    return [tap for tap in taps if summed[tap] < _CANCELLED * signed[tap]]
