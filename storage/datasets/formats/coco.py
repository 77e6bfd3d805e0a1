"""`coco:FILE.json`: images with boxes, as COCO's "instances" files list them.

    images: [{id, file_name}]    annotations: [{image_id, category_id, bbox: [x, y, w, h]}]    categories: [{id, name}]

A sample is an image, whatever the number of its objects:

    label     the category, if all its objects are of one; else none (-1). Labels are the categories' ranks by id
    bbox_*    the box, if it has exactly one object and that is no crowd; else none (NaN)
    objects   a factor: how many objects it has

Images lie where `@root=FOLDER` says, relative to the file; else in the first of these where the first image is: the
file's folder, images/ in it, and above it a folder called as the end of the file's name (instances_val2017.json:
val2017/), images/ and images/val2017/; none of them where `within` does not allow it. Outlines of
objects are not read. Memory: some six times the file.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cvbench.errors import DataUnavailableError, IntegrityError, UnknownNameError, UsageError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.columns import pairs_text, read_columns, split_columns
from cvbench.storage.datasets.formats.absent import absent
from cvbench.storage.datasets.formats.files import read_bounded
from cvbench.storage.datasets.formats.layout import ALL
from cvbench.storage.datasets.formats.reach import Reach
from cvbench.storage.datasets.formats.roles import BOX, PLACES, Roles
from cvbench.storage.datasets.formats.table import Labels, assemble, slug
from cvbench.storage.datasets.formats.table_dataset import TableDataset
from cvbench.storage.datasets.formats.text_table import Cells
from cvbench.storage.datasets.left_out import SHOWN, LeftOut
from cvbench.storage.datasets.roots import absolute_path
from cvbench.texts import parse_json

MAX_BYTES = 1024 * 1024 * 1024
"""The largest file that is read: that of COCO's 118,287 training images has 448 MB."""

_ROLES = Roles("file_name", None, None, None, None, None, BOX, False, False)


class CocoReader:
    """The reader of `coco:FILE.json`."""

    roles = PLACES
    info = DatasetInfo(
        name="coco",
        title="Images with boxes as COCO lists them (coco:FILE.json)",
        splits=(),
        default_split=ALL,
        counts={},
        classes=None,
        licence="yours",
        homepage="your own images",
        tree="FILE.json: images {id, file_name}, annotations {image_id, category_id, bbox}, categories {id, name}",
        argument="PATH",
        notes="coco:FILE.json@root=FOLDER says where the images are, relative to the file; within=PLACE as of a table\n"
        "an image has a label if all its objects are of one class, and a box if it has one object",
    )

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """The folder of the file."""
        path = Path(absolute_path(split_columns(argument)[0], root))
        return path.parent if argument and path.is_file() else None

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every image once."""
        return (ALL,)

    def key(self, argument: str) -> str:
        """The name of the data set in a store."""
        return f"coco-{slug(split_columns(argument)[0])}"

    def open(self, argument: str, root: Path | None, split: str | None) -> TableDataset:
        """All images, in the file's order; ids are their names in it."""
        if split not in (None, ALL):
            raise UnknownNameError.among("split of coco", str(split), (ALL,), fix="a file is one split")
        if not argument:
            raise UsageError("coco needs a file", fix="coco:annotations/instances_val2017.json")
        path, pairs = split_columns(argument)
        asked = read_columns(pairs, self.roles, f"coco:{argument}")
        if "://" in path:
            raise UsageError(f"boxes are read from this machine, not from {path}", fix="copy the file")
        where = Path(absolute_path(path, root))
        found = _read(where)
        within = asked.get("within", "")
        folder = asked.get("root") or _folder(where, found.cells.columns["file_name"][0], within)
        dataset = assemble(
            str(where),
            found.cells,
            _ROLES,
            {ALL: list(range(len(found.cells)))},
            ALL,
            folder,
            found.labels,
            within=within,
        )
        return replace(
            dataset,
            name=self.key(str(where)),
            spec=f"coco:{where}{pairs_text({**asked, **({'root': folder} if folder else {})})}",
            factors={**dataset.factors, "objects": np.array(found.counts, dtype=np.int64)},
            left_out=(*dataset.left_out, *found.left_out),
        )


READER = CocoReader()


@dataclass(frozen=True)
class _Found:
    """Contents of a file: a table of its images, their labels, and how many objects each has."""

    cells: Cells
    labels: Labels
    counts: list[int]
    left_out: tuple[LeftOut, ...]


def _folder(where: Path, first: str, within: str) -> str:
    """The folder of the images relative to the file's, "" for its own; where none fits, its own.

    Args:
        where: The file.
        first: The name of its first image.
        within: Where images may be, as of a table; a folder elsewhere is not looked into.
    """
    end = where.stem.rpartition("_")[2]
    places: tuple[str, ...] = ("", "images", f"../{end}", "../images", f"../images/{end}")
    reach = Reach(str(where.parent), within) if within else None
    if reach:  # a link may be such a folder
        places = tuple(place for place in places if not place or reach.allows(f"{place}/{first}"))
    return next((place for place in places if os.path.isfile(where.parent / place / first)), "")


def _read(where: Path) -> _Found:
    if not where.is_file():
        raise absent("the file", str(where), (".json",))
    data = read_bounded(where, MAX_BYTES, what="a list of boxes", too_large="the file has {size} bytes")
    content = parse_json(data, "a list of boxes is no JSON", str(where))
    ranks, names = _categories(content, where)
    files = {_id(one, "id", at): _name(one, "file_name", at) for one, at in _entries(content, "images", where)}
    if not files:
        raise DataUnavailableError("the file lists no image", where=str(where))
    if len(files) != len(content["images"]):
        raise IntegrityError("two images have the same id", where=str(where))
    objects: dict[Any, list[tuple[int, list[float] | None]]] = defaultdict(list)
    for one, at in _entries(content, "annotations", where):
        image, category = _id(one, "image_id", at), _id(one, "category_id", at)
        if image not in files or category not in ranks:
            what = f"image {image}" if image not in files else f"category {category}"
            raise IntegrityError(f"an object is of the {what}, which is not listed", where=at)
        objects[image].append((ranks[category], _box(one, at)))
    return _table(where, files, objects, names)


def _table(
    where: Path, files: Mapping[Any, str], objects: Mapping[Any, list[tuple[int, list[float] | None]]], names: list[str]
) -> _Found:
    columns: dict[str, list[str]] = {name: [] for name in ("file_name", *BOX)}
    labels, counts, bare = [], [], []
    for image, name in files.items():
        own = objects.get(image, [])
        classes = {label for label, _ in own}
        box = own[0][1] if len(own) == 1 else None
        columns["file_name"].append(name)
        for key, text in zip(BOX, map(repr, box) if box else [""] * 4, strict=True):
            columns[key].append(text)
        labels.append(classes.pop() if len(classes) == 1 else -1)
        counts.append(len(own))
        if own and box is None:
            bare.append(name)
    left_out = (LeftOut("objects", len(bare), tuple(bare[:SHOWN])),) if bare else ()
    cells = Cells(str(where), columns, range(1, len(files) + 1))
    return _Found(cells, Labels(np.array(labels, dtype=np.int64), tuple(names), _WHY), counts, left_out)


_WHY = "their objects are of several classes, or there are none"


def _categories(content: Any, where: Path) -> tuple[dict[Any, int], list[str]]:
    """Id -> label, and the names by label."""
    found = {_id(one, "id", at): _name(one, "name", at) for one, at in _entries(content, "categories", where)}
    if not all(isinstance(one, int) for one in found) or len(found) != len(content["categories"]):
        raise IntegrityError("the ids of the categories are no numbers, or one stands twice", where=str(where))
    order = sorted(found)
    return {one: label for label, one in enumerate(order)}, [found[one] for one in order]


def _entries(content: Any, name: str, where: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """The entries of a list of the file, each with its place."""
    listed = content.get(name) if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise IntegrityError(
            f"there is no list of {name}",
            where=str(where),
            why="expected images, annotations and categories, as in COCO's instances files",
        )
    for number, one in enumerate(listed):
        at = f"{where}: {name}[{number}]"
        if not isinstance(one, dict):
            raise IntegrityError("an entry is no object", where=at)
        yield one, at


def _id(entry: Mapping[str, Any], name: str, at: str) -> int | str:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise IntegrityError(f"{name} is no id", where=at)
    return value


def _name(entry: Mapping[str, Any], name: str, at: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value or len(value) > 4_096:
        raise IntegrityError(f"{name} is no name", where=at)
    return value


def _box(entry: Mapping[str, Any], at: str) -> list[float] | None:
    """The box; None of a crowd, and of a box without extent."""
    box = entry.get("bbox")
    if box is None or entry.get("iscrowd"):
        return None
    numbers = isinstance(box, list) and len(box) == 4 and all(type(edge) in (int, float) for edge in box)
    if not numbers or not all(math.isfinite(edge) and abs(edge) < 1e9 for edge in box):
        raise IntegrityError("a box is not four numbers x, y, w, h", where=at)
    return [float(edge) for edge in box] if box[2] > 0 and box[3] > 0 else None
