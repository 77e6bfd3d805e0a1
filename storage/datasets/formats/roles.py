"""Which column of a table of images is what: by its name, or as the spec says. Nothing is guessed from cells."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError, UnknownNameError, UsageError
from cvbench.storage.datasets.columns import pairs_text
from cvbench.storage.datasets.formats.split_names import split_of
from cvbench.storage.datasets.formats.text_table import Cells
from cvbench.storage.datasets.left_out import Tally
from cvbench.storage.datasets.suffixes import SUFFIXES
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

_LABELS = ("label", "labels", "class", "target", "category", "species", "fine_label")
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
    """Find the columns: those that are named, else those of the usual names, in any case.

    Nobody has named a column `id` or `mask`: it is one only where its cells can be no other, ids each of one row and
    paths of pictures.

    Raises:
        UnknownNameError: A column that was named is not there.
        UsageError: There is no column of paths, or no whole box; or two columns have the same usual name.
    """
    for role, named in asked.items():
        if role not in PLACES and named and named not in table.columns:
            raise UnknownNameError.among(
                "column", named, table.columns, fix=f"{table.where} has {', '.join(table.columns)}"
            )

    def column(role: str, *names: str) -> str | None:
        if role in asked:
            return asked[role] or None
        return usual(table.columns, names, role, table.where)

    path = column("path", *PATHS)
    if path is None:
        raise without_paths(table)
    box, corners, guessed = _box(table, asked)
    own_id, mask = column("id", "id"), column("mask", "mask")
    if "id" not in asked and own_id and not _names_rows(table.columns[own_id]):
        own_id = None
    if "mask" not in asked and mask and not _are_pictures(table.columns[mask]):
        mask = None
    return Roles(
        path, column("label", "label"), column("name"), column("split", "split"), own_id, mask, box, corners, guessed
    )


def usual(columns: Iterable[str], names: Sequence[str], role: str, where: str) -> str | None:
    """The first column that has one of the names, as it is written, else in another case.

    Raises:
        UsageError: Two columns have it, in other cases.
    """
    columns = list(columns)
    for name in names:
        if name in columns:
            return name
    for name in names:
        alike = [column for column in columns if column.lower() == name]
        if len(alike) > 1:
            raise UsageError(
                f"the columns {' and '.join(alike)} may both be the {role}",
                where=where,
                fix=" or ".join(f"--columns {shlex.quote(pairs_text({role: one})[1:])}" for one in alike),
            )
        if alike:
            return alike[0]
    return None


def _names_rows(cells: Sequence[str]) -> bool:
    """Whether cells are ids: each is there, and of one row."""
    return bool(cells) and "" not in cells and len({*cells}) == len(cells)


def _are_pictures(cells: Sequence[str]) -> bool:
    """Whether cells are names of pictures, or empty."""
    return any(cells) and all(not cell or cell.lower().endswith(SUFFIXES) for cell in cells)


def without_paths(table: Cells) -> UsageError:
    """The error of a table without a column of paths, with what can be typed."""
    if not table.columns and not table.left:
        return UsageError(
            "the table is empty",
            where=table.where,
            fix="a first line with the names of the columns, such as path,label",
        )
    seen = [*table.columns, *table.left]
    images = [name for name in table.left if name.lower() in PATHS]
    fix, why = "", f"it has {', '.join(seen[:12])}; looked for {', '.join(PATHS)}"
    if images:
        fix = f"--dataset {shlex.quote(f'parquet:{table.where}')}, if the images are in it"
    elif any(name.lower().endswith(SUFFIXES) for name in table.columns):
        why = f"its first line names an image, so the names of the columns are missing: {', '.join(seen[:12])}"
        fix = "write them in the first line, such as path,label"
    return UsageError("the table has no column of paths", where=table.where, why=why, fix=fix or _columns_fix(table))


def _columns_fix(table: Cells) -> str:
    """The option that names the columns, with those that look like paths, splits and labels by their first cells."""
    found: dict[str, str] = {}
    for name, cells in table.columns.items():
        some = [cell for cell in cells[:100] if cell]
        if "path" not in found and some and all(cell.lower().endswith(SUFFIXES) for cell in some):
            found["path"] = name
        elif "split" not in found and some and all(map(split_of, some)):
            found["split"] = name
        elif "label" not in found and name.lower() in _LABELS:
            found["label"] = name
    rest = [name for name in table.columns if name and name not in found.values()]
    if "path" not in found:
        return f"--columns path=COLUMN, one of {', '.join(rest[:12])}"
    if "label" not in found and rest:
        found["label"] = rest[0]
    return f"--columns {shlex.quote(pairs_text({role: found[role] for role in ROLES if role in found})[1:])}"


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
    for names in _BOXES:
        columns = [usual(table.columns, (name,), name, table.where) for name in names]
        if None not in columns:
            return tuple(filter(None, columns)), names == CORNERS, names != BOX
    return (), False, False


def boxes(table: Cells, roles: Roles, tally: Tally) -> dict[str, NDArray[Any]]:
    """`bbox_x` and so on, (N,) float64 pixels, NaN where there is no box; empty if the table has none.

    Raises:
        IntegrityError: A cell that is no number, a box of no extent, or boxes as fractions of the image; but columns
            called x, y and so on, which may be something else, are then factors like others, and counted.
    """
    if not roles.box:
        return {}
    try:
        values = _edges(table, roles)
    except IntegrityError as err:
        if roles.guessed and not roles.corners:
            for name in roles.box:
                tally.add("no-box", name)
            tally.say("no-box", f"{err.what}: {err.where}")
            return {}
        err.fix = err.fix or f"mend it, or say that {', '.join(roles.box)} are no box: --columns bbox_x="
        raise
    if roles.guessed:
        for name in roles.box:
            tally.add("box", name)
    return dict(zip(BOX, values, strict=True))


def _edges(table: Cells, roles: Roles) -> tuple[NDArray[np.float64], ...]:
    """x, y, width and height, (N,) each, NaN where there is no box; see `boxes`."""
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
    if (flat := np.flatnonzero((w <= 0) | (h <= 0))).size:
        row = int(flat[0])
        raise IntegrityError(
            "a box has no extent", where=table.place(row), why=f"it is {w[row]:g} wide and {h[row]:g} high"
        )
    if there.any() and np.nanmax([w, h]) <= 1:
        raise IntegrityError(
            "the boxes are at most one pixel wide",
            where=table.where,
            why="so they seem to be fractions of the image; boxes are in pixels of the image file",
        )
    return x, y, w, h


def _numbers(table: Cells, name: str) -> NDArray[np.float64]:
    found = np.full(len(table), np.nan)
    for row, cell in enumerate(table.columns[name]):
        try:
            found[row] = _number(cell)
        except ValueError:
            raise IntegrityError(f"{cell[:40]!r} in the column {name} is no number", where=table.place(row)) from None
    return found


def factors(table: Cells, taken: set[str], tally: Tally, made: Collection[str] = ()) -> dict[str, NDArray[Any]]:
    """The other columns: float64 where every cell is a number, NaN for none, else text.

    A name that no store can take is written with `_`; what none can take at all is counted.

    Args:
        table: Of which.
        taken: Columns that are something else.
        tally: Counts what is left out.
        made: Names of factors that are made of other columns.
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
            or key in made
            or is_too_long(max(map(len, cells), default=0), len(cells))
        ):
            tally.add("column", name or "(no name)")
            if key == "id" and not _names_rows(cells):
                tally.say("column", f"{name} is not of one row each, so paths are the ids")
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
