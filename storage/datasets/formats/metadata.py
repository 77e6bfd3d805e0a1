"""`metadata.csv` beside images: their labels and what else is known of them, as Hugging Face's `imagefolder` has it.

    file_name,label,age        the path of an image below the table's folder; its label; further columns are factors
    i0.jpg,cat,3

It may also be `metadata.jsonl` or `metadata.parquet`. Labels are names, or numbers from 0 if all of them are whole
numbers ("3", "3.0"); an empty cell and "-1" are none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError, UsageError
from cvbench.storage.datasets.base import check_unique
from cvbench.storage.datasets.formats.cells import read_cells
from cvbench.storage.datasets.formats.lists import below
from cvbench.storage.datasets.formats.roles import column_values, is_too_long, usual
from cvbench.storage.datasets.labels import labels_of_cells, whole_number
from cvbench.storage.datasets.left_out import Tally
from cvbench.storage.objects.keys import check_name

TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")

_FILE = "file_name"
_LABEL = "label"
_TAKEN = {"id", "sample", _LABEL}  # columns of the sample table in a store


@dataclass(frozen=True)
class Table:
    """The rows of a table: the images' paths, and the other columns as text; and columns that hold no plain values."""

    where: str
    names: tuple[str, ...]
    columns: Mapping[str, Sequence[str]]
    left: tuple[str, ...] = ()


def read_table(folder: Path) -> Table | None:
    """The table in a folder; None if there is none, or one without a column `file_name`, which is of something else.

    Raises:
        DataUnavailableError: It cannot be opened.
        IntegrityError: It is damaged, or names an image twice or outside the folder; or there are two.
    """
    paths = [folder / name for name in TABLES if (folder / name).is_file()]
    if not paths:
        return None
    if len(paths) > 1:
        raise IntegrityError(
            f"two tables of images: {paths[0].name} and {paths[1].name}", where=str(folder), fix="keep one of them"
        )
    found = read_cells(str(paths[0]))
    file = usual(found.columns, (_FILE,), "file_name", found.where)
    if file is None:
        return None
    names = tuple(below(name, found.place(row)) for row, name in enumerate(found.columns[file]))
    check_unique(names, found.where)
    if not names:
        raise DataUnavailableError("the table names no image", where=found.where)
    label = usual(found.columns, (_LABEL,), _LABEL, found.where)
    columns = {_LABEL if name == label else name: cells for name, cells in found.columns.items() if name != file}
    return Table(found.where, names, columns, found.left)


def has_labels(table: Table) -> bool:
    """Whether it has a column of labels."""
    return _LABEL in table.columns


def class_names(tables: Sequence[Table], folders: Sequence[str]) -> tuple[str, ...]:
    """The classes of tables and class folders together, sorted; the numbers from 0 if all labels are such.

    Raises:
        IntegrityError: Numbers that no class can have, or numbers but for some such as "nan".
    """
    rows = [(table, row) for table in tables for row in range(len(table.names))]
    cells = [table.columns[_LABEL][row] for table, row in rows]
    if folders:
        return tuple(sorted({*folders, *filter(None, cells)}))

    def place(at: int) -> str:
        table, row = rows[at]
        return f"{table.where}: {table.names[row]}"

    return labels_of_cells(cells, (), place, "name the classes, or table:FILE --columns label=COLUMN")[1]


def labels_of(table: Table, classes: Sequence[str]) -> list[int]:
    """The label of each row, -1 for none."""
    index = {name: label for label, name in enumerate(classes)}
    cells = table.columns.get(_LABEL, ("",) * len(table.names))
    return [index[cell] if cell in index else whole_number(cell) if cell else -1 for cell in cells]


def factors_of(table: Table, tally: Tally) -> dict[str, NDArray[Any]]:
    """The other columns: numbers where every cell is one, else text. What no store can take is left out."""
    factors: dict[str, NDArray[Any]] = {}
    for name in table.left:
        tally.add("column", name)
    for name, cells in table.columns.items():
        if name == _LABEL:
            continue
        try:
            taken = check_name("factor", name) in _TAKEN
        except UsageError:
            taken = True
        if taken or is_too_long(max(map(len, cells)), len(cells)):
            tally.add("column", name or "(no name)")
        else:
            factors[name] = column_values(cells)
    return factors
