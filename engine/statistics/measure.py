"""What a measure is: its range, what its interval may use, and the smallest grid on which it means anything.

Every analysis has one table of these. A number that the definition fixes on a grid, whatever the network, is no
finding: on such a grid it is not measured (NaN), and the result says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Grid: TypeAlias = Iterable[float]
"""Height, width, and what else is known, such as the channels."""

NUMBER, SHARE, INDICATOR = "number", "share", "indicator"
"""Any number; one between `least` and `most` that images may all reach; 0 or 1."""


@dataclass(frozen=True)
class Measure:
    """One number of an image.

    Attributes:
        name: As in results.
        about: What it is, in a few words.
        side: Least height and width of the grid on which it means anything; None: on no grid.
        why: What is missing on a smaller one.
        kind: NUMBER, SHARE or INDICATOR: which interval its mean has.
        least, most: What it cannot leave; an interval is cut there.
        unit: Size of what it is computed from, which rounding errors are relative to; 0: its own mean.
    """

    name: str
    about: str
    side: int | None = 2
    why: str = ""
    kind: str = NUMBER
    least: float = -math.inf
    most: float = math.inf
    unit: float = 1.0

    def on(self, grid: Grid) -> bool:
        """Whether it can be measured on a grid (height, width)."""
        return self.side is not None and min(_sides(grid)) >= self.side

    def reason(self, grid: Grid) -> str | None:
        """Why it cannot be measured there; None if it can.

        >>> Measure("slope", "", side=6).reason((4, 9)), Measure("slope", "", side=6).reason((7, 7))
        ('not measurable on a 4x9 grid: it needs 6x6', None)
        """
        if self.on(grid):
            return None
        if self.side is None:
            return f"not measurable on any grid: {self.why}"
        return f"not measurable on a {_shown(grid)} grid: it needs {self.side}x{self.side}"


def share(name: str, about: str, side: int | None = 2, why: str = "") -> Measure:
    """A measure in [0, 1]."""
    return Measure(name, about, side, why, SHARE, 0.0, 1.0)


def indicator(name: str, about: str, side: int | None = 2, why: str = "") -> Measure:
    """A measure that is 0 or 1."""
    return Measure(name, about, side, why, INDICATOR, 0.0, 1.0)


@dataclass(frozen=True)
class Column:
    """A number of every image, as it is averaged.

    Attributes:
        measure: What it is.
        there: Whether it can be measured where it was taken; if not, no image defines it.
        of: Which two columns it is the difference of, first less second; None for none.
    """

    measure: Measure
    there: bool = True
    of: tuple[int, int] | None = None


def grid_notes(measures: Iterable[Measure], grids: Mapping[str, Grid]) -> list[str]:
    """Notes on the measures that cannot be taken on some of the grids.

    Args:
        measures: The table.
        grids: What stands on a grid -> the grid.

    >>> grid_notes([Measure("slope", "", side=6, why="too few radii")], {"a": (4, 4), "b": (2, 2), "c": (7, 7)})
    ['not measurable below a 6x6 grid (here 4x4, 2x2), so not printed: slope (too few radii)']
    """
    notes = []
    measures = list(measures)
    for side in sorted({m.side for m in measures if m.side is not None}):
        small = dict.fromkeys(_shown(grid) for grid in grids.values() if min(_sides(grid)) < side)
        if small:
            names = ", ".join(_named(m) for m in measures if m.side == side)
            notes.append(
                f"not measurable below a {side}x{side} grid (here {', '.join(small)}), so not printed: {names}"
            )
    never = [_named(m) for m in measures if m.side is None]
    return notes + ([f"not printed, fixed by its definition on every grid: {', '.join(never)}"] if never else [])


def _sides(grid: Grid) -> tuple[int, int]:
    height, width, *_ = grid
    return int(height), int(width)


def _shown(grid: Grid) -> str:
    return "x".join(map(str, _sides(grid)))


def _named(measure: Measure) -> str:
    return f"{measure.name} ({measure.why})" if measure.why else measure.name
