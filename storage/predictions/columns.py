"""Which column of a file holds what. What could be read in two ways is refused, or named by an option."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cvbench.errors import UnknownNameError, UsageError

NAME_COLUMNS = ("file_name", "filename", "file", "path", "id", "image", "name", "image_id", "img_id")
CLASS_COLUMNS = ("predicted_class", "prediction", "pred", "index", "top1", "label", "class")
PROBABILITY_COLUMNS = ("predicted_probability", "probability", "prob", "confidence", "score")
VALUE_KEYS = ("logits", "probabilities")
HEADER = ("file_name", "predicted_class", "predicted_probability")

_FORMS = f"{','.join(HEADER)}, or file_name,0,1,2,... with a value for every class"
_NUMBERED = re.compile(r"(.*?)[ _.-]*(0|[1-9][0-9]{0,6})")
_OF_CLASSES = {*CLASS_COLUMNS, "idx", "indices", "labels", "classes", "preds", "top", "rank"}


@dataclass(frozen=True)
class Asked:
    """The columns that the caller has named; None: found by their names."""

    name: str | None = None
    classes: str | None = None
    probability: str | None = None


@dataclass(frozen=True)
class Columns:
    """Positions in a header.

    Attributes:
        name: Of the samples' names.
        classes: Of the predicted class; more than one: the first is taken, the others must say the same.
        probability: Of the predicted class.
        values: Of the values of class 0, 1, 2, ..., a column each.
        indices: The columns of `values` are called as classes are: whole numbers in them may be classes, not values.
        table: Of the values of all classes, as one list.
        unread: All others.
    """

    name: int | None
    classes: tuple[int, ...]
    probability: int | None
    values: tuple[int, ...]
    indices: bool
    table: int | None
    unread: tuple[int, ...]


def find_columns(
    header: Sequence[str], asked: Asked, where: str, *, lists: Iterable[str] = (), forms: str = _FORMS
) -> Columns:
    """Find what a header holds.

    Args:
        header: Names of the columns.
        asked: What the caller has named.
        where: For messages.
        lists: Columns whose cells are lists: only they are read as `table`.
        forms: What would be read, for messages.

    Raises:
        UnknownNameError: A column that was asked for is not there.
        UsageError: No column of predictions, or several that could be meant.
    """
    plain = [cell.strip().lower() for cell in header]
    name = _one(header, plain, NAME_COLUMNS, asked.name, "--name-column", "the samples' names", where)
    among = set(lists)
    tables = [i for key in VALUE_KEYS for i, cell in enumerate(plain) if cell == key and header[i] in among]
    table = tables[0] if tables and asked.classes is None else None
    classes: tuple[int, ...] = ()
    if asked.classes is not None:
        classes = (_position(header, asked.classes, "--class-column", where),)
    elif table is None:
        known = {cell: i for i, cell in enumerate(plain) if cell in CLASS_COLUMNS and i != name}
        _refuse_twice([cell for cell in plain if cell in known], where)
        classes = tuple(known[cell] for cell in CLASS_COLUMNS if cell in known)
    probability = None
    if classes:
        probability = _one(
            header, plain, PROBABILITY_COLUMNS, asked.probability, "--probability-column", "probabilities", where
        )
    values, indices = _numbered(header, plain, where) if not classes and table is None else ((), False)
    if not classes and table is None and not values:
        raise UsageError(
            "there is no column of predictions",
            where=where,
            why=f"its columns are {_listed(header)}",
            fix=f"--class-column NAME; or {forms}",
        )
    used = {name, probability, table, *classes, *values}
    unread = tuple(i for i in range(len(header)) if i not in used)
    return Columns(name, classes, probability, values, indices, table, unread)


def _one(
    header: Sequence[str],
    plain: Sequence[str],
    known: Sequence[str],
    asked: str | None,
    option: str,
    what: str,
    at: str,
) -> int | None:
    """The only column of a kind, by its name or as asked."""
    if asked is not None:
        return _position(header, asked, option, at)
    found = [i for i, cell in enumerate(plain) if cell in known]
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} columns may hold {what}: {_listed([header[i] for i in found])}",
            where=at,
            fix=f"{option} {header[found[0]].strip()}",
        )
    return found[0] if found else None


def _position(header: Sequence[str], asked: str, option: str, where: str) -> int:
    found = [i for i, cell in enumerate(header) if cell.strip() == asked]
    if not found:
        raise UnknownNameError.among(option, asked, [cell.strip() for cell in header])
    _refuse_twice([header[i].strip() for i in found], where)
    return found[0]


def _refuse_twice(names: Sequence[str], where: str) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"the header names the column {twice!r} twice", where=where)


def _numbered(header: Sequence[str], plain: Sequence[str], where: str) -> tuple[tuple[int, ...], bool]:
    """The columns of class 0 .. k-1, if a group of columns ends in these numbers; whether it is called as classes are.

    Raises:
        UsageError: Several groups, as in a table of the k best classes and their probabilities.
    """
    groups: dict[str, dict[int, int]] = {}
    for i, cell in enumerate(plain):
        match = _NUMBERED.fullmatch(cell)
        if match:
            places = groups.setdefault(match.group(1), {})
            if int(match.group(2)) in places:
                _refuse_twice([header[places[int(match.group(2))]].strip(), header[i].strip()], where)
            places[int(match.group(2))] = i
    numbered = {name: at for name, at in groups.items() if len(at) > 1 and sorted(at) == list(range(len(at)))}
    if len(numbered) > 1:
        first = {name: header[at[0]].strip() for name, at in numbered.items()}
        best = next((first[name] for name in numbered if name in _OF_CLASSES), None)
        sure = next((first[name] for name in numbered if name in PROBABILITY_COLUMNS), None)
        fix = "leave the columns of one group"
        if best is not None and sure is not None:
            fix = f"--class-column {best} --probability-column {sure}, which keeps the best class of each sample"
        raise UsageError(
            f"{len(numbered)} groups of numbered columns: {_listed([f'{name}, ...' for name in first.values()])}",
            where=where,
            why="they seem to be the best classes of each sample; a value for every class is one group of columns",
            fix=fix,
        )
    return next(
        ((tuple(at[i] for i in range(len(at))), name in _OF_CLASSES) for name, at in numbered.items()), ((), False)
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
