"""Residual sums of all images in numbers: means over images of |branch| / |skip|, and differences.

Differences, of the same images: of each backbone, the last branch of a kind (attention, MLP, whole blocks) less the
first of that kind; of two backbones, the last branches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.layer_means import Block, Pair, layer_means
from cvbench.engine.statistics.measure import Measure
from cvbench.engine.statistics.options import IntervalOptions

F64 = NDArray[np.float64]

TABLE = (
    Measure("patches", "median over the positions of |branch| / |skip|", least=0.0),
    Measure("class_token", "|branch| / |skip| of the class token", least=0.0),
    Measure("registers", "median over registers and other prefix tokens of |branch| / |skip|", least=0.0),
)
WITHIN = ("patches", "class_token")
BETWEEN = ("patches",)


@dataclass(frozen=True)
class ResidualLayer:
    """A branch.

    Attributes:
        layer: Which.
        part: What kind of branch its block has there, see `sums.ResidualSum`.
        measures: Those that it has, of `TABLE`.
    """

    layer: Layer
    part: str
    measures: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON form, of a result's attributes."""
        named = {"backbone": self.layer.backbone, "tap": self.layer.tap}
        return {**named, "part": self.part, "measures": list(self.measures)}


def residual_pairs(layers: Sequence[ResidualLayer]) -> list[Pair]:
    """The branches that are compared, by their numbers."""
    kinds: dict[tuple[str, str], list[int]] = {}
    last: dict[str, int] = {}
    for i, one in enumerate(layers):
        kinds.setdefault((one.layer.backbone, one.part), []).append(i)
        last[one.layer.backbone] = i
    own = [Pair(rows[-1], rows[0], WITHIN) for rows in kinds.values() if len(rows) > 1]
    return own + [Pair(one, two, BETWEEN) for one, two in combinations(last.values(), 2)]


def summarise_residual(
    layers: Sequence[ResidualLayer],
    tables: Iterable[Mapping[Layer, F64]],
    options: IntervalOptions,
    classes: NDArray[np.int64] | None = None,
) -> Result:
    """Means over all images.

    Args:
        layers: In the result's order.
        tables: Of each unit, layer -> (images, measures that it has); NaN where an image does not define one.
        options: Of the intervals.
        classes: Class of every image, in their order; None for none.

    Returns:
        `layers` on (layer, measure) and `difference` on (pair, measure), with the endings of their intervals; the
        attributes `layers` and `pairs` say what the rows are. Memory: one unit of tables, and the moments.

    Raises:
        DataUnavailableError: There is no image.
    """
    names = [measure.name for measure in TABLE]
    there = [[name in one.measures for name in names] for one in layers]
    blocks = [Block("layers", "layer", "measure", [str(one.layer) for one in layers], TABLE, there)]

    def numbers(table: Mapping[Layer, F64]) -> F64:
        first = table[layers[0].layer]
        rows = np.full((len(first), len(layers), len(names)), np.nan)
        for i, one in enumerate(layers):
            rows[:, i, there[i]] = table[one.layer]
        return rows.reshape(len(first), -1)

    pairs = residual_pairs(layers)
    coords, data, attrs = layer_means(blocks, pairs, map(numbers, tables), options, classes)
    return Result("residual", coords, data, {**attrs, "layers": [one.as_dict() for one in layers]})
