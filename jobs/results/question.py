"""What a reader asks of a result first: which of its numbers answers, and in which words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cvbench.jobs.results.row import DIFFERENCE, VALUE, Row


@dataclass(frozen=True)
class Question:
    """The main metric of an analysis, and what is said of two that it tells apart.

    Attributes:
        metric: Pattern of the metric of the rows that answer, with * for any text.
        answer: The sentence without its full stop: {more} is what has more of the metric than {less}, {where} the
            factor or the data set of the row, {more_value} and {less_value} are their own numbers. Without the last
            two, the numbers follow.
        factor: Pattern of the rows' factor.
        own: The metric of their own numbers; "": that of the difference.
        percent: Whether the numbers are shares, said in per cent.
        widest: Whether, of several rows, the one of the largest difference answers; else the first.
    """

    metric: str
    answer: str
    factor: str = "*"
    own: str = ""
    percent: bool = False
    widest: bool = False

    def differences(self, rows: Sequence[Row]) -> list[Row]:
        """The rows of two that answer."""
        return [row for row in self._fitting(rows) if row.kind == DIFFERENCE and row.backbone_b]

    def values(self, rows: Sequence[Row]) -> list[Row]:
        """The rows of one that answer, where nothing is compared."""
        return [row for row in self._fitting(rows) if row.kind == VALUE]

    def _fitting(self, rows: Sequence[Row]) -> list[Row]:
        return [
            row
            for row in rows
            if row.value is not None and fnmatchcase(row.metric, self.metric) and fnmatchcase(row.factor, self.factor)
        ]

    def ends(self, rows: Sequence[Row], difference: Row) -> tuple[Row, Row] | None:
        """The own numbers of the two of a difference, at the same layers, factor and data set; None if there are not
        both.
        """
        metric = self.own or difference.metric
        found = []
        for name, layer in (
            (difference.backbone, difference.layer),
            (difference.backbone_b, difference.layer_b),
        ):
            wanted = (VALUE, metric, name, layer, difference.factor, difference.dataset, difference.split)
            places = (
                (row.kind, row.metric, row.backbone, row.layer, row.factor, row.dataset, row.split) for row in rows
            )
            at = next((i for i, place in enumerate(places) if place == wanted and rows[i].value is not None), None)
            if at is None:
                return None
            found.append(rows[at])
        return found[0], found[1]
