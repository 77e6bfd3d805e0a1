"""Deletion and insertion: does the class's probability depend on where a map says that it does (Petsiuk et al. 2018)?

The image is cut into cells x cells parts, the same for every backbone, which a map orders from most to least evidence:
bilinear where the map's grid is coarser, averaged where it is finer; of equals the first, row by row. In `steps` equal
steps these parts are

deletion    taken away from the image: set to 0 in the normalised input, the mean colour. A faithful order lets the
            probability fall fast: a small area under the curve
insertion   put into the image blurred (11 x 11, standard deviation 5, zeros beyond its edge, as in RISE). A faithful
            order lets it rise fast: a large area

The probability is the softmax of the class that the map is of, and the area is the trapezoid's over the share of the
parts, so between 0 and 1. Beside the map's order stands one drawn at random, the same for all images: what a map
without any knowledge gets. Areas of other cells, steps or fillings are not comparable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from cvbench.engine.models.backbones import Backbone
from cvbench.engine.models.precision import forward_mode

CURVES = ("deletion", "insertion", "deletion_random", "insertion_random")
BLUR, DEVIATION = 11, 5.0
"""Side in pixels and standard deviation of the blur."""
SEED = 0
"""Of the order drawn at random."""


def cell_order(raw: Tensor, cells: int) -> Tensor:
    """(B, H, W) maps -> (B, cells * cells) int64, numbers of the parts, most evidence first."""
    values = raw.double()[:, None]
    for axis, side in enumerate(raw.shape[1:]):
        shape = [values.shape[2], values.shape[3]]
        shape[axis] = cells
        if side < cells:
            values = torch.nn.functional.interpolate(values, shape, mode="bilinear", align_corners=False)
        else:
            values = torch.nn.functional.adaptive_avg_pool2d(values, (shape[0], shape[1]))
    return values.flatten(1).argsort(dim=1, descending=True, stable=True)


def random_order(cells: int) -> Tensor:
    """(cells * cells,) int64, drawn once."""
    return torch.randperm(cells * cells, generator=torch.Generator().manual_seed(SEED))


def part_of_pixels(size: tuple[int, int], cells: int) -> Tensor:
    """(h, w) int64, the number of the part that each pixel lies in."""
    down, across = (torch.arange(side) * cells // side for side in size)
    return down[:, None] * cells + across[None, :]


def blurred(inputs: Tensor) -> Tensor:
    """(B, 3, h, w) -> the same, each colour blurred."""
    away = torch.arange(BLUR, dtype=inputs.dtype, device=inputs.device) - BLUR // 2
    line = torch.exp(-(away**2) / (2 * DEVIATION**2))
    line = line / line.sum()
    kernel = (line[:, None] * line[None, :]).expand(inputs.shape[1], 1, BLUR, BLUR)
    return torch.nn.functional.conv2d(inputs, kernel, padding=BLUR // 2, groups=inputs.shape[1])


def probability_curves(
    backbone: Backbone, images: Tensor, raw: Tensor, classes: Tensor, cells: int, steps: int
) -> Tensor:
    """Delete and insert, in the order of a map and in one drawn at random.

    Memory: three batches of images. Four forward passes a step.

    Args:
        backbone: With a classifier.
        images: (B, 3, h, w) uint8 on its device.
        raw: (B, H, W) maps.
        classes: (B,) int64, whose probability it is.
        cells: Parts on each side.
        steps: Equal steps from nothing to all.

    Returns:
        (B, 4, steps + 1) float32, `CURVES`, at 0 to `steps` steps.
    """
    with forward_mode(backbone.device, backbone.compute):
        inputs = backbone.inputs(images)
        soft, nothing = blurred(inputs), torch.zeros_like(inputs)
        parts = part_of_pixels((inputs.shape[2], inputs.shape[3]), cells).to(inputs.device)
        orders = [cell_order(raw, cells).to(inputs.device), random_order(cells).to(inputs.device).expand(len(raw), -1)]
        probability = _probability(backbone, classes)
        curves = [
            torch.stack([probability(image) for image in _steps(start, end, order, parts, steps)], dim=1)
            for order in orders
            for start, end in ((inputs, nothing), (soft, inputs))
        ]
    return torch.stack(curves, dim=1)


def _probability(backbone: Backbone, classes: Tensor) -> Callable[[Tensor], Tensor]:
    def probability(inputs: Tensor) -> Tensor:
        logits: Tensor = backbone.network(inputs).float()
        return logits.softmax(dim=1).gather(1, classes.to(logits.device)[:, None])[:, 0]

    return probability


def _steps(start: Tensor, end: Tensor, order: Tensor, parts: Tensor, steps: int) -> Iterator[Tensor]:
    """The images at each step: the first parts of the order are as in `end`, the others as in `start`."""
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    of_pixels = rank[:, parts]  # (B, h, w)
    for step in range(steps + 1):
        changed = of_pixels < round(step * order.shape[1] / steps)
        yield torch.where(changed[:, None], end, start)
