"""Means over images of what is measured of each layer, and of parts of a layer such as heads; layers compared.

The numbers of an image lie in one row: those of each block, a table of layers (or heads) by measures, one after the
other. Differences are of the first block's rows, on the same images, and are judged together.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.engine.statistics.measure import Column, Measure
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
from cvbench.errors import DataUnavailableError

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """Rows by measures.

    Attributes:
        variable: Of the result, on the dimensions (`row`, `column`).
        row, column: Names of the dimensions.
        labels: Of the rows.
        table: The measures.
        there: For each row, whether each measure is defined; None: all are.
        noted: Whether notes name its numbers that have no interval; no block behind one that is not noted is.
    """

    variable: str
    row: str
    column: str
    labels: Sequence[str]
    table: Sequence[Measure]
    there: Sequence[Sequence[bool]] | None = None
    noted: bool = True

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, measures."""
        return len(self.labels), len(self.table)

    def columns(self) -> list[Column]:
        """Its numbers of one image, row by row."""
        there = self.there or [[True] * len(self.table)] * len(self.labels)
        return [Column(m, bool(t)) for row in there for m, t in zip(self.table, row, strict=True)]


@dataclass(frozen=True)
class Pair:
    """Two rows of the first block, the first less the second, and the names of the measures that are compared."""

    first: int
    second: int
    names: Sequence[str]


def end_pairs(layers: Sequence[Layer], within: Sequence[str], between: Sequence[str]) -> list[Pair]:
    """The last layer of each backbone less its first, by the measures `within`; the last ones of each two backbones,
    by `between`."""
    of: dict[str, list[int]] = {}
    for i, layer in enumerate(layers):
        of.setdefault(layer.backbone, []).append(i)
    own = [Pair(rows[-1], rows[0], within) for rows in of.values() if len(rows) > 1]
    return own + [Pair(one[-1], two[-1], between) for one, two in combinations(of.values(), 2)]


def layer_means(
    blocks: Sequence[Block],
    pairs: Sequence[Pair],
    images: Iterable[F64],
    options: IntervalOptions,
    classes: NDArray[np.int64] | None = None,
) -> tuple[dict[str, list[Any]], dict[str, tuple[tuple[str, ...], NDArray[Any]]], dict[str, Any]]:
    """Average over images.

    Args:
        blocks: What an image has; the first is the one of layers.
        pairs: Its rows that are compared.
        images: (n, numbers) of n images at a time; NaN where an image does not define a number.
        options: Of the intervals.
        classes: Class of every image, in their order; None for none.

    Returns:
        Coordinates, variables and attributes of a result: each block's variable with the endings of its intervals and
        `_undefined`, the images left out; `difference` on (pair, column of the first block) likewise, with `_p`,
        `_resolved` and `_class_resolved` of what is judged. Memory: the moments, and n images.

    Raises:
        DataUnavailableError: There is no image.
    """
    columns = [column for block in blocks for column in block.columns()]
    compared = _differences(blocks[0], pairs)
    running = RunningMeans([*columns, *compared], options, classes)
    sides = [column.of for column in compared if column.of is not None]
    for numbers in images:
        apart = [numbers[:, first] - numbers[:, second] for first, second in sides]
        running.add(np.concatenate([numbers, np.stack(apart, axis=1)], axis=1) if apart else numbers)
    if not running.images:
        raise DataUnavailableError("there is no readable image", fix="more samples (a larger --limit)")
    means = running.means()
    data = dict(_variables([*blocks, _of_pairs(blocks[0], pairs)], means))
    data |= _verdicts(blocks[0], pairs, means, len(columns), compared)
    coords: dict[str, list[Any]] = {}
    for block in (*blocks, *([_of_pairs(blocks[0], pairs)] if pairs else [])):
        coords |= {block.row: list(block.labels), block.column: [measure.name for measure in block.table]}
    noted = itertools.takewhile(lambda block: block.noted, blocks)
    names = [f"{label} {measure.name}" for block in noted for label in block.labels for measure in block.table]
    attrs = {
        "pairs": [[pair.first, pair.second] for pair in pairs],
        "samples": means.images,
        "resamples": options.resamples,
        "seed": options.seed,
        "confidence": options.confidence,
        "intervals": INTERVALS,
        "interval": INTERVAL,
        "family": FAMILY,
        "notes": [*interval_notes(means.images), *thin_notes(names, means)],
    }
    return coords, data, attrs


def _differences(block: Block, pairs: Sequence[Pair]) -> list[Column]:
    there, width = [column.there for column in block.columns()], len(block.table)
    found = []
    for pair in pairs:
        for j, measure in enumerate(block.table):
            sides = pair.first * width + j, pair.second * width + j
            both = measure.name in pair.names and there[sides[0]] and there[sides[1]]
            found.append(Column(measure, both, sides))
    return found


def _of_pairs(block: Block, pairs: Sequence[Pair]) -> Block:
    labels = [f"{block.labels[pair.first]} less {block.labels[pair.second]}" for pair in pairs]
    return Block("difference", "pair", block.column, labels, block.table)


def _variables(blocks: Sequence[Block], means: Means) -> Iterable[tuple[str, tuple[tuple[str, ...], NDArray[Any]]]]:
    start = 0
    for block in blocks:
        part = slice(start, start + block.shape[0] * block.shape[1])
        ends = {block.variable + end: values for end, values in means.ends.items()}
        for name, values in {**ends, f"{block.variable}_undefined": means.undefined}.items():
            if block.labels:
                yield name, ((block.row, block.column), values[part].reshape(block.shape))
        start = part.stop


def _verdicts(
    block: Block, pairs: Sequence[Pair], means: Means, start: int, compared: Sequence[Column]
) -> dict[str, tuple[tuple[str, ...], NDArray[Any]]]:
    """The verdicts on the differences that are defined, one family; NaN of the others."""
    family = np.flatnonzero([column.there for column in compared])
    if not len(family):
        return {}
    found: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {}
    for ending, values in judged_columns(means, start + family).items():
        table = np.full(len(compared), np.nan)
        table[family] = values
        found[f"difference_{ending}"] = (("pair", block.column), table.reshape(len(pairs), len(block.table)))
    return found
