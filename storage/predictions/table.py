"""Tables of predictions in csv: a header, and a row a sample. Read row by row; memory is that of the numbers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError, UsageError
from cvbench.storage.predictions.base import Predictions, class_of, narrow, shown, wide
from cvbench.storage.predictions.columns import Asked, Columns, find_columns
from cvbench.texts import read_cell

_DELIMITERS = ",;\t"
_MOST_HEADER = 1 << 22  # characters
_DECIMAL_COMMA = re.compile(r"\s*[-+]?[0-9]+,[0-9]+\s*")


def read_csv(handle: io.TextIOBase, where: str, values: str, asked: Asked) -> Predictions:
    """Read a csv, whose cells `,`, `;` or tab part (what parts its header into more cells).

    Blank lines, and rows without content at the end, are no rows. Where `;` or tab part the cells, 0,5 is a half.

    Raises:
        UsageError: No column of predictions, or an ambiguous one.
        IntegrityError: A row or a cell that is none; names its line.
    """
    try:
        first = next((line for line in _bounded(handle, where) if line.strip()), "")
        delimiter = max(_DELIMITERS, key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
        handle.seek(0)
        rows = csv.reader(_bounded(handle, where), delimiter=delimiter)
        header = [cell.strip() for cell in next(filter(None, rows), [])]
        found = find_columns(header, asked, where)
        numbered = ((f"{where}:{rows.line_num}", _unquoted(row, found.name)) for row in rows)
        return from_rows(header, numbered, where, values, asked, comma=delimiter != ",", columns=found)
    except csv.Error as error:
        raise IntegrityError("the predictions are no csv", where=where, why=str(error)) from error


def from_rows(
    header: Sequence[str],
    rows: Iterable[tuple[str, Sequence[Any]]],
    where: str,
    values: str,
    asked: Asked,
    *,
    comma: bool = False,
    columns: Columns | None = None,
) -> Predictions:
    """Predictions from a header and (place, cells) of every row.

    Args:
        header: Names of the columns.
        rows: The place of each row in the file, for messages, and its cells.
        where: The file.
        values: See `read_predictions`.
        asked: See `read_predictions`.
        comma: A decimal comma may stand in a number.
        columns: What holds what; None: found in the header.

    Raises:
        UsageError, IntegrityError: As in `read_csv`.
    """
    found = columns or find_columns(header, asked, where)
    names: list[str] = []
    classes: list[list[int | str]] = [[] for _ in found.classes]
    numbers: list[float] = []
    table: list[NDArray[np.float32]] = []
    for at, row in _rows(header, rows):
        if found.name is not None:
            names.append(_name(row[found.name], at))
        for column, place in zip(classes, found.classes, strict=True):
            column.append(class_of(_point(row[place], comma), at))
        if found.probability is not None:
            numbers.append(_number(row[found.probability], at, comma))
        if found.values:
            table.append(numeric([row[i] for i in found.values], at, comma))
        elif found.table is not None:
            table.append(numeric(row[found.table], at, comma))
            if len(table[-1]) != len(table[0]):
                raise IntegrityError(f"{len(table[-1])} values, the first row has {len(table[0])}", where=at)
    known = names if found.name is not None else None
    read = _finish(header, found, known, classes, numbers, table, where, values)
    columns_of = [i for i in range(len(header)) if i not in found.unread]
    return replace(read, read=tuple(header[i] for i in columns_of), unread=tuple(header[i] for i in found.unread))


def _finish(
    header: Sequence[str],
    found: Columns,
    known: Sequence[str] | None,
    classes: Sequence[Sequence[int | str]],
    numbers: Sequence[float],
    table: Sequence[NDArray[np.float32]],
    where: str,
    values: str,
) -> Predictions:
    """The predictions of the cells that were read."""
    if classes:
        others = [(header[i], column) for i, column in zip(found.classes[1:], classes[1:], strict=True)]
        return narrow(known, classes[0], numbers if found.probability is not None else None, where, others=others)
    full = np.stack(table) if table else np.empty((0, 1), np.float32)
    if found.indices and values == "auto" and len(full) and (full == np.floor(full)).all():
        raise UsageError(
            f"the columns {header[found.values[0]]}, ... hold whole numbers",
            where=where,
            why="so they may be the best classes of each sample, not a value for every class",
            fix=f"--class-column {header[found.values[0]]} for the best class; or --values logits, if these are",
        )
    return wide(known, full, values, where)


def _rows(header: Sequence[str], rows: Iterable[tuple[str, Sequence[Any]]]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Rows that are as long as the header, without blank lines and without empty rows at the end."""
    empty = ""
    for at, row in rows:
        if not row:
            continue
        if all(isinstance(cell, str) and not cell.strip() for cell in row):
            empty = empty or at
            continue
        if empty:
            raise IntegrityError("a row without content stands between others", where=empty)
        if len(row) != len(header):
            raise IntegrityError(f"a row has {len(row)} cells, the header {len(header)}", where=at)
        yield at, row


def _unquoted(row: list[str], name: int | None) -> list[str]:
    """The row with its name as it was before a spreadsheet was kept from running it."""
    if name is not None and name < len(row):
        row[name] = read_cell(row[name])
    return row


def _bounded(handle: io.TextIOBase, where: str) -> Iterator[str]:
    """Lines, none of them without an end."""
    while line := handle.readline(_MOST_HEADER):
        if len(line) >= _MOST_HEADER and not line.endswith("\n"):
            raise IntegrityError(f"a line is longer than {_MOST_HEADER:,} characters", where=where)
        yield line


def _name(cell: Any, where: str) -> str:
    if not isinstance(cell, str | int) or isinstance(cell, bool) or not str(cell).strip():
        raise IntegrityError(f"{shown(cell)} names no sample", where=where)
    return str(cell).strip()


def _point(cell: Any, comma: bool) -> Any:
    """The cell with a decimal point for its decimal comma."""
    return cell.replace(",", ".") if comma and isinstance(cell, str) and _DECIMAL_COMMA.fullmatch(cell) else cell


def _number(cell: Any, where: str, comma: bool = False) -> float:
    try:
        return float(_point(cell, comma))
    except (TypeError, ValueError, OverflowError) as error:
        raise IntegrityError(f"{shown(cell)} is not a number", where=where) from error


def numeric(cells: Any, where: str, comma: bool = False) -> NDArray[np.float32]:
    """(k,) float32 of a row of cells; what float32 cannot hold is inf.

    Raises:
        IntegrityError: A cell that is no number.
    """
    if not isinstance(cells, list | tuple):
        raise IntegrityError(f"{shown(cells)} is no list of values", where=where)
    try:
        with np.errstate(over="ignore"):
            plain = [_point(cell, True) for cell in cells] if comma else cells
            found: NDArray[np.float32] = np.array(plain, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise IntegrityError("a value is not a number", where=where, why=str(error)[:300]) from error
    if found.ndim != 1 or not len(found):
        raise IntegrityError("a list of values holds lists, or nothing", where=where)
    return found
