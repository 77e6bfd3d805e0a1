"""Which backbone stands in which cell of two crossed factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from cvbench.errors import UsageError

CELL = "BACKBONE=LEVEL,LEVEL: where a backbone stands. Once for each combination of levels, which have no '='."
FACTORS = "Names of the two factors, with a comma between."
"""The help of the options."""
_GIVE = "--cell BACKBONE=LEVEL,LEVEL for every combination of levels, each once"


@dataclass(frozen=True)
class Cells:
    """A full crossing of two factors.

    Attributes:
        factors: Their names.
        levels: The levels of each, in the order in which they were first named.
        place: Backbone -> (row, column): its levels, by their numbers.
    """

    factors: tuple[str, str]
    levels: tuple[tuple[str, ...], tuple[str, ...]]
    place: Mapping[str, tuple[int, int]]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of levels of each factor."""
        return len(self.levels[0]), len(self.levels[1])

    @property
    def backbones(self) -> tuple[str, ...]:
        """All of them, as they were named."""
        return tuple(self.place)

    def stored(self, held: Sequence[str]) -> Cells:
        """The cells by the names that these backbones have in a store.

        Raises:
            UnknownNameError: A backbone that is not there.
            UsageError: Two cells name the same one.
        """
        from cvbench.jobs.reading.selection import stored_name

        names = {name: stored_name(name, held) for name in self.place}
        if len({*names.values()}) < len(names):
            twice = _twice(list(names.values()))
            same = ", ".join(name for name, key in names.items() if key == twice)
            raise UsageError("a backbone stands in one cell only", where=f"{same}: {twice} in the store", fix=_GIVE)
        return replace(self, place={names[name]: at for name, at in self.place.items()})

    def levels_of(self, backbone: str) -> tuple[str, str]:
        """The names of its levels."""
        row, column = self.place[backbone]
        return self.levels[0][row], self.levels[1][column]


def crossed(cells: Sequence[str], factors: Sequence[str]) -> Cells:
    """The crossing that is typed as "BACKBONE=LEVEL,LEVEL", once for each combination.

    Raises:
        UsageError: A cell that cannot be read, is named twice or is missing; fewer than two levels; not two factors.

    >>> made = crossed(["a=conv,sup", "b=vit,sup", "c=conv,self", "d=vit,self"], ("architecture", "objective"))
    >>> made.levels, made.place["c"]
    ((('conv', 'vit'), ('sup', 'self')), (0, 1))
    """
    if len(factors) != 2 or not all(factors) or factors[0] == factors[1]:
        raise UsageError(
            f"two factors are crossed, not {', '.join(factors) or 'none'}", fix="--factors architecture,objective"
        )
    if not cells:
        raise UsageError("no backbone stands in a cell", fix=_GIVE)
    read = dict(map(_read, cells))
    if len(read) < len(cells):
        raise UsageError(
            "a backbone stands in one cell only", where=_twice([_read(cell)[0] for cell in cells]), fix=_GIVE
        )
    levels = tuple(tuple(dict.fromkeys(levels[at] for levels in read.values())) for at in (0, 1))
    for name, found in zip(factors, levels, strict=True):
        if len(found) < 2:
            raise UsageError(
                f"the factor {name} has one level only: {', '.join(found)}", fix="two levels or more of each"
            )
    taken = list(read.values())
    if len(set(taken)) < len(taken):
        raise UsageError("a cell has one backbone", where=", ".join(_twice(taken)), fix=_GIVE)
    lacking = [pair for pair in product(*levels) if pair not in taken]
    if lacking:
        raise UsageError(f"{len(lacking)} cells have no backbone", where="; ".join(map(", ".join, lacking)), fix=_GIVE)
    place = {name: (levels[0].index(row), levels[1].index(column)) for name, (row, column) in read.items()}
    return Cells((factors[0], factors[1]), (levels[0], levels[1]), place)


def _read(cell: str) -> tuple[str, tuple[str, str]]:
    name, equals, levels = cell.rpartition("=")
    pair = tuple(level.strip() for level in levels.split(","))
    if not (name and equals and len(pair) == 2 and all(pair)):
        raise UsageError(f"{cell!r} names no cell", fix=_GIVE)
    return name, (pair[0], pair[1])


def _twice(values: Sequence[Any]) -> Any:
    """The first that stands there again."""
    return next(value for at, value in enumerate(values) if value in values[:at])
