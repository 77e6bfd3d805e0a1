"""What a file of predictions holds, and what a reader of one form hands over."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError, UsageError

Kind = Literal["logits", "probabilities", "class", "class and probability"]

_SHOWN = 80  # characters of a value in a message
_WHOLE = re.compile(r"(0|[1-9][0-9]{0,8})(\.0*)?")
_SORTED_BY_CHANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of a file for n samples.

    Attributes:
        names: (n) names of the samples; None: they are in the order of the data set.
        classes: (n) predicted class, an index or a class name; None with `values`.
        probability: (n,) float64 of the predicted class, or None.
        values: (n, k) float32 logits or probabilities, or None.
        kind: Which of these it is.
        others: (column, its (n) classes) of further columns that may hold the class; whoever knows the classes checks
            that all say the same.
        read: Names of the columns that were read.
        unread: Names of those that were not.
    """

    names: tuple[str, ...] | None
    classes: tuple[int | str, ...] | None
    probability: NDArray[np.float64] | None
    values: NDArray[np.float32] | None
    kind: Kind
    others: tuple[tuple[str, tuple[int | str, ...]], ...] = ()
    read: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values if self.values is not None else self.classes or ())


def shown(value: object) -> str:
    """A value as a message quotes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters)"


def class_of(value: object, where: str) -> int | str:
    """A predicted class: an index (7, "7", "7.0", 7.0), or a name ("007" and "n01440764" are names).

    Raises:
        IntegrityError: Nothing, or a list of classes.
    """
    if isinstance(value, list | dict) or (isinstance(value, str) and value.lstrip().startswith("[")):
        raise IntegrityError(
            f"a predicted class is {shown(value)}",
            where=where,
            why="a sample has one predicted class; this is a list, perhaps of the k best",
            fix="a column of the best class alone, or a value for every class",
        )
    text = "" if value is None else str(value).strip()
    if not text:
        raise IntegrityError("a predicted class is empty", where=where)
    integer = _WHOLE.fullmatch(text)
    return int(integer.group(1)) if integer else text


def narrow(
    names: Sequence[str] | None,
    classes: Sequence[int | str],
    probability: Sequence[float] | None,
    where: str,
    *,
    others: Sequence[tuple[str, Sequence[int | str]]] = (),
) -> Predictions:
    """Predictions of one class a sample, checked.

    Raises:
        IntegrityError: A probability outside (0, 1].
    """
    numbers = None
    if probability is not None:
        numbers = np.array(probability, dtype=np.float64)
        if len(numbers) != len(classes) or not ((numbers > 0) & (numbers <= 1)).all():
            raise IntegrityError(
                "a probability is not in (0, 1]", where=where, why="fractions are expected, not percent"
            )
    kind: Kind = "class" if numbers is None else "class and probability"
    kept = tuple((name, tuple(column)) for name, column in others)
    return Predictions(None if names is None else tuple(names), tuple(classes), numbers, None, kind, kept)


def wide(names: Sequence[str] | None, table: NDArray[np.float32], values: str, where: str) -> Predictions:
    """Predictions of a value for every class, checked.

    Args:
        names: (n) or None.
        table: (n, k).
        values: "logits", "probabilities", or "auto": probabilities if all are non-negative and sum to 1 (within 0.001).
        where: For messages.

    Raises:
        IntegrityError: Values that are not finite, or no probabilities though they are called so.
        UsageError: "auto", and each row falls from left to right: the k best of each sample.
    """
    if table.ndim != 2:
        raise IntegrityError("rows have different numbers of values", where=where)
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise IntegrityError(f"{len(bad):,} samples have values that are not finite", where=f"{where}: row {bad[0]}")
    if values == "auto" and _falls(table):
        raise UsageError(
            f"the {table.shape[1]} values of every sample fall from left to right",
            where=where,
            why="so they seem to be those of its best classes, not of class 0, 1, 2, ...",
            fix="a file with a value for every class; or --values probabilities (logits), if these are",
        )
    unit = bool((table >= 0).all() and (np.abs(table.sum(axis=1, dtype=np.float64) - 1) <= 1e-3).all())
    if values == "probabilities" and not unit:
        raise IntegrityError("the probabilities of a sample are negative or do not sum to 1", where=where)
    kind: Kind = "probabilities" if values == "probabilities" or (values == "auto" and unit) else "logits"
    return Predictions(None if names is None else tuple(names), None, None, table, kind)


def _falls(table: NDArray[np.float32]) -> bool:
    """Every row is in descending order, and so many distinct rows would hardly be by chance: (1 / k!)^n < 1e-6."""
    k = table.shape[1]
    if k < 2 or not (np.diff(table, axis=1) <= 0).all() or not (table[:, 0] > table[:, -1]).all():
        return False
    return len(np.unique(table, axis=0)) * math.lgamma(k + 1) > -math.log(_SORTED_BY_CHANCE)
