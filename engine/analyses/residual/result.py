"""Residual sums of all images in numbers: means over images of |branch| / |skip| and of what a sum changes, of each
branch and over all branches of a kind; and differences.

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
    Measure("high_frequency", "share of energy above 0.5 pi without DC, of the sum less of the skip", 4),
    Measure("variance", "ln of the spatial variance of a channel, of the sum over the skip's"),
)
CHANGES = ("high_frequency", "variance")
"""What a sum changes; averaged over the branches of a kind, too."""
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
    last = {one.layer.backbone: i for i, one in enumerate(layers)}
    own = [Pair(rows[-1], rows[0], WITHIN) for rows in _kinds(layers).values() if len(rows) > 1]
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
        `layers` on (layer, measure), `kinds` on (kind, change): of each image the mean over the branches of a kind that
        have it, and `difference` on (pair, measure), with the endings of their intervals; the attributes `layers`,
        `kinds` and `pairs` say what the rows are. Memory: one unit of tables, and the moments.

    Raises:
        DataUnavailableError: There is no image.
    """
    names = [measure.name for measure in TABLE]
    there = [[name in one.measures for name in names] for one in layers]
    changes = [measure for measure in TABLE if measure.name in CHANGES]
    at = [names.index(name) for name in CHANGES]
    kinds = _kinds(layers)
    shown = [[any(there[i][column] for i in rows) for column in at] for rows in kinds.values()]
    blocks = [
        Block("layers", "layer", "measure", [str(one.layer) for one in layers], TABLE, there),
        Block("kinds", "kind", "change", [f"{name} {part}".strip() for name, part in kinds], changes, shown),
    ]

    def numbers(table: Mapping[Layer, F64]) -> F64:
        first = table[layers[0].layer]
        rows = np.full((len(first), len(layers), len(names)), np.nan)
        for i, one in enumerate(layers):
            rows[:, i, there[i]] = table[one.layer]
        means = np.full((len(first), len(kinds), len(at)), np.nan)
        for k, (own, has) in enumerate(zip(kinds.values(), shown, strict=True)):
            for j, column in enumerate(at):
                if has[j]:
                    means[:, k, j] = rows[:, [i for i in own if there[i][column]], column].mean(axis=1)
        return np.concatenate([part.reshape(len(first), -1) for part in (rows, means)], axis=1)

    pairs = residual_pairs(layers)
    coords, data, attrs = layer_means(blocks, pairs, map(numbers, tables), options, classes)
    told = [
        {"backbone": name, "part": part, "branches": len(rows), "measures": [CHANGES[j] for j in range(2) if has[j]]}
        for ((name, part), rows), has in zip(kinds.items(), shown, strict=True)
    ]
    return Result("residual", coords, data, {**attrs, "layers": [one.as_dict() for one in layers], "kinds": told})


def _kinds(layers: Sequence[ResidualLayer]) -> dict[tuple[str, str], list[int]]:
    """Backbone and kind -> its branches, by their numbers."""
    found: dict[tuple[str, str], list[int]] = {}
    for i, one in enumerate(layers):
        found.setdefault((one.layer.backbone, one.part), []).append(i)
    return found
