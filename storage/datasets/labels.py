"""Labels and the names of their classes, in bounded memory: no label decides how much is allocated."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError

MAX_UNNAMED = 100_000
"""Classes without names that a data set may have, however few samples it has: of a small sample of a large set."""


def classes_for(names: tuple[str, ...], highest: int, samples: int, where: str) -> tuple[str, ...]:
    """Names for labels up to `highest`: those known, else the numbers.

    Args:
        highest: The largest label, -1 if there is none.
        samples: How many samples there are: there may be as many classes.
        where: The sample with the largest label, for messages.

    Raises:
        IntegrityError: There are names, but too few; or none, and the label is beyond what any data set needs.
    """
    if names and highest >= len(names):
        raise IntegrityError(f"label {highest} has no name: {len(names)} classes are listed", where=where)
    if names:
        return names
    most = max(MAX_UNNAMED, samples)
    if highest >= most:
        raise IntegrityError(
            f"the label {highest} is too large",
            where=where,
            why=f"without names of the classes, labels are below {most:,}",
            fix="if it is right, list the classes in classes.txt beside the files, one a line",
        )
    return tuple(str(label) for label in range(highest + 1))


MAX_WORD = 1_000
"""Characters of a label that is a class's name."""

_WHOLE = re.compile(r"(-1|[0-9]{1,18})(\.0*)?")
_NUMBER = re.compile(r"[-+]?([0-9]+[.,]?[0-9]*|[.,][0-9]+)([eE][-+]?[0-9]+)?")

_EMPTY = {"nan", "na", "n/a", "<na>", "null", "none"}
"""Words that programs write for a number that is not there."""


def whole_number(word: str) -> int:
    """The number in a label that is one, -1 for none.

    Raises:
        ValueError: It is no whole number from -1.

    >>> whole_number("3.0"), whole_number("007"), whole_number("-1")
    (3, 7, -1)
    """
    found = _WHOLE.fullmatch(word)
    if found is None:
        raise ValueError(f"{word!r} is no label")
    return int(found[1])


OTHER_COLUMN = "--columns label=COLUMN names another column; label= says that there is none"
"""What mends labels that are none, where a spec can name columns."""


def labels_of_cells(
    cells: Sequence[str], listed: tuple[str, ...], place: Callable[[int], str], fix: str = OTHER_COLUMN
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """(N,) int64 labels of a column of text, -1 for none, and the classes' names by label.

    If every cell is a whole number from 0 ("3", and "3.0" as pandas writes it) these are the labels, and "-1" is none;
    else the cells are the names of the classes, which are sorted. An empty cell is no label.

    Args:
        cells: Of each sample, of all splits together, so that labels agree.
        listed: Names of the classes by label; empty if nothing says them.
        place: Row -> where it is, for messages.
        fix: What mends labels that are none.

    Raises:
        IntegrityError: The cells are numbers, but no labels, or numbers but for some such as "nan"; a name that is not
            listed, or is too long; numbers that name other listed classes than they count.
    """
    words = sorted({cell for cell in cells if cell})
    whole = {word: whole_number(word) for word in words if _WHOLE.fullmatch(word)}
    if words and len(whole) == len(words):
        labels = np.array([whole[cell] if cell else -1 for cell in cells], dtype=np.int64)
        _refuse_two_meanings(cells, whole, listed, place)
        highest = int(labels.max(initial=-1))
        return labels, classes_for(listed, highest, len(cells), place(int(labels.argmax())))
    if words and not listed and all(map(_NUMBER.fullmatch, words)):
        wrong = next(word for word in words if word not in whole)
        raise IntegrityError(
            f"the column of labels holds numbers that are no classes, such as {wrong}",
            where=place(cells.index(wrong)),
            why="a label is the name of a class, or its number from 0",
            fix=fix,
        )
    empty = [word for word in words if word.lower() in _EMPTY]
    if empty and not listed and len(empty) < len(words) and all(map(_NUMBER.fullmatch, set(words) - set(empty))):
        raise IntegrityError(
            f"the column of labels holds numbers and {empty[0]!r}",
            where=place(cells.index(empty[0])),
            why="as names, the numbers would be those of other classes",
            fix="leave the cells of samples without a label empty",
        )
    for word in words:
        if len(word) > MAX_WORD:
            raise IntegrityError(
                f"a label of {len(word):,} characters",
                where=place(cells.index(word)),
                why=f"a class's name has {MAX_WORD:,} at most",
                fix="name the column that holds the classes, label=NAME, or shorten the names",
            )
    known = Counter(listed or words)
    for word in words:
        if known[word] != 1:
            raise IntegrityError(
                f"the label {word!r} is the name of {'no class' if not known[word] else 'several classes'}",
                where=place(cells.index(word)),
                why=f"{len(listed)} classes are listed: {', '.join(listed[:5])}{', ...' if len(listed) > 5 else ''}",
            )
    names = listed or tuple(words)
    index = {name: label for label, name in enumerate(names)}
    return np.array([index[cell] if cell else -1 for cell in cells], dtype=np.int64), names


def _refuse_two_meanings(
    cells: Sequence[str], whole: dict[str, int], listed: tuple[str, ...], place: Callable[[int], str]
) -> None:
    """Refuse numbers that are also names of listed classes, and of others than they count."""
    index = {name: label for label, name in enumerate(listed)}
    for word, label in whole.items():
        if index.get(word, label) != label:
            raise IntegrityError(
                f"the label {word!r} is the number of one class and the name of another",
                where=place(cells.index(word)),
                why=f"the class {word!r} is listed as number {index[word]}, counted from 0",
                fix="list the classes by other names, or take the list away",
            )
