"""The randomisation test of all images in numbers: rank correlations with intervals, over the steps and at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.layer_means import Block, end_pairs, layer_means
from cvbench.engine.statistics.measure import Measure
from cvbench.engine.statistics.options import IntervalOptions

F64 = NDArray[np.float64]


def _correlation(name: str, about: str) -> Measure:
    return Measure(name, about, side=1, least=-1.0, most=1.0)


TABLE = (
    _correlation("raw", "rank correlation of the map with that of the network whose parameters are all shuffled"),
    _correlation("evidence", "the same of its positive part"),
)


def summarise_randomisation(
    layers: Sequence[Layer],
    tables: Iterable[Mapping[Layer, F64]],
    steps: int,
    options: IntervalOptions,
    classes: NDArray[np.int64] | None = None,
) -> Result:
    """Means over all images.

    Args:
        layers: The target of each backbone.
        tables: Of each unit, layer -> (images, 2, steps) as `randomised.randomised_correlations` gives them.
        steps: As there.
        options: Of the intervals.
        classes: Class of every image, in their order; None for none.

    Returns:
        `layers` on (layer, measure), `curves` on (curve, step), `difference` on (pair, measure), with the endings of
        their intervals.
    """
    names = [str(layer) for layer in layers]
    kinds = [measure.name for measure in TABLE]
    along = [_correlation(f"step_{k + 1}", "mean rank correlation") for k in range(steps)]
    blocks = (
        Block("layers", "layer", "measure", names, TABLE),
        Block("curves", "curve", "step", [f"{name} {kind}" for name in names for kind in kinds], along, noted=False),
    )
    images = (_numbers(layers, table) for table in tables)
    coords, data, attrs = layer_means(blocks, end_pairs(layers, (), kinds), images, options, classes)
    described = [{"backbone": layer.backbone, "tap": layer.tap} for layer in layers]
    return Result("randomisation", coords, data, {**attrs, "layers": described, "steps": steps})


def _numbers(layers: Sequence[Layer], table: Mapping[Layer, F64]) -> F64:
    """(images, numbers): of every layer what is left at the last step, then every step."""
    found = [table[layer] for layer in layers]
    return np.concatenate([*(one[..., -1] for one in found), *(one.reshape(len(one), -1) for one in found)], axis=1)
