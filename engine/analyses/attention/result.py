"""The attention of all images in numbers: means over images of every head and every layer, and differences.

A layer's number is the mean over its heads; beside it

relative    the distance divided by that of attention which is the same everywhere: layers of other grids and inputs of
            other sizes can be compared
range       largest less smallest distance of the layer's heads in the image, pixels: whether heads differ in how far
            they look (Raghu et al. 2021, fig. 3)
farthest    largest distance of the layer's heads in the image, divided by that of uniform attention: 1 for a head that
            takes in the whole image alike

Differences, of the same images: the last layer less the first of each backbone, and the last layers of two backbones,
in units that do not depend on the input's size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.layer_means import Block, end_pairs, layer_means
from cvbench.engine.statistics.measure import Measure, share
from cvbench.engine.statistics.options import IntervalOptions

F64 = NDArray[np.float64]

HEAD_TABLE = (
    Measure("distance", "mean distance of attention between patches", least=0.0),
    Measure("distance_raw", "the same, prefix tokens at distance 0", least=0.0),
    Measure("entropy", "entropy over all keys", least=0.0),
    share("class_mass", "attention on the class token"),
    share("register_mass", "attention on registers and other prefix tokens"),
)
"""What an image has of one head; the order is `kernel.MEASURES`."""
LAYER_TABLE = (
    *HEAD_TABLE,
    Measure("relative", "distance / distance of uniform attention", least=0.0),
    Measure("range", "largest less smallest distance of the heads", least=0.0),
    Measure("farthest", "largest distance of the heads / distance of uniform attention", least=0.0),
)
"""What an image has of one layer."""
WITHIN = ("distance", "entropy", "class_mass", "register_mass", "relative", "range")
"""Measures whose last layer is compared with the first."""
BETWEEN = ("relative", "class_mass", "register_mass")
"""Measures that two backbones are compared by."""


@dataclass(frozen=True)
class AttentionLayer:
    """A layer whose attention was measured.

    Attributes:
        layer: Which.
        heads: How many.
        grid: (rows, columns) of its patches.
        prefix: Tokens in front of them.
        class_token: Whether the first of these is a class token.
        stride: (down, across) pixels from one patch to the next.
    """

    layer: Layer
    heads: int
    grid: tuple[int, int]
    prefix: int
    class_token: bool
    stride: tuple[float, float]

    @property
    def uniform_distance(self) -> float:
        """Mean distance in pixels of two patches, each drawn at random: that of attention that is the same everywhere.

        >>> AttentionLayer(Layer("a", "b"), 1, (1, 2), 0, False, (8.0, 8.0)).uniform_distance
        4.0
        """
        rows, columns = (np.arange(n) * step for n, step in zip(self.grid, self.stride, strict=True))
        across = np.abs(columns[:, None] - columns)
        return float(np.mean([np.hypot(down, across).mean() for down in np.abs(rows[:, None] - rows).flat]))

    @property
    def uniform_entropy(self) -> float:
        """Entropy in nats of attention that is the same on every token."""
        return float(np.log(self.prefix + self.grid[0] * self.grid[1]))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON form, of a result's attributes."""
        return {
            "backbone": self.layer.backbone,
            "tap": self.layer.tap,
            "heads": self.heads,
            "grid": list(self.grid),
            "prefix": self.prefix,
            "class_token": self.class_token,
            "uniform_distance": self.uniform_distance,
            "uniform_entropy": self.uniform_entropy,
        }

    def has(self, name: str) -> bool:
        """Whether a measure of this name is defined here."""
        wanted = {"class_mass": self.class_token, "register_mass": self.prefix > int(self.class_token)}
        return wanted.get(name, self.heads > 1 if name == "range" else True)


def summarise_attention(
    layers: Sequence[AttentionLayer],
    tables: Iterable[Mapping[Layer, F64]],
    options: IntervalOptions,
    classes: NDArray[np.int64] | None = None,
) -> Result:
    """Means over all images.

    Args:
        layers: In the result's order.
        tables: Of each unit, layer -> (images, heads, 5) in the order of `HEAD_TABLE`.
        options: Of the intervals.
        classes: Class of every image, in their order; None for none.

    Returns:
        `heads` on (head, head_measure), `layers` on (layer, measure) and `difference` on (pair, measure), each with the
        endings of its intervals and `n_undefined`; the attributes `layers`, `heads`, `pairs` say what the rows are.
        Memory: one unit of tables, and the moments.
    """
    names = [str(one.layer) for one in layers]
    heads = [(i, head) for i, one in enumerate(layers) for head in range(one.heads)]
    blocks = (
        Block("layers", "layer", "measure", names, LAYER_TABLE, [_there(one, LAYER_TABLE) for one in layers]),
        Block(
            "heads",
            "head",
            "head_measure",
            [f"{names[i]} head {head}" for i, head in heads],
            HEAD_TABLE,
            [_there(layers[i], HEAD_TABLE) for i, _ in heads],
        ),
    )
    pairs = end_pairs([one.layer for one in layers], WITHIN, BETWEEN)
    coords, data, attrs = layer_means(blocks, pairs, (_numbers(layers, table) for table in tables), options, classes)
    attrs |= {"layers": [one.as_dict() for one in layers], "heads": [list(place) for place in heads]}
    return Result("attention", coords, data, attrs)


def _there(layer: AttentionLayer, table: Sequence[Measure]) -> list[bool]:
    return [layer.has(measure.name) for measure in table]


def _numbers(layers: Sequence[AttentionLayer], table: Mapping[Layer, F64]) -> F64:
    """(n, numbers) all numbers of each image: of the layers, then of their heads."""
    heads = [table[one.layer] for one in layers]
    of_layers = []
    for one, numbers in zip(layers, heads, strict=True):
        distances = numbers[:, :, 0]
        near, far, uniform = distances.min(axis=1), distances.max(axis=1), one.uniform_distance
        beside = [distances.mean(axis=1) / uniform, far - near, far / uniform]
        of_layers.append(np.concatenate([numbers.mean(axis=1), np.stack(beside, axis=1)], axis=1))
    return np.concatenate([numbers.reshape(len(numbers), -1) for numbers in (*of_layers, *heads)], axis=1)
