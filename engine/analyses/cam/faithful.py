"""Deletion and insertion of all images in numbers: areas, and what they gain over a random order, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.layer_means import Block, end_pairs, layer_means
from cvbench.engine.statistics.measure import Measure, share
from cvbench.engine.statistics.options import IntervalOptions

F64 = NDArray[np.float64]

TABLE = (
    share("deletion", "area under the deletion curve", 1),
    share("insertion", "area under the insertion curve", 1),
    share("deletion_random", "the same of a random order", 1),
    share("insertion_random", "the same of a random order", 1),
    Measure("deletion_gain", "deletion of a random order less the map's", side=1, least=-1.0, most=1.0),
    Measure("insertion_gain", "insertion of the map less that of a random order", side=1, least=-1.0, most=1.0),
)
BETWEEN = ("deletion", "insertion", "deletion_gain", "insertion_gain")


def summarise_faithfulness(
    layers: Sequence[Layer],
    tables: Iterable[Mapping[Layer, F64]],
    options: IntervalOptions,
    classes: NDArray[np.int64] | None = None,
) -> Result:
    """Means over all images.

    Args:
        layers: The target of each backbone.
        tables: Of each unit, layer -> (images, 4, steps + 1) as `faithfulness.probability_curves` gives them.
        options: Of the intervals.
        classes: Class of every image, in their order; None for none.

    Returns:
        `layers` on (layer, measure), `curves` on (curve, step), `difference` on (pair, measure), with the endings of
        their intervals.
    """
    parts = iter(tables)
    first = next(parts, None)
    steps = 0 if first is None else first[layers[0]].shape[2]
    names = [str(layer) for layer in layers]
    kinds = [measure.name for measure in TABLE[:4]]
    about = "mean probability"
    blocks = (
        Block("layers", "layer", "measure", names, TABLE),
        Block(
            "curves",
            "curve",
            "step",
            [f"{name} {kind}" for name in names for kind in kinds],
            [Measure(f"step_{k}", about, side=1, least=0.0, most=1.0) for k in range(steps)],
            noted=False,
        ),
    )
    given = [] if first is None else [first]
    images = (_numbers(layers, table) for part in (given, parts) for table in part)
    coords, data, attrs = layer_means(blocks, end_pairs(layers, (), BETWEEN), images, options, classes)
    described = [{"backbone": layer.backbone, "tap": layer.tap} for layer in layers]
    return Result("faithfulness", coords, data, {**attrs, "layers": described, "steps": steps - 1})


def _numbers(layers: Sequence[Layer], table: Mapping[Layer, F64]) -> F64:
    found = []
    for layer in layers:
        curves = table[layer]
        area = (curves[..., 1:] + curves[..., :-1]).mean(axis=-1) / 2  # (n, 4)
        gains = np.stack([area[:, 2] - area[:, 0], area[:, 1] - area[:, 3]], axis=1)
        found.append(np.concatenate([area, gains], axis=1))
    return np.concatenate([*found, *(table[layer].reshape(len(table[layer]), -1) for layer in layers)], axis=1)
