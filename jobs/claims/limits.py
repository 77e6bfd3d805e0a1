"""Whether both numbers of a comparison are at chance or at the ceiling: their difference then says nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cvbench.engine.metrics.suspect import MARGIN
from cvbench.jobs.results.row import CHANCE, REFERENCE, VALUE, Row

CEILING = 0.99
"""Share from which hardly anything is left to get right."""
AT_CHANCE, AT_CEILING = "both at chance", "both at ceiling"
_Place = tuple[str, str, str]
"""Run, data set and metric."""


@dataclass(frozen=True)
class ResultFacts:
    """Facts of a result beside its rows.

    Attributes:
        view: Of the store, that it is of, such as "cam.gradcam".
        notes: Its own; some name backbones that are near chance.
    """

    view: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """Numbers of single backbones, and what chance gives, of all rows of a store."""

    values: Mapping[tuple[_Place, str, str, str], Row] = field(default_factory=dict)
    levels: Mapping[_Place, float] = field(default_factory=dict)
    near: frozenset[tuple[str, str, str]] = frozenset()

    def of(self, row: Row) -> str:
        """AT_CHANCE or AT_CEILING of a difference, with the level; "" if neither is known."""
        place = row.run, row.dataset, row.metric
        where = f"{row.dataset}/{row.split}"
        if all((row.run, where, name) in self.near for name in (row.backbone, row.backbone_b)):
            level = self.levels.get(place)
            return AT_CHANCE if level is None else f"{AT_CHANCE}, {level:.3g}"
        sides = (row.backbone, row.layer), (row.backbone_b, row.layer_b)
        both = [self.values.get((place, row.factor, *side)) for side in sides]
        level = self.levels.get(place)
        if level is None or not all(both):
            return ""
        ends = [(one.value, one.value if one.low is None else one.low) for one in both if one and one.value is not None]
        if len(ends) == 2 and all((low - level) / (1 - level) < MARGIN for _, low in ends):
            return f"{AT_CHANCE}, {level:.3g}"
        return AT_CEILING if len(ends) == 2 and all(value >= CEILING for value, _ in ends) else ""


def limits_of(rows: Sequence[Row], facts: Mapping[str, ResultFacts]) -> Limits:
    """Collect what the rows and the notes of a store say.

    Args:
        rows: All of them.
        facts: Run -> what is known of it.
    """
    values = {
        ((row.run, row.dataset, row.metric), row.factor, row.backbone, row.layer): row
        for row in rows
        if row.kind == VALUE and not row.backbone_b
    }
    levels = {
        (row.run, row.dataset, row.metric): row.value
        for row in rows
        if (row.kind, row.factor) == (REFERENCE, CHANCE) and row.value is not None
    }
    names = [name for row in rows for name in (row.backbone, row.backbone_b) if name]
    near = (
        (run, *found)
        for run, known in facts.items()
        for note in known.notes
        if (found := _near(note, dict.fromkeys(names)))
    )
    return Limits(values, levels, frozenset(near))


def _near(note: str, backbones: Iterable[str]) -> tuple[str, str] | None:
    """The place and the backbone that a note calls near chance, see `evaluation.shared.suspect`; None for none."""
    where, _, rest = note.partition(": ")
    return next(((where, name) for name in backbones if rest.startswith(f"{name} is near chance")), None)
