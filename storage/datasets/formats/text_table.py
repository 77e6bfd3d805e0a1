"""Tables of text: csv, tsv, and JSON lines, as columns of cells. Read line by line; memory is that of the cells.

csv: the cells are parted by `,`, `;`, tab or `|`, whichever parts the first line into most; quoted cells may hold line
ends. UTF-8 with or without a byte order mark, or UTF-16 with one, as spreadsheets write it. Lines without content at
the end are no rows.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from cvbench.errors import IntegrityError
from cvbench.texts import parse_json

MAX_CELL = 65_536
"""Characters of a cell: a path and a few lines of text have fewer."""

MAX_LINE = 1 << 22
"""Characters of a line, and of a JSON record."""

MAX_COLUMNS = 4_096

LISTS = ("bbox",)
"""Columns whose lists are kept, as the text of a JSON list; in lower case, names count in any."""

_LONGEST_LIST = 400  # characters; a longer one is no box

_DELIMITERS = ",;\t|"
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class Cells:
    """A table: column -> its cells as stripped text, "" for none; and the line of each row.

    Attributes:
        where: The file, for messages.
        columns: As many cells each as there are rows.
        lines: (n) number of the line, or record, that each row ends on.
        left: Columns that hold no plain values, such as lists.
    """

    where: str
    columns: Mapping[str, Sequence[str]]
    lines: Sequence[int]
    left: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, row: int) -> str:
        """The place of a row for messages, such as "birds.csv:7"."""
        return f"{self.where}:{self.lines[row]}"


def read_csv(handle: BinaryIO, where: str, *, tabs: bool = False) -> Cells:
    """Read a csv with a header.

    Args:
        handle: The file; it is left open.
        where: Its name, for messages.
        tabs: Tabs part the cells, whatever the first line says.

    Raises:
        IntegrityError: It is no text or no csv, a column is there twice, or a row has not as many cells as the header.
    """
    text = _text(handle)
    try:
        first = next((line for line in _lines(text, where) if line.strip()), "")
        mark = "\t" if tabs else max(_DELIMITERS, key=lambda one: len(next(csv.reader([first], delimiter=one), [])))
        text.seek(0)
        rows = csv.reader(_lines(text, where), delimiter=mark, strict=True)
        numbered = ((rows.line_num, [cell.strip() for cell in row]) for row in rows if row)
        _, header = next(numbered, (0, []))
        return _columns(header, numbered, where)
    except UnicodeError as err:
        raise IntegrityError(
            "the table is not UTF-8 text", where=where, why=str(err), fix="save it as UTF-8 (CSV UTF-8)"
        ) from err
    except csv.Error as err:
        raise IntegrityError("the table is no csv", where=where, why=str(err)) from err
    finally:
        text.detach()


def _text(handle: BinaryIO) -> io.TextIOWrapper:
    start = handle.read(2)
    handle.seek(0)
    return io.TextIOWrapper(handle, encoding=_MARKS.get(start, "utf-8-sig"), newline="")


def _lines(text: io.TextIOBase, where: str) -> Iterator[str]:
    """Lines with their ends, none of them without an end."""
    while line := text.readline(MAX_LINE):
        if len(line) >= MAX_LINE:
            raise IntegrityError(f"a line is longer than {MAX_LINE:,} characters", where=where)
        yield line


def _columns(header: list[str], rows: Iterator[tuple[int, list[str]]], where: str) -> Cells:
    if len(header) > MAX_COLUMNS:
        raise IntegrityError(f"the table has {len(header):,} columns", where=where, why=f"{MAX_COLUMNS:,} at most")
    if len(set(header)) != len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise IntegrityError("the table has a column twice", where=where, why=", ".join(map(repr, twice[:3])))
    columns: list[list[str]] = [[] for _ in header]
    lines: list[int] = []
    blank = 0
    kept: dict[str, str] = {}  # one object for a word that stands in many rows
    for line, row in rows:
        if not any(row):
            blank = blank or line
            continue
        if blank:
            raise IntegrityError("a row without content stands between others", where=f"{where}:{blank}")
        if len(row) != len(header):
            raise IntegrityError(
                f"a row of {len(row)} cells, the first line has {len(header)}",
                where=f"{where}:{line}",
                fix="put cells that hold the delimiter in quotes",
            )
        for column, cell in zip(columns, row, strict=True):
            if len(cell) > MAX_CELL:
                raise IntegrityError(f"a cell of {len(cell):,} characters", where=f"{where}:{line}")
            column.append(kept.setdefault(cell, cell) if len(cell) < 40 and len(kept) < 10_000 else cell)
        lines.append(line)
    return Cells(where, dict(zip(header, columns, strict=True)), lines)


def read_jsonl(handle: BinaryIO, where: str) -> Cells:
    """Read JSON lines, a record each; a key that a record lacks, and null, is an empty cell.

    Raises:
        IntegrityError: A line is no JSON object, or has a key twice.
    """
    text = _text(handle)
    columns: dict[str, list[str]] = {}
    left: dict[str, None] = {}
    lines: list[int] = []
    try:
        for number, line in enumerate(_lines(text, where), start=1):
            if not line.strip():
                continue
            place = f"{where}:{number}"
            record = parse_json(line, "a line of the table is no JSON", place, once=True)
            if not isinstance(record, dict):
                raise IntegrityError("a line of the table is no JSON object", where=place)
            _add(record, columns, left, len(lines), place)
            lines.append(number)
    except UnicodeError as err:
        raise IntegrityError("the table is not UTF-8 text", where=where, why=str(err)) from err
    finally:
        text.detach()
    return Cells(where, {name: cells for name, cells in columns.items() if name not in left}, lines, tuple(left))


def _add(
    record: Mapping[str, Any], columns: dict[str, list[str]], left: dict[str, None], rows: int, where: str
) -> None:
    """One record behind `rows` others."""
    for name, value in record.items():
        if isinstance(value, list) and name.lower() in LISTS:
            value = list_text(value)
        elif isinstance(value, list | dict):
            left[name] = None
        column = columns.setdefault(name, [])
        column += [""] * (rows - len(column))
        column.append(plain_text(value))
        if len(column[-1]) > MAX_CELL:
            raise IntegrityError(f"a cell of {len(column[-1]):,} characters", where=where)
    if len(columns) > MAX_COLUMNS:
        raise IntegrityError(f"the table has more than {MAX_COLUMNS:,} columns", where=where)
    for column in columns.values():
        column += [""] * (rows + 1 - len(column))


def list_text(value: list[Any] | None) -> str:
    """A list as a cell of one of `LISTS` has it: of a longer one, that it is none of numbers.

    >>> list_text([1, 2.5, 3, 4]), list_text(None), list_text([0] * 500)
    ('[1, 2.5, 3, 4]', '', '[[]]')
    """
    if value is None:
        return ""
    text = json.dumps(value) if len(value) <= 16 else ""
    return text if 0 < len(text) <= _LONGEST_LIST else "[[]]"


def plain_text(value: Any) -> str:
    """A value as a cell has it: nothing is "", a whole number has no point.

    >>> plain_text(None), plain_text(True), plain_text(2.0), plain_text(0.5), plain_text(" a")
    ('', 'true', '2', '0.5', 'a')
    """
    if value is None or isinstance(value, list | dict):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "" if value != value else str(int(value)) if value.is_integer() else repr(value)
    return str(value).strip()


READERS: Mapping[str, Callable[[BinaryIO, str], Cells]] = {
    ".csv": read_csv,
    ".tsv": lambda handle, where: read_csv(handle, where, tabs=True),
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
}
"""Suffix of a file -> its reader."""
