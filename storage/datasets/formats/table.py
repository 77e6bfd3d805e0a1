"""`table:FILE`: images that a table names, a row each.

    path,label,split,weather        path: relative to the table, absolute, or of an object store
    images/i0.jpg,dog,train,sun     label: a class's name, or its number from 0
                                    every other column is a factor, text or numbers

FILE is .csv, .tsv, .jsonl or .parquet, on disk or in an object store. Usual names are found in any case; others are
named behind it, or by `--columns`: `table:birds.csv@label=species,path=file` (`columns`). The roles:

    path     else path, file_name, filename, file, filepath, image_path, image: the first that is there
    label    else label; without it no sample has one
    name     the class's name, where the label is a number; else classes.txt beside the table, a class a line
    split    else split; "training", "validation" and the like mean train and val; without it there is one split, "all"
    id       else id, if each is of one row; else the ids are the paths. An image may stand in several rows only if each
             has an id of its own
    mask     else mask, if its cells name pictures: as large as the image, bright where the object is; a factor too
    bbox_x, bbox_y, bbox_w, bbox_h, or xmin, ymin, xmax, ymax    the object's box, in pixels of the image file; or a
             column bbox of lists [x, y, width, height]
    root     no column: the folder that relative paths start from, itself relative to the table
    within   no column: for a table of somebody else, the folders and buckets (`;` between them) that absolute paths,
             links and URLs may lead to besides the table's own; `.` for its own alone. Without it they are followed

The classes are those of all splits together. Memory grows with the rows, as that of every list of samples: about 1 kB a
row with ten columns. Nothing is fetched by http or https.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError, UnknownNameError, UsageError
from cvbench.storage.datasets.base import DatasetInfo, check_unique
from cvbench.storage.datasets.columns import pairs_text, read_columns, split_columns
from cvbench.storage.datasets.formats.cells import SUFFIXES, read_cells
from cvbench.storage.datasets.formats.files import ABSENT, file_sizes
from cvbench.storage.datasets.formats.layout import ALL
from cvbench.storage.datasets.formats.lists import below
from cvbench.storage.datasets.formats.reach import Reach
from cvbench.storage.datasets.formats.roles import ROLES, Roles, boxes, factors, find_roles
from cvbench.storage.datasets.formats.sharded import CLASS_FILES, class_lines
from cvbench.storage.datasets.formats.shards import Shard, Shards
from cvbench.storage.datasets.formats.split_names import split_named, split_of
from cvbench.storage.datasets.formats.table_dataset import TableDataset, is_missing
from cvbench.storage.datasets.formats.text_table import Cells
from cvbench.storage.datasets.labels import labels_of_cells
from cvbench.storage.datasets.left_out import Tally, unlabelled, without_image
from cvbench.storage.datasets.roots import absolute_path
from cvbench.storage.objects.bucket import Bucket
from cvbench.storage.objects.keys import is_name

_ORDER = ("test", "val", "train")


class TableReader:
    """The reader of `table:FILE`."""

    roles = ROLES
    info = DatasetInfo(
        name="table",
        title="Images that a table names (table:FILE)",
        splits=(),
        default_split="",
        counts={},
        classes=None,
        licence="yours",
        homepage="your own images",
        tree=f"FILE: a table {{{','.join(SUFFIXES)}}}, or its URL (s3://, gs://, az://)\n"
        "with a column path (relative to it, absolute, or s3://) and, if you like, label, split and more",
        argument="PATH",
        notes=f"table:FILE@label=COLUMN,path=COLUMN or --columns names columns; roles: {', '.join(ROLES)}",
    )

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """The folder of a table that is on this machine."""
        where = absolute_path(split_columns(argument)[0], root)
        return Path(where).parent if argument and "://" not in where and os.path.isfile(where) else None

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every row once."""
        where, asked = self._asked(argument, root)
        table = read_cells(where)
        return tuple(_splits(table, find_roles(table, asked)))

    def key(self, argument: str) -> str:
        """The name of the data set in a store, such as "table-birds"."""
        return f"table-{slug(split_columns(argument)[0])}"

    def open(self, argument: str, root: Path | None, split: str | None) -> TableDataset:
        """One split; by default test, val, train, whichever comes first and has labels."""
        where, asked = self._asked(argument, root)
        table = read_cells(where)
        roles = find_roles(table, asked)
        if not len(table):
            raise DataUnavailableError("the table has no rows", where=where)
        splits = _splits(table, roles)
        if not splits:
            raise DataUnavailableError(f"no row says its split in the column {roles.split}", where=where)
        chosen = split_named(split, list(splits)) if split else next(iter(splits))
        if chosen not in splits:
            raise UnknownNameError.among(f"split of {where}", chosen, splits, fix=f"splits: {', '.join(splits)}")
        dataset = assemble(where, table, roles, splits, chosen, asked.get("root", ""), within=asked.get("within", ""))
        return replace(dataset, name=self.key(where), spec=f"table:{where}{pairs_text(asked)}")

    def _asked(self, argument: str, root: Path | None) -> tuple[str, dict[str, str]]:
        if not argument:
            raise UsageError("table needs a file", fix="table:FILE.csv, with a column path")
        path, pairs = split_columns(argument)
        return absolute_path(path, root), read_columns(pairs, ROLES, f"table:{argument}")


READER = TableReader()


def slug(path: str) -> str:
    """Name of a file in a store: its own without suffix.

    >>> slug("/data/My Birds.csv"), slug("s3://b/x/birds.v2.jsonl")
    ('my-birds', 'birds.v2')
    """
    stem = os.path.splitext(path.rstrip("/").rpartition("/")[2])[0].lower()
    return re.sub(r"[^a-z0-9._-]+", "-", stem).strip("-._") or "file"


def _splits(table: Cells, roles: Roles) -> dict[str, list[int]]:
    """Split -> its rows; the default one first: those with labels before others, test, val, train before others.

    Raises:
        IntegrityError: A split that cannot be called so.
    """
    if roles.split is None:
        return {ALL: list(range(len(table)))}
    found: dict[str, list[int]] = defaultdict(list)
    for row, cell in enumerate(table.columns[roles.split]):
        name = split_of(cell) or cell
        if name and name not in found and not is_name(name):
            raise IntegrityError(f"{cell[:40]!r} cannot be the name of a split", where=table.place(row))
        if name:
            found[name].append(row)
    labels = table.columns[roles.label] if roles.label else None

    def rank(split: str) -> tuple[bool, int, str]:
        bare = labels is not None and not any(labels[row] for row in found[split])
        return bare, _ORDER.index(split) if split in _ORDER else len(_ORDER), split

    return {split: found[split] for split in sorted(found, key=rank)}


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels that no column says: (N,) int64, the classes' names, and why a sample may have none."""

    values: NDArray[np.int64]
    classes: tuple[str, ...]
    why: str


def assemble(
    where: str,
    table: Cells,
    roles: Roles,
    splits: Mapping[str, list[int]],
    split: str,
    root: str,
    known: Labels | None = None,
    within: str = "",
) -> TableDataset:
    """The rows of a split; labels, ids and boxes are checked in all rows. Name and spec are left to the reader.

    Args:
        where: The table's place.
        root: The folder that relative paths start from, itself relative to the table; "" for the table's own.
        known: The labels, if the table does not say them.
        within: Where its images may be, see `Reach`; "" follows every path, link and URL.
    """
    tally, base = Tally(), _base(where, root)
    places = [_place(cell, base, table, row) for row, cell in enumerate(table.columns[roles.path])]
    ids = _ids(places, base, table, roles)
    labels, classes = (known.values, known.classes) if known else _labels(table, roles, within)
    columns = boxes(table, roles, tally)
    taken = roles.taken if columns else roles.taken - set(roles.box)  # what is no box after all is a factor
    masks = _masks(table, roles.mask, base, tally) if roles.mask else None
    if masks is not None:
        columns["mask"] = np.array(masks, dtype=np.str_)
    columns = {**columns, **factors(table, taken, tally, set(columns))}
    _count_without_split(ids, splits, tally)
    rows = splits[split]
    chosen = np.array(rows, dtype=np.int64)
    taken_places = tuple(places[row] for row in rows)
    taken_masks = None if masks is None else tuple(masks[row] for row in rows)
    if within:
        reach = Reach(base, within, where.rpartition("/")[0])
        for some in (taken_places, taken_masks or ()):
            reach.check(some, rows[: len(some)], table)
    taken_ids = tuple(ids[row] for row in rows)
    why = known.why if known else "" if roles.label else _why_none(table, roles)
    left = (*tally.result(), *unlabelled(taken_ids, labels[chosen], why))
    if (labels[chosen] >= 0).any():
        left = (*left, *without_image(classes, labels[chosen]))
    return TableDataset(
        name="",
        split=split,
        spec="",
        classes=classes,
        ids=taken_ids,
        labels=labels[chosen],
        root=Path(base),
        sizes=_sizes(Path(base), taken_places),
        factors={name: values[chosen] for name, values in columns.items()},
        left_out=left,
        places=taken_places,
        masks=taken_masks,
    )


def _base(where: str, root: str) -> str:
    """The folder that relative paths start from; as `assemble` takes them.

    Raises:
        UsageError: A relative folder, but the table is at a URL.
    """
    own = where.rpartition("/")[0]
    if not root or "://" in root:
        return root or own
    if "://" in own:
        raise UsageError("root must be a URL, as the table's place is", where=where)
    return os.path.normpath(os.path.join(own, root))


def _count_without_split(ids: Sequence[str], splits: Mapping[str, list[int]], tally: Tally) -> None:
    """Count the rows that are in no split."""
    if len(ids) > sum(map(len, splits.values())):
        named = {row for rows in splits.values() for row in rows}
        for row in (row for row in range(len(ids)) if row not in named):
            tally.add("split", ids[row])


def _place(cell: str, base: str, table: Cells, row: int) -> str:
    """Place of an image: as the table says, a relative path of a remote table as a URL.

    Raises:
        UsageError: A URL that is no object store's.
        IntegrityError: No path, or one that leads out of the folder.
    """
    if not cell:
        raise IntegrityError("a row names no image", where=table.place(row))
    if cell.startswith(("http://", "https://", "ftp://", "file://")):
        raise UsageError(
            f"images are not fetched from {cell[:60]}",
            where=table.place(row),
            why="a path is relative to the table, absolute, or of an object store (s3://, gs://, az://)",
            fix="download them first, and name the files",
        )
    if "://" in cell:
        try:
            Bucket.split(cell)
        except UsageError as err:
            err.where = f"{table.place(row)}: {cell[:60]}"
            raise
        return cell
    if cell.startswith("/"):
        if "://" in base or "\0" in cell:
            raise IntegrityError(f"{cell[:60]!r} is no path of an object store", where=table.place(row))
        return cell
    path = below(cell, table.place(row))
    return f"{base}/{path}" if "://" in base else path


def _ids(places: Sequence[str], base: str, table: Cells, roles: Roles) -> list[str]:
    """Unique names of the samples: those of the table, else the paths."""
    if roles.id:
        ids = list(table.columns[roles.id])
        if "" in ids:
            raise IntegrityError("a row has no id", where=table.place(ids.index("")))
    else:
        ids = [place.removeprefix(f"{base}/") for place in places]
    first: dict[str, int] = {}
    for row, name in enumerate(ids):
        if first.setdefault(name, row) != row:
            raise IntegrityError(
                f"sample {name[:80]!r} is listed twice",
                where=f"{table.place(first[name])} and {table.place(row)}",
                fix="keep one row of each image, or give each row an id: --columns id=COLUMN"
                if not roles.id
                else "an id is of one row",
            )
    check_unique(ids, table.where)
    return ids


def _why_none(table: Cells, roles: Roles) -> str:
    """Why no sample has a label."""
    if "label" in table.left:
        return "the column label holds lists or records: write one name or number for each image"
    others = [name for name in table.columns if name != roles.path]
    return "no column label" + (f"; --columns label=COLUMN, one of {', '.join(others[:8])}" if others else "")


def _labels(table: Cells, roles: Roles, within: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    if roles.label is None:
        return np.full(len(table), -1, dtype=np.int64), ()
    cells = table.columns[roles.label]
    if roles.name is None:
        return labels_of_cells(cells, _listed(table.where, within), table.place)
    labels, numbers = labels_of_cells(cells, (), table.place)
    names = dict[int, str]()
    for row, (label, name) in enumerate(zip(labels.tolist(), table.columns[roles.name], strict=True)):
        if label >= 0 and name and names.setdefault(label, name) != name:
            raise IntegrityError(
                f"the class {numbers[label]} is called {names[label]!r} and {name!r}", where=table.place(row)
            )
    return labels, tuple(names.get(label, number) for label, number in enumerate(numbers))


def _listed(where: str, within: str) -> tuple[str, ...]:
    """The classes listed beside the table, in its own folder only; `within` as `assemble` takes it.

    Raises:
        UsageError: The list is a link to a place where nothing may be read.
    """
    folder = os.path.dirname(where)
    if within and "://" not in where:
        reach = Reach(folder, within)
        if out := next((name for name in CLASS_FILES if not reach.allows(name)), None):
            raise UsageError(
                f"{out} leads out of the table's folder",
                where=where,
                why="`within` says what may be read with the table",
                fix="put the list itself there",
            )
    found = Shards([Shard(where, 0)]).beside(*CLASS_FILES, above=False)
    return class_lines(*found) if found is not None else ()


def _masks(table: Cells, column: str, base: str, tally: Tally) -> list[str]:
    """The places of the masks; those that are not there are counted, where that can be looked at without requests."""
    try:
        places = [_place(cell, base, table, row) if cell else "" for row, cell in enumerate(table.columns[column])]
    except (IntegrityError, UsageError) as err:
        err.fix = err.fix or f"if {column} holds no masks: --columns mask="
        raise
    for place in places:
        if is_missing(os.path.join(base, place), place):
            tally.add("mask", place)
    return places


def _sizes(base: Path, places: Sequence[str]) -> NDArray[np.int64]:
    """(N,) bytes of each image, ABSENT where there is none; one listing for each folder of an object store."""
    remote = [i for i, place in enumerate(places) if "://" in place]
    if not remote:
        return file_sizes(base, places)
    sizes = file_sizes(base, ["" if "://" in place else place for place in places])
    folders: dict[str, dict[str, int]] = {}
    buckets: dict[str, Bucket] = {}
    for i in remote:
        url, key = Bucket.split(places[i])
        folder = f"{key.rpartition('/')[0]}/" if "/" in key else ""
        if f"{url}/{folder}" not in folders:
            folders[f"{url}/{folder}"] = buckets.setdefault(url, Bucket(url)).sizes(folder)
        sizes[i] = folders[f"{url}/{folder}"].get(key, ABSENT)
    return sizes
