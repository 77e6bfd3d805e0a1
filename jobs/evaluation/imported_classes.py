"""From the classes that a file names to the columns of a classifier. What could mean two classes is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError, UsageError
from cvbench.storage.datasets.readers.imagenet_classes import class_indices
from cvbench.storage.predictions import Predictions, shown

"""What a number is: the index of a class, its name, or whichever it can only be."""


def class_columns(
    predictions: Predictions, classes: Sequence[str], imagenet: bool, how: str, where: str
) -> tuple[NDArray[np.int64], list[str]]:
    """(n,) int64 column of every predicted class, and what must be said.

    Args:
        predictions: With `classes`, and perhaps `others` that must agree with them.
        classes: Of the data set, by label.
        imagenet: Columns are ImageNet's 1000 classes, which WordNet ids name; else the classes of the data set.
        how: See `HOW`.
        where: For messages.

    Raises:
        IntegrityError: A class that is none, or that two classes are called.
        UsageError: A number that may be an index or a name; columns that disagree.
    """
    width = 1000 if imagenet else len(classes)
    names = class_indices() if imagenet else _by_name(classes)
    given = predictions.classes or ()
    if how == "auto" and not imagenet:
        how = _how(given, classes, where)
    found = np.array([_column(value, names, width, how) for value in given], dtype=np.int64)
    if (found < 0).any():
        raise _no_class(given[int(np.flatnonzero(found < 0)[0])], () if imagenet else classes, width, where)
    said = []
    for name, values in predictions.others:
        other = np.array([_column(value, names, width, how) for value in values], dtype=np.int64)
        if (other < 0).all():
            said.append(f"the column {name} is not read: {shown(values[0])} and so on are no classes of {where}")
        elif (other != found).any():
            row = int(np.flatnonzero(other != found)[0])
            raise UsageError(
                f"columns that may hold the predicted class disagree: {shown(given[row])}, in {name!r} "
                f"{shown(values[row])}",
                where=f"{where}: row {row + 1}",
                why=f"the file holds {', '.join(predictions.read)}",
                fix="--class-column NAME",
            )
    return found, said


def _no_class(value: int | str, classes: Sequence[str], width: int, where: str) -> IntegrityError:
    labels = [str(label) for label, name in enumerate(classes) if name == value]
    if len(labels) > 1:
        return IntegrityError(
            f"{len(labels)} classes are called {shown(value)}", where=where, fix=f"their index: {' or '.join(labels)}"
        )
    return IntegrityError(f"{shown(value)} is no class: expected 0 to {width - 1}, or a name", where=where)


def _column(value: int | str, names: Mapping[str, int], width: int, how: str) -> int:
    """-1: no class."""
    if isinstance(value, int) and how != "name":
        return value if 0 <= value < width else -1
    return names.get(str(value), -1)


def _by_name(classes: Sequence[str]) -> dict[str, int]:
    """Name -> label, without the names that two classes share."""
    counts = Counter(classes)
    return {name: label for label, name in enumerate(classes) if counts[name] == 1}


def _how(given: Sequence[int | str], classes: Sequence[str], where: str) -> str:
    """Whether numbers are indices or names.

    Raises:
        UsageError: They may be both, and mean different classes: folders called 1, 10, 2.
    """
    numbers = {value for value in given if isinstance(value, int)}
    number_of = {int(name): label for label, name in enumerate(classes) if name.isascii() and name.isdigit()}
    confused = next((value for value in sorted(numbers) if number_of.get(value, value) != value), None)
    if confused is None:
        return "index"
    label = number_of[confused]
    raise UsageError(
        f"{confused} may be the class called {classes[label]!r}, which is number {label}, or the class number "
        f"{confused}" + (f", which is called {classes[confused]!r}" if confused < len(classes) else ""),
        where=where,
        why="the data set's classes have numbers as names, in the order of text",
        fix="--classes name, or --classes index",
    )
