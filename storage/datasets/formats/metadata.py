"""`metadata.csv` beside images: their labels and what else is known of them, as Hugging Face's `imagefolder` has it.

    file_name,label,age        the path of an image below the table's folder; its label; further columns are factors
    i0.jpg,cat,3

Labels are names, or numbers from 0 if all of them are whole numbers; an empty cell is none.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError, UsageError
from cvbench.storage.datasets.base import check_unique
from cvbench.storage.datasets.formats.files import read_bounded
from cvbench.storage.datasets.formats.lists import below
from cvbench.storage.datasets.labels import classes_for
from cvbench.storage.datasets.left_out import Tally
from cvbench.storage.objects.keys import check_name

TABLE = "metadata.csv"
MAX_BYTES = 256 * 1024 * 1024
"""The largest table that is read."""

MAX_CELL = 1_000
"""Characters of a cell of a factor; a column with longer ones, such as a text, is none."""

_FILE = "file_name"
_LABEL = "label"
_TAKEN = {"id", "sample", _LABEL}  # columns of the sample table in a store


@dataclass(frozen=True)
class Table:
    """The rows of a table: the images' paths, and the other columns as text."""

    where: str
    names: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]


def read_table(folder: Path) -> Table | None:
    """The table in a folder; None if there is none, or one without a column `file_name`, which is of something else.

    Raises:
        DataUnavailableError: It cannot be opened.
        IntegrityError: It is damaged, or names an image twice or outside the folder.
    """
    path = folder / TABLE
    if not path.is_file():
        return None
    too_large = f"the table has more than {MAX_BYTES:,} bytes"
    data = read_bounded(path, MAX_BYTES, what="a table of images", too_large=too_large)
    try:
        rows = csv.reader(data.decode("utf-8-sig").splitlines(), strict=True)
        head = [cell.strip() for cell in next(rows, [])]
        cells = [(f"{path}:{rows.line_num}", row) for row in rows if row]
    except (UnicodeDecodeError, csv.Error) as err:
        raise IntegrityError("the table of images cannot be read", where=str(path), why=str(err)) from err
    if _FILE not in head:
        return None
    if len(set(head)) != len(head):
        raise IntegrityError("the table has a column twice", where=str(path), why=f"they are {', '.join(head[:8])}")
    for where, row in cells:
        if len(row) != len(head):
            raise IntegrityError(f"a row of {len(row)} cells, the first line has {len(head)}", where=where)
    columns = {name: tuple(row[k].strip() for _, row in cells) for k, name in enumerate(head)}
    names = tuple(below(name, where) for (where, _), name in zip(cells, columns.pop(_FILE), strict=True))
    check_unique(names, str(path))
    if not names:
        raise DataUnavailableError("the table names no image", where=str(path))
    return Table(str(path), names, columns)


def has_labels(table: Table) -> bool:
    """Whether it has a column of labels."""
    return _LABEL in table.columns


def class_names(tables: Sequence[Table], folders: Sequence[str]) -> tuple[str, ...]:
    """The classes of tables and class folders together, sorted; the numbers from 0 if all labels are such.

    Raises:
        IntegrityError: A number that no class can have.
    """
    words = [(text, table, row) for table in tables for row, text in enumerate(table.columns[_LABEL]) if text]
    if folders or not words or not all(_is_number(text) for text, _, _ in words):
        return tuple(sorted({*folders, *(text for text, _, _ in words)}))
    highest, table, row = max(words, key=lambda entry: int(entry[0]))
    return classes_for((), int(highest), len(words), f"{table.where}: {table.names[row]}")


def labels_of(table: Table, classes: Sequence[str]) -> list[int]:
    """The label of each row, -1 for none."""
    index = {name: label for label, name in enumerate(classes)}
    texts = table.columns.get(_LABEL, ("",) * len(table.names))
    return [index[text] if text in index else index[str(int(text))] if text else -1 for text in texts]


def factors_of(table: Table, tally: Tally) -> dict[str, NDArray[Any]]:
    """The other columns: numbers where every cell is one, else text. What no store can take is left out."""
    factors: dict[str, NDArray[Any]] = {}
    for name, cells in table.columns.items():
        if name == _LABEL:
            continue
        try:
            taken = check_name("factor", name) in _TAKEN
        except UsageError:
            taken = True
        if taken or max(map(len, cells)) > MAX_CELL:
            tally.add("column", name or "(no name)")
        else:
            factors[name] = _values(cells)
    return factors


def _values(cells: Sequence[str]) -> NDArray[Any]:
    try:
        return np.array([float(cell) if cell else np.nan for cell in cells], dtype=np.float64)
    except ValueError:
        return np.array(cells, dtype=np.str_)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
