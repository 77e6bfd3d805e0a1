"""Rows of a two-way decomposition: how much of the spread between cells each part has, and every effect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.factorial import TwoWay, two_way
from cvbench.engine.statistics.measure import Measure
from cvbench.engine.statistics.verdict import judge
from cvbench.jobs.results.cells import Cells
from cvbench.jobs.results.table import Table

F64 = NDArray[np.float64]

EFFECTS = (
    "of a level: the mean of its cells less that of all cells, every cell weighing the same; together: what the two do "
    "not add up to (Scheffe 1959, ch. 4). Of two levels one is shown, the other is its negative"
)
INTERVALS = (
    "effects: of paired means over images; sums of squared effects: U-statistic over pairs of images, below 0 where "
    "there is only noise, with the interval of the length of the vector of effects, 95 % or more. They are of these "
    "backbones: what another training of a cell would give they do not say"
)


def effect_of(measure: str) -> str:
    """The metric of an effect on a measure."""
    return f"effect on {measure}"


def spread_of(measure: str) -> str:
    """The metric of a part's share of the spread between cells."""
    return f"sum of squared effects on {measure}"


def add_decompositions(table: Table, cells: Cells, measured: Sequence[tuple[Measure, F64]]) -> None:
    """Add the rows of each measure: parts of the spread between cells, then effects. All effects are one family.

    Args:
        table: To add to. Images that a measure leaves out are added to those that failed.
        cells: Names of levels.
        measured: What is measured, by the metric that it is called, and its values (n, a, b) float64.
    """
    found = [(measure.name, two_way(values, measure), values) for measure, values in measured]
    effects = [list(_effects(one, cells)) for _, one, _ in found]
    judged = iter(judge([estimate for of_one in effects for _, estimate in of_one]))
    failed = table.n_failed
    for (name, one, values), of_one in zip(found, effects, strict=True):
        table.n_failed = failed + int((~np.isfinite(values).all(axis=(1, 2))).sum())
        for part, squares in _parts(one, cells):
            table.add("", spread_of(name), part, squares)
        for factor, _ in of_one:
            table.difference(("", ""), effect_of(name), factor, next(judged))
    table.n_failed = failed


def _parts(found: TwoWay, cells: Cells) -> Iterator[tuple[str, Estimate]]:
    first, second = cells.factors
    yield first, found.first_spread.squares
    yield second, found.second_spread.squares
    yield f"{first} and {second} together", found.together_spread.squares


def _effects(found: TwoWay, cells: Cells) -> Iterator[tuple[str, Estimate]]:
    """Yield (name, effect) of every level; of a factor of two levels one, since the other is its negative."""
    (a, b), (first, second) = cells.levels, cells.factors
    shown_a, shown_b = (levels[:1] if len(levels) == 2 else levels for levels in (a, b))
    yield from ((f"{first}: {level}", found.first[i]) for i, level in enumerate(shown_a))
    yield from ((f"{second}: {level}", found.second[j]) for j, level in enumerate(shown_b))
    for i, row in enumerate(shown_a):
        yield from ((f"together: {row}, {column}", found.together[i][j]) for j, column in enumerate(shown_b))
