"""The attention of all images in numbers: means over images of every head and every layer, and differences.

A layer's number is the mean over its heads; beside it

relative    the distance divided by that of attention which is the same everywhere: layers of other grids and inputs of
            other sizes can be compared
range       largest less smallest distance of the layer's heads in the image, pixels: whether heads differ in how far
            they look (Raghu et al. 2021, fig. 3)

Differences, of the same images: the last layer less the first of each backbone, and the last layers of two backbones,
in units that do not depend on the input's size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.statistics.measure import Column, Measure, share
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.running import (
    INTERVAL,
    INTERVALS,
    Means,
    RunningMeans,
    interval_notes,
    judged_columns,
    thin_notes,
)
from cvbench.engine.statistics.verdict import FAMILY

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
    pairs = _pairs(layers)
    columns = _columns(layers, pairs)
    running = RunningMeans(columns, options, classes)
    for table in tables:
        running.add(_numbers(layers, table, columns))
    means = running.means()
    return _labelled(layers, pairs, means, options)


@dataclass(frozen=True)
class Pair:
    """Two layers, the first less the second, and the measures that are compared."""

    first: int
    second: int
    names: tuple[str, ...]


def _pairs(layers: Sequence[AttentionLayer]) -> list[Pair]:
    of: dict[str, list[int]] = {}
    for i, one in enumerate(layers):
        of.setdefault(one.layer.backbone, []).append(i)
    within = [Pair(rows[-1], rows[0], WITHIN) for rows in of.values() if len(rows) > 1]
    return within + [Pair(one[-1], two[-1], BETWEEN) for one, two in combinations(of.values(), 2)]


_LAYER_NAMES = [measure.name for measure in LAYER_TABLE]


def _columns(layers: Sequence[AttentionLayer], pairs: Sequence[Pair]) -> list[Column]:
    columns = [
        Column(measure, one.has(measure.name)) for one in layers for _ in range(one.heads) for measure in HEAD_TABLE
    ]
    start = len(columns)
    columns += [Column(measure, one.has(measure.name)) for one in layers for measure in LAYER_TABLE]
    for pair in pairs:
        for j, measure in enumerate(LAYER_TABLE):
            both = all(layers[i].has(measure.name) for i in (pair.first, pair.second))
            sides = tuple(start + i * len(LAYER_TABLE) + j for i in (pair.first, pair.second))
            columns.append(Column(measure, both and measure.name in pair.names, (sides[0], sides[1])))
    return columns


def _numbers(layers: Sequence[AttentionLayer], table: Mapping[Layer, F64], columns: Sequence[Column]) -> F64:
    """(n, columns) all numbers of each image."""
    heads = [table[one.layer] for one in layers]
    of_layers = []
    for one, numbers in zip(layers, heads, strict=True):
        distances = numbers[:, :, 0]
        beside = [distances.mean(axis=1) / one.uniform_distance, distances.max(axis=1) - distances.min(axis=1)]
        of_layers.append(np.concatenate([numbers.mean(axis=1), np.stack(beside, axis=1)], axis=1))
    own = np.concatenate([numbers.reshape(len(numbers), -1) for numbers in (*heads, *of_layers)], axis=1)
    sides = [column.of for column in columns if column.of is not None]
    apart = [own[:, first] - own[:, second] for first, second in sides]
    return np.concatenate([own, np.stack(apart, axis=1)], axis=1) if apart else own


def _labelled(
    layers: Sequence[AttentionLayer], pairs: Sequence[Pair], means: Means, options: IntervalOptions
) -> Result:
    heads = [(i, head) for i, one in enumerate(layers) for head in range(one.heads)]
    parts = {
        "heads": (("head", "head_measure"), (len(heads), len(HEAD_TABLE))),
        "layers": (("layer", "measure"), (len(layers), len(LAYER_TABLE))),
        "difference": (("pair", "measure"), (len(pairs), len(LAYER_TABLE))),
    }
    data: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {}
    start = 0
    for name, (dims, shape) in parts.items():
        part = slice(start, start + shape[0] * shape[1])
        ends = {name + end: values for end, values in means.ends.items()}
        for key, values in {**ends, f"{name}_undefined": means.undefined}.items():
            if shape[0]:
                data[key] = (dims, values[part].reshape(shape))
        start = part.stop
    family = np.flatnonzero([judged for pair in pairs for judged in _judged(layers, pair)])
    if len(family):
        first = len(means.value) - len(pairs) * len(LAYER_TABLE)
        for ending, values in judged_columns(means, first + family).items():
            table = np.full(len(pairs) * len(LAYER_TABLE), np.nan)
            table[family] = values
            data[f"difference_{ending}"] = (parts["difference"][0], table.reshape(parts["difference"][1]))
    names = [str(one.layer) for one in layers]
    coords: dict[str, list[Any]] = {
        "head": [f"{names[i]} head {head}" for i, head in heads],
        "head_measure": [measure.name for measure in HEAD_TABLE],
        "layer": names,
        "measure": _LAYER_NAMES,
        **({"pair": [f"{names[pair.first]} less {names[pair.second]}" for pair in pairs]} if pairs else {}),
    }
    owners = [f"{names[i]} head {head} {m.name}" for i, head in heads for m in HEAD_TABLE]
    owners += [f"{name} {measure}" for name in names for measure in _LAYER_NAMES]
    attrs = {
        "layers": [
            {
                "backbone": one.layer.backbone,
                "tap": one.layer.tap,
                "heads": one.heads,
                "grid": list(one.grid),
                "prefix": one.prefix,
                "class_token": one.class_token,
                "uniform_distance": one.uniform_distance,
                "uniform_entropy": one.uniform_entropy,
            }
            for one in layers
        ],
        "heads": [list(place) for place in heads],
        "pairs": [[pair.first, pair.second] for pair in pairs],
        "samples": means.images,
        "resamples": options.resamples,
        "seed": options.seed,
        "confidence": options.confidence,
        "intervals": INTERVALS,
        "interval": INTERVAL,
        "family": FAMILY,
        "notes": [*interval_notes(means.images), *thin_notes(owners, means)],
    }
    return Result("attention", coords, data, attrs)


def _judged(layers: Sequence[AttentionLayer], pair: Pair) -> list[bool]:
    return [name in pair.names and all(layers[i].has(name) for i in (pair.first, pair.second)) for name in _LAYER_NAMES]
