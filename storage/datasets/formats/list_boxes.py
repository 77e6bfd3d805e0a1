"""The column `bbox` of lists: [x, y, width, height] in pixels, as COCO has it, taken apart into bbox_x and so on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.formats.text_table import LISTS, Cells

EDGES = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")


def without_lists(table: Cells) -> Cells:
    """The table with the lists of its column `bbox` as four columns; as it is, if that holds no list.

    A list of lists, of several objects, is no box: then the column is left.

    Raises:
        IntegrityError: A list that is not four numbers, or a cell that is no list among others.
    """
    name = next((name for name in table.columns if name.lower() in LISTS), None)
    if name is None or any(edge in table.columns for edge in EDGES):
        return table
    cells = table.columns[name]
    if not any(cell.startswith("[") for cell in cells):
        return table
    others = {key: values for key, values in table.columns.items() if key != name}
    found = [_parsed(cell, table.place(row)) for row, cell in enumerate(cells)]
    if any(isinstance(one, list) for box in found for one in box):
        return replace(table, columns=others, left=(*table.left, name))
    for row, box in enumerate(found):
        if box and not (len(box) == 4 and all(type(edge) in (int, float) for edge in box)):
            raise IntegrityError(
                "a box is not four numbers",
                where=table.place(row),
                why=f"{name} is {cells[row][:40]}; a list is [x, y, width, height] in pixels",
            )
    edges = {edge: [repr(box[k]) if box else "" for box in found] for k, edge in enumerate(EDGES)}
    return replace(table, columns={**others, **edges})


def _parsed(cell: str, where: str) -> Sequence[Any]:
    """The list in a cell, empty for none."""
    try:
        found = json.loads(cell) if cell else []
    except (ValueError, RecursionError) as err:
        raise IntegrityError("a box is no list", where=where, why=cell[:40]) from err
    if not isinstance(found, list):
        raise IntegrityError("a box is no list", where=where, why=cell[:40])
    return found
