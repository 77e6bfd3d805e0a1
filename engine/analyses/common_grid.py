"""Numbers of two grids are not comparable: the last layers of all backbones are averaged to the coarsest of theirs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Partial
from cvbench.engine.statistics.measure import Column, Grid, Measure
from cvbench.engine.statistics.running import Means, judged_columns

F64 = NDArray[np.float64]


def last_on_common_grid(
    grids: Mapping[Layer, tuple[int, int]],
) -> tuple[tuple[Layer, ...], tuple[int, int] | None]:
    """Choose the layers that are compared, and their common grid.

    Args:
        grids: (H, W) of each layer, in the order of the result; a backbone's last is its last one here.

    Returns:
        The last layer of each backbone, and the grid (h, w) that is not finer than any of theirs; nothing and None for
        a single backbone, or if that grid has one position on a side.

    >>> last_on_common_grid({Layer("a", "x"): (9, 9), Layer("a", "y"): (4, 6), Layer("b", "x"): (8, 5)})
    ((Layer(backbone='a', tap='y'), Layer(backbone='b', tap='x')), (4, 5))
    """
    last = tuple({layer.backbone: layer for layer in grids}.values())
    height, width = (min(grids[layer][axis] for layer in last) for axis in (0, 1))
    if len(last) < 2 or min(height, width) < 2:
        return (), None
    return last, (height, width)


def compared_pairs(layers: Sequence[Layer], compared: Sequence[Layer]) -> tuple[list[Layer], list[tuple[Layer, Layer]]]:
    """The compared layers that are there, and each pair of them."""
    found = [layer for layer in compared if layer in layers]
    return found, list(combinations(found, 2))


def image_numbers(layers: Sequence[Layer], partial: Partial, own: str, compared: Sequence[Layer]) -> F64:
    """All numbers of each image: of the layers, of the compared ones on the common grid, of each pair less the other.

    Args:
        layers: In the partial's order.
        partial: `own/i` (n, ...) of layer number i, and `common/i` alike where a compared layer's grid is another.
        own: How the former are called.
        compared: Layers that are compared.

    Returns:
        (n, m) float64.
    """
    coarse, pairs = compared_pairs(layers, compared)
    rows = {layer: partial[f"{own}/{i}"] for i, layer in enumerate(layers)}
    shared = {layer: partial.get(f"common/{layers.index(layer)}", rows[layer]) for layer in coarse}
    tables = [*rows.values(), *shared.values(), *(shared[one] - shared[other] for one, other in pairs)]
    return np.concatenate([table.reshape(len(table), math.prod(table.shape[1:])) for table in tables], axis=1)


def number_columns(
    layers: Sequence[Layer],
    compared: Sequence[Layer],
    table: Sequence[Measure],
    grids: Sequence[Grid],
    common: tuple[int, int] | None,
) -> list[Column]:
    """Describe the columns of `image_numbers`.

    Args:
        layers, compared: As for `image_numbers`.
        table: What an image has of one layer.
        grids: (H, W) of each layer.
        common: That of the compared ones.
    """
    coarse, pairs = compared_pairs(layers, compared)
    shared = common or (0, 0)
    places = [*grids, *([shared] * len(coarse))]
    columns = [Column(measure, measure.on(grid)) for grid in places for measure in table]
    starts = {layer: (len(layers) + at) * len(table) for at, layer in enumerate(coarse)}
    for one, other in pairs:
        of = ((starts[one] + at, starts[other] + at) for at in range(len(table)))
        columns += [Column(measure, measure.on(shared), sides) for measure, sides in zip(table, of, strict=True)]
    return columns


def number_owners(layers: Sequence[Layer], compared: Sequence[Layer]) -> list[str]:
    """Whose the columns of `image_numbers` are, in their order, as text."""
    coarse, pairs = compared_pairs(layers, compared)
    common = [f"{layer} on the common grid" for layer in coarse]
    return [*map(str, layers), *common, *(f"{one} less {other}" for one, other in pairs)]


def labelled_means(
    layers: Sequence[Layer], compared: Sequence[Layer], means: Means, own: str, axes: Mapping[str, int]
) -> tuple[dict[str, tuple[tuple[str, ...], NDArray[Any]]], dict[str, list[Any]]]:
    """The means of `image_numbers` as variables, and the labels of their first dimensions.

    Args:
        layers, compared: As for `image_numbers`.
        means: Of all images.
        own: What the variable of the layers is called.
        axes: Dimension -> size, of what an image has of one layer.

    Returns:
        Each with the endings of `Means.ends`: `own` on (layer, *axes), `common` on (compared, *axes), `difference` on
        (pair, *axes); the images left out as `n_undefined`, `common_undefined` and `difference_undefined`. All
        differences are one family: `difference_resolved`, `difference_class_resolved` (1, 0, NaN for nothing said) and
        their adjusted `difference_p`.
    """
    coarse, pairs = compared_pairs(layers, compared)
    coords: dict[str, list[Any]] = {
        "layer": [str(layer) for layer in layers],
        "compared": [str(layer) for layer in coarse],
        "pair": [f"{one.backbone} vs {other.backbone}" for one, other in pairs],
    }
    data: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {}
    start = 0
    names = (own, "n_undefined"), ("common", "common_undefined"), ("difference", "difference_undefined")
    for (name, count), (dimension, labels) in zip(names, coords.items(), strict=True):
        part = slice(start, start + len(labels))
        for key, values in {**{name + end: v for end, v in means.ends.items()}, count: means.undefined}.items():
            if labels:
                data[key] = ((dimension, *axes), values.reshape(-1, *axes.values())[part])
        start = part.stop
    if pairs:
        each = math.prod(axes.values())
        verdicts = judged_columns(means, np.arange(len(means.value) - len(pairs) * each, len(means.value)))
        for ending, values in verdicts.items():
            data[f"difference_{ending}"] = (("pair", *axes), values.reshape(len(pairs), *axes.values()))
    return data, {dimension: labels for dimension, labels in coords.items() if labels}
