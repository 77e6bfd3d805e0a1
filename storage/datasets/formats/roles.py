"""Which column of a table of images is what: by its name, or as the spec says. Nothing is guessed from cells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError, UnknownNameError, UsageError
from cvbench.storage.datasets.formats.text_table import Cells
from cvbench.storage.datasets.left_out import Tally
from cvbench.storage.objects.keys import is_name

PATHS = ("path", "file_name", "filename", "file", "filepath", "image_path", "image")
"""Names of the column of paths, where none is named: the first that is there."""

BOX = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")
CORNERS = ("xmin", "ymin", "xmax", "ymax")
_BOXES = (BOX, CORNERS, ("x", "y", "w", "h"), ("x", "y", "width", "height"))
ROLES = ("path", "label", "name", "split", "id", "mask", *BOX, *CORNERS, "root", "within")
"""What a column can be."""

PLACES = ("root", "within")
"""Those that are no columns, but folders."""

MAX_FACTOR = 1_000
"""Characters of a cell of a factor; a column with longer ones, such as a text, is none."""

MAX_BYTES = 1024 * 1024 * 1024
"""Of a factor of text, which takes for each sample what its longest cell takes."""

_TAKEN = {"id", "sample", "label"}  # columns of the sample table in a store
_FOREIGN = re.compile(r"[^A-Za-z0-9._@=+-]+")


@dataclass(frozen=True)
class Roles:
    """Columns of a table by what they are; None: there is none.

    Attributes:
        box: Columns of x, y, w, h, or with `corners` of the left, top, right and bottom edge; empty for none.
        guessed: The box's columns have common names, but nobody has said that they are a box.
    """

    path: str
    label: str | None
    name: str | None
    split: str | None
    id: str | None
    mask: str | None
    box: tuple[str, ...]
    corners: bool
    guessed: bool

    @property
    def taken(self) -> set[str]:
        """Columns that are no factors."""
        single = (self.path, self.label, self.name, self.split, self.id, self.mask)
        return {*(name for name in single if name is not None), *self.box}


def find_roles(table: Cells, asked: Mapping[str, str]) -> Roles:
    """Find the columns.

    Raises:
        UnknownNameError: A column that was named is not there.
        UsageError: There is no column of paths, or no whole box.
    """
    for role, named in asked.items():
        if role not in PLACES and named and named not in table.columns:
            raise UnknownNameError.among(
                "column", named, table.columns, fix=f"{table.where} has {', '.join(table.columns)}"
            )

    def column(role: str, *names: str) -> str | None:
        if role in asked:
            return asked[role] or None
        return next((name for name in names if name in table.columns), None)

    path = column("path", *PATHS)
    if path is None:
        images = [name for name in table.left if name in PATHS]
        raise UsageError(
            "the table has no column of paths",
            where=table.where,
            why=f"it has {', '.join([*table.columns, *table.left][:12])}; looked for {', '.join(PATHS)}",
            fix=f"parquet:{table.where}, if the images are in it" if images else "--columns path=COLUMN,label=COLUMN",
        )
    box, corners, guessed = _box(table, asked)
    return Roles(
        path, column("label", "label"), column("name"), column("split", "split"), column("id"), column("mask"),
        box, corners, guessed,
    )  # fmt: skip


def _box(table: Cells, asked: Mapping[str, str]) -> tuple[tuple[str, ...], bool, bool]:
    """Columns of the box, whether they are corners, and whether nobody has called them a box."""
    for roles in (BOX, CORNERS):
        if named := [role for role in roles if asked.get(role)]:
            found = [asked.get(role) or (role if role in table.columns else "") for role in roles]
            if not all(found):
                raise UsageError(
                    f"a box needs {', '.join(roles)}", where=table.where, why=f"only {', '.join(named)} are named"
                )
            return tuple(found), roles == CORNERS, False
    if any(role in asked for role in (*BOX, *CORNERS)):
        return (), False, False
    known = next((names for names in _BOXES if all(name in table.columns for name in names)), ())
    return known, known == CORNERS, bool(known) and known != BOX


def boxes(table: Cells, roles: Roles, tally: Tally) -> dict[str, NDArray[Any]]:
    """`bbox_x` and so on, (N,) float64 pixels, NaN where there is no box; empty if the table has none.

    Raises:
        IntegrityError: A cell that is no number, a box of no extent, or boxes as fractions of the image; but columns
            that only have a usual name are then factors like others, and counted.
    """
    if not roles.box:
        return {}
    try:
        values = [_numbers(table, name) for name in roles.box]
        x, y, w, h = values
        there = np.isfinite(values)
        if (half := np.flatnonzero(there.any(axis=0) & ~there.all(axis=0))).size:
            raise IntegrityError(
                "a box lacks an edge",
                where=table.place(int(half[0])),
                why=f"the columns {', '.join(roles.box)} hold four numbers, or nothing",
            )
        if roles.corners:
            w, h = w - x, h - y
        flat = np.flatnonzero((w <= 0) | (h <= 0))
        if len(flat):
            raise IntegrityError("a box has no extent", where=table.place(int(flat[0])))
        if np.nanmax([w, h], initial=0) <= 1 and len(w):
            raise IntegrityError(
                "the boxes are at most one pixel wide",
                where=table.where,
                why="so they seem to be fractions of the image; boxes are in pixels of the image file",
            )
    except IntegrityError:
        if not roles.guessed:
            raise
        for name in roles.box:
            tally.add("no-box", name)
        return {}
    if roles.guessed:
        for name in roles.box:
            tally.add("box", name)
    return dict(zip(BOX, (x, y, w, h), strict=True))


def _numbers(table: Cells, name: str) -> NDArray[np.float64]:
    found = np.full(len(table), np.nan)
    for row, cell in enumerate(table.columns[name]):
        try:
            found[row] = _number(cell)
        except ValueError:
            raise IntegrityError(f"{cell[:40]!r} in the column {name} is no number", where=table.place(row)) from None
    return found


def factors(table: Cells, taken: set[str], tally: Tally) -> dict[str, NDArray[Any]]:
    """The other columns: float64 where every cell is a number, NaN for none, else text.

    A name that no store can take is written with `_`; what none can take at all is counted.
    """
    found: dict[str, NDArray[Any]] = {}
    for name in table.left:
        tally.add("column", name)
    for name, cells in table.columns.items():
        if name in taken:
            continue
        key = name if is_name(name) else _FOREIGN.sub("_", name).strip("_.-")
        if (
            not is_name(key)
            or key in _TAKEN
            or key in found
            or is_too_long(max(map(len, cells), default=0), len(cells))
        ):
            tally.add("column", name or "(no name)")
        else:
            found[key] = column_values(cells)
    return found


def is_too_long(longest: int, rows: int) -> bool:
    """Whether a column of text is no factor, by the characters of its longest cell and its rows."""
    return longest > MAX_FACTOR or 4 * longest * rows > MAX_BYTES


def column_values(cells: Sequence[str]) -> NDArray[Any]:
    """(N,) float64 if every cell is a number, NaN for none, else text."""
    try:
        return np.array([_number(cell) for cell in cells], dtype=np.float64)
    except ValueError:
        return np.array(cells, dtype=np.str_)


def _number(cell: str) -> float:
    """The number of a cell, NaN for none; "1_2" and digits of other scripts are words, which `float` would take.

    Raises:
        ValueError: It is none.
    """
    if "_" in cell or not cell.isascii():
        raise ValueError(f"{cell[:40]!r} is no number")
    return float(cell) if cell else np.nan
