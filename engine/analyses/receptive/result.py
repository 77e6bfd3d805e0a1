"""Effective receptive fields of all images in numbers: means over images of every layer, and differences.

Beside what is measured of an image (`gradient`): `relative`, the radius that holds half, divided by that of a gradient
that is the same everywhere, so that inputs of other sizes can be compared; and the largest box of all images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.layer_means import Block, end_pairs, layer_means
from cvbench.engine.statistics.measure import Measure
from cvbench.engine.statistics.options import IntervalOptions

F64 = NDArray[np.float64]

RADII = (
    Measure("radius_50", "radius that holds half of the gradient", least=0.0),
    Measure("radius_95", "radius that holds 95 % of it", least=0.0),
    Measure("radius_50_squared", "radius that holds half of the squared gradient", least=0.0),
    Measure("radius_95_squared", "radius that holds 95 % of it", least=0.0),
)
"""What an image has of one layer; the order is `gradient.MEASURES`, whose last two are the sides of the box."""
TABLE = (*RADII, Measure("relative", "half's radius / that of a gradient that is the same everywhere", least=0.0))
SIDES = 2
WITHIN = ("radius_50", "radius_95", "radius_50_squared", "radius_95_squared")
BETWEEN = ("relative",)


@dataclass(frozen=True)
class FieldLayer:
    """A layer whose receptive field was measured.

    Attributes:
        layer: Which.
        grid: (rows, columns).
        size: (height, width) of the input in pixels.
        curve: Distances in pixels at which the share within is known.
        uniform: Radii that hold 50 % and 95 % of a gradient that is the same everywhere.
    """

    layer: Layer
    grid: tuple[int, int]
    size: tuple[int, int]
    curve: tuple[float, ...]
    uniform: tuple[float, float]


def summarise_fields(
    layers: Sequence[FieldLayer],
    tables: Iterable[Mapping[Layer, F64]],
    options: IntervalOptions,
    classes: NDArray[np.int64] | None = None,
) -> Result:
    """Means over all images.

    Args:
        layers: In the result's order.
        tables: Of each unit, layer -> (images, 6 + steps) as `gradient.field_numbers` gives them.
        options: Of the intervals.
        classes: Class of every image, in their order; None for none.

    Returns:
        `layers` on (layer, measure), `within` on (layer, step), `difference` on (pair, measure), with the endings of
        their intervals; `box` (layer, side), the largest height and width in pixels of what has a gradient; `distance`
        (layer, step), pixels.
    """
    names = [str(one.layer) for one in layers]
    # Numbers, not shares that all images might share by chance: beyond the geometric field they are 1 in all.
    about = "share of the gradient within a distance"
    steps = [Measure(f"within_{k}", about, least=0.0, most=1.0) for k in range(len(layers[0].curve))]
    blocks = (
        Block("layers", "layer", "measure", names, TABLE),
        Block("within", "layer", "step", names, steps, noted=False),
    )
    pairs = end_pairs([one.layer for one in layers], WITHIN, BETWEEN)
    box = np.zeros((len(layers), SIDES))
    coords, data, attrs = layer_means(blocks, pairs, _numbers(layers, tables, box), options, classes)
    coords["side"] = ["rows", "columns"]
    data["box"] = (("layer", "side"), box)
    data["distance"] = (("layer", "step"), np.array([one.curve for one in layers]))
    described: list[dict[str, Any]] = [
        {
            "backbone": one.layer.backbone,
            "tap": one.layer.tap,
            "grid": list(one.grid),
            "size": list(one.size),
            "uniform": list(one.uniform),
        }
        for one in layers
    ]
    return Result("receptive-field", coords, data, {**attrs, "layers": described})


def _numbers(layers: Sequence[FieldLayer], tables: Iterable[Mapping[Layer, F64]], box: F64) -> Iterator[F64]:
    """(n, numbers) of each unit; `box` grows to the largest."""
    count = len(RADII)
    for table in tables:
        radii, curves = [], []
        for i, one in enumerate(layers):
            numbers = table[one.layer]
            radii.append(np.concatenate([numbers[:, :count], numbers[:, :1] / one.uniform[0]], axis=1))
            curves.append(numbers[:, count + SIDES :])
            box[i] = np.fmax(box[i], np.fmax.reduce(numbers[:, count : count + SIDES], axis=0, initial=0.0))
        yield np.concatenate([*radii, *curves], axis=1)
