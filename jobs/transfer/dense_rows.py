"""Dense probes as rows: the numbers of every layer, their references, and what backbones differ by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.probe.compare import last_pairs
from cvbench.engine.probe.overlap import MEASURES, overlap_differences, overlaps
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.verdict import judge
from cvbench.jobs.results.measured import end_rows, grid_text
from cvbench.jobs.results.row import DIFFERENCE, REFERENCE, VALUE, Row, judged_columns
from cvbench.jobs.results.table import Table

I64 = NDArray[np.int64]

NAMES = {
    "miou": "dense probe, mean IoU",
    "foreground": "dense probe, foreground IoU",
    "accuracy": "dense probe, accuracy of cells",
}
CLASS = "dense probe, IoU of a class"
PERFECT, NOTHING = "labels of the {grid} grid", "background everywhere"
BACKGROUND = "background"


@dataclass(frozen=True, eq=False)
class Tested:
    """The test of one layer.

    Attributes:
        layer: Which.
        grid: Its own.
        estimates: `MEASURES`, then the IoU of each class.
        counts: (n, 3 k + 1) of each image, see `image_counts`; empty if it is compared with no other.
        perfect, nothing: (3 k + 1,) sums of the same, of the grid's labels and of the background everywhere.
    """

    layer: Layer
    grid: tuple[int, int]
    estimates: Sequence[Estimate]
    counts: I64
    perfect: I64
    nothing: I64


def compared_pairs(layers: Sequence[Layer], grids: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Choose the layers of each two backbones that are compared, by their numbers.

    The last of each; and where these are on different grids, the last of each on the finest grid that both have.

    >>> names = [Layer("a", "x"), Layer("a", "y"), Layer("b", "x"), Layer("b", "y")]
    >>> compared_pairs(names, [(8, 8), (4, 4), (8, 8), (8, 8)])
    [(1, 3), (0, 3)]
    """
    pairs = last_pairs(layers)
    for i, j in list(pairs):
        if grids[i] != grids[j]:
            one, two = (
                {grids[at]: at for at, layer in enumerate(layers) if layer.backbone == layers[last].backbone}
                for last in (i, j)
            )
            if common := one.keys() & two.keys():
                finest = max(common, key=lambda grid: (math.prod(grid), grid))
                pairs.append((one[finest], two[finest]))
    return pairs


def add_rows(
    table: Table,
    tested: Sequence[Tested],
    pairs: Sequence[tuple[int, int]],
    names: Sequence[str],
    variant: str,
    intervals: IntervalOptions,
) -> None:
    """Add the numbers of all layers, their references, the classes, and the differences of backbones.

    Args:
        table: Receives them.
        tested: Of the layers, in the result's order.
        pairs: Numbers of the layers that are compared.
        names: Of the classes, the background first.
        variant: What a reader needs to tell this probe from another.
        intervals: How they are made.
    """
    for one in tested:
        found = one.estimates
        for name, estimate in zip(MEASURES, found, strict=False):
            table.add(one.layer.backbone, NAMES[name], variant, estimate, layer=one.layer.tap)
        for sums, factor in ((one.perfect, PERFECT.format(grid=grid_text(one.grid))), (one.nothing, NOTHING)):
            for name, value in zip(MEASURES, overlaps(sums[None])[0].tolist(), strict=False):
                reference = Estimate(value, n=found[0].n)
                table.add(one.layer.backbone, NAMES[name], factor, reference, layer=one.layer.tap, kind=REFERENCE)
        for name, estimate in zip(names, found[len(MEASURES) :], strict=True):
            table.add(one.layer.backbone, CLASS, name, estimate, layer=one.layer.tap)
    # All differences of a result are one family.
    apart = [overlap_differences(tested[i].counts, tested[j].counts, intervals) for i, j in pairs]
    judged = judge([one for pair in apart for one in pair], confidence=intervals.confidence)
    for at, (i, j) in enumerate(pairs):
        first, second = tested[i].layer, tested[j].layer
        for name, said in zip(MEASURES, judged[at * len(MEASURES) :], strict=False):
            taps = {"layer": first.tap, "backbone_b": second.backbone, "layer_b": second.tap}
            columns = {**taps, "kind": DIFFERENCE, **judged_columns(said)}
            table.add(first.backbone, NAMES[name], variant, said.found, **columns)


def headline(result: Result, rows: Sequence[Row]) -> Iterator[Row]:
    """Differences of backbones; then the first and last layers, with what their grids could show."""
    yield from (row for row in rows if row.kind == DIFFERENCE)
    ends = list(end_rows(rows))
    yield from (row for row in ends if row.kind == VALUE and row.metric in NAMES.values())
    yield from (row for row in ends if row.kind == REFERENCE and row.metric == NAMES["miou"])


def told(result: Result) -> Iterator[str]:
    """The sizes of the fits and of the test, and the penalties."""
    attrs = result.attrs
    side, images = attrs["resolution"], attrs["samples"]
    cells = images * side * side
    yield f"tested on {images:,} images, compared at {side}x{side} cells of the input each: {cells:,} cells"
    for layer in attrs["layers"]:
        yield (
            f"{layer['backbone']}/{layer['tap']}: fitted on {layer['fitted']:,} of {layer['positions']:,} positions of "
            f"a {grid_text(layer['grid'])} grid, penalty {layer['penalty']:.3g}"
        )
