"""The row of the one table: every number of every analysis and evaluation, in the same columns."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from cvbench.engine.analyses.base import Result
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.verdict import Judged, Verdict

SCHEMA = 2
"""Version of the table's columns, in every JSON document."""

VALUE, DIFFERENCE, PAIR, CURVE, TEST, REFERENCE = "value", "difference", "pair", "curve", "test", "reference"
"""A number of one backbone; the first less the second; a number of two layers or backbones together; a point of a
curve; a p value or another number that only judges; what a fixed reference, such as white noise, would give."""
CHANCE = "chance"
"""Factor of the reference that guessing would give in a metric."""


@dataclass(frozen=True)
class Row:
    """One number of a result.

    Attributes:
        run: Which result: its path in the store.
        analysis, dataset, split: Of the result.
        backbone, layer: What the number is of; "" where it is of all.
        backbone_b, layer_b: The other of a pair, or what is subtracted.
        metric: What the number is, with its unit, such as "linear CKA" or "top1".
        factor: Of which class, factor, grid or setting, as text; "" for the whole.
        kind: One of the six above.
        at: Where a point of a curve stands on its axis, in the unit that `factor` names.
        value, low, high: The number and the ends of the interval that the result states; None where undefined.
        class_low, class_high: Its interval over resampled classes.
        n: Sampling units behind it (images, batches or classes, as the result says).
        n_failed: Samples left out: unreadable, or undefined for this metric.
        p: Of "it is 0", adjusted for the family that it is judged with (Holm).
        verdict, class_verdict: On what may be 0, by either interval, in the words of `Verdict`; "" where none is given.
        note: Why there is no number, or what a reader of this one must know.
    """

    run: str = ""
    analysis: str = ""
    dataset: str = ""
    split: str = ""
    backbone: str = ""
    layer: str = ""
    backbone_b: str = ""
    layer_b: str = ""
    metric: str = ""
    factor: str = ""
    kind: str = VALUE
    at: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    class_low: float | None = None
    class_high: float | None = None
    n: int = 0
    n_failed: int = 0
    p: float | None = None
    verdict: str = ""
    class_verdict: str = ""
    note: str = ""

    @property
    def subject(self) -> str:
        """The backbone or layer that the number is of, or the two.

        >>> Row(backbone="vit", layer="blocks.0").subject
        'vit/blocks.0'
        >>> Row(backbone="vit", layer="a", backbone_b="vit", layer_b="b", kind=PAIR).subject
        'vit/a and vit/b'
        >>> Row(backbone="vit", backbone_b="convnext", kind=DIFFERENCE).subject
        'vit less convnext'
        """
        first = "/".join(filter(None, (self.backbone, self.layer)))
        second = "/".join(filter(None, (self.backbone_b, self.layer_b)))
        return f"{first} {'less' if self.kind == DIFFERENCE else 'and'} {second}" if second else first

    @property
    def title(self) -> str:
        """The metric of the number, as a heading."""
        if self.kind == REFERENCE:
            return f"{self.metric}, reference"
        return f"difference of {self.metric}" if self.kind == DIFFERENCE and self.backbone_b else self.metric

    @property
    def mark(self) -> str:
        """The verdict as it stands behind the number."""
        return next((one.mark for one in Verdict if one.value == self.verdict), "")


COLUMNS = tuple(field.name for field in fields(Row))
TEXTS = tuple(field.name for field in fields(Row) if field.type == "str")
COUNTS = tuple(field.name for field in fields(Row) if field.type == "int")
NUMBERS = tuple(field.name for field in fields(Row) if field.type == "float | None")


def numbers_of(found: Estimate) -> dict[str, Any]:
    """The columns that an estimate fills; NaN becomes None."""
    ends = ("value", "low", "high", "class_low", "class_high")
    return {**{name: known(getattr(found, name)) for name in ends}, "n": int(found.n)}


def judged_columns(judged: Judged) -> dict[str, Any]:
    """The columns that a verdict fills: adjusted p and words; none of a difference that is undefined."""
    if not math.isfinite(judged.found.value):
        return {}
    return {"p": known(judged.p), "verdict": judged.verdict.value}


def known(value: float | None) -> float | None:
    """A number of a row: None for one that is not finite.

    >>> known(math.nan), known(1)
    (None, 1.0)
    """
    return None if value is None or not math.isfinite(value) else float(value)


def placed(result: Result, rows: Iterable[Row]) -> list[Row]:
    """The rows of a result, each with where it is from; of a result that was not kept `run` is empty."""
    run, dataset, split = (str(result.attrs.get(key, "")) for key in ("run", "dataset", "split"))
    return [
        replace(row, run=run, analysis=result.name, dataset=row.dataset or dataset, split=row.split or split)
        for row in rows
    ]


def checked(row: Row) -> Row:
    """The row, if it has what its columns say; a result that somebody else wrote may hold anything.

    Raises:
        TypeError: A text, a count or a number is none, or a number is not finite.
    """
    for name in COLUMNS:
        value = getattr(row, name)
        if name in TEXTS:
            right = isinstance(value, str)
        elif name in COUNTS:
            right = isinstance(value, int)
        else:
            right = value is None or (isinstance(value, int | float) and math.isfinite(value))
        if not right:
            raise TypeError(f"the {name} of {row.metric!r} is {value!r:.40}")
    return row


def plain(row: Row) -> dict[str, Any]:
    """A row as a dict, in the order of `COLUMNS`."""
    return {name: getattr(row, name) for name in COLUMNS}
