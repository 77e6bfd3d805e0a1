"""`folder:PATH`: any tree of class folders.

    PATH/<class>/**/<image>                     split "all"
    PATH/{train,val,test}/<class>/**/<image>    splits; which folders are: `layout`
    PATH/[{train,val,test}/]metadata.csv        a table that names the images and their labels: `metadata`
    PATH/<image>                                no class folders at all: images without labels

Classes are folder names sorted as strings, files are sorted within each folder: torchvision's `ImageFolder` order. A
name counts as an image's by its suffix in any case; hidden files and folders are ignored, links to folders are followed
at the class level only (deeper they could form loops). What else is there is counted: `left_out`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cvbench.errors import CvbenchError, DataUnavailableError, UnknownNameError, UsageError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.cells import SUFFIXES as TABLE_SUFFIXES
from cvbench.storage.datasets.formats.cells import read_cells
from cvbench.storage.datasets.formats.files import FileDataset, Samples
from cvbench.storage.datasets.formats.layout import ALL, Layout, folders, is_folder, is_hidden, layout
from cvbench.storage.datasets.formats.metadata import (
    TABLES,
    Table,
    class_names,
    factors_of,
    has_labels,
    labels_of,
    read_table,
)
from cvbench.storage.datasets.formats.roles import find_roles
from cvbench.storage.datasets.formats.scan import check_text
from cvbench.storage.datasets.formats.split_names import split_named
from cvbench.storage.datasets.left_out import Tally, unlabelled, without_image
from cvbench.storage.datasets.roots import absolute_path, refuse_unreadable, unreadable
from cvbench.storage.datasets.suffixes import SUFFIXES
from cvbench.storage.objects.folders import EMPTY, listing


class FolderReader:
    """The reader of `folder:PATH`."""

    info = DatasetInfo(
        name="folder",
        title="Any tree of class folders (folder:PATH)",
        splits=(),
        default_split=ALL,
        counts={},
        classes=None,
        licence="yours",
        homepage="your own images",
        tree=f"PATH/[{{train,val,test}}/]<class>/<image>{{{','.join(SUFFIXES)}}}\n"
        f"or PATH/[{{train,val,test}}/]{{{','.join(TABLES)}}} with the columns file_name and label\n"
        "or PATH/<image>, without labels",
        argument="PATH",
    )

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """The folder itself, if it is one."""
        if not argument:
            return None
        path = folder_path(argument, root)
        return path if path.is_dir() else None

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every image once."""
        return tuple(layout(folder_path(_required(argument), root)).splits)

    def key(self, argument: str) -> str:
        """The name of the data set in a store."""
        return _key(Path(argument))

    def open(self, argument: str, root: Path | None, split: str | None) -> FileDataset:
        """One split of the tree; a relative PATH is below the data root, or the working folder if there is none."""
        path = folder_path(_required(argument), root)
        found = layout(path)
        splits = list(found.splits)
        chosen = split_named(split, splits) if split else splits[0]
        if chosen not in splits:
            raise UnknownNameError.among(f"split of {path}", chosen, splits, fix=f"splits: {', '.join(splits)}")
        return _read_tree(path, found, chosen)


READER = FolderReader()


def _required(argument: str) -> str:
    if not argument:
        raise UsageError("folder needs a path", fix="folder:PATH, such as folder:./birds")
    return argument


def folder_path(argument: str, root: Path | None) -> Path:
    """The absolute folder that `folder:<argument>` means.

    Raises:
        UsageError: It is a URL.
    """
    if "://" in argument:
        raise UsageError(
            f"a folder of images is read from this machine, not from {argument}",
            fix="copy it, or pack it into shards: wds:URL and parquet:URL are read from anywhere",
        )
    return Path(absolute_path(argument, root))


def _read_tree(path: Path, found: Layout, split: str) -> FileDataset:
    tables = {name: _table(path / top) for name, top in found.splits.items()}
    trees = [top for name, top in found.splits.items() if tables[name] is None]
    classes = class_names(
        [table for table in tables.values() if table is not None and has_labels(table)],
        [name for top in trees for name in folders(path / top)],
    )
    top, table, tally = found.splits[split], tables[split], Tally()
    for name in found.unused:
        tally.add("folder", name)
    if split != ALL:
        _count_beside(path, "", tally)
    if table is not None:
        samples = _listed(path, top, table, classes, tally)
    elif folders(path / top):
        if split == ALL and len(classes) == 1:
            _refuse_table(path)
        samples = _in_class_folders(path, top, classes, tally)
    else:
        ids = _images(path, top, tally)
        if not ids:
            raise _no_images(path)
        samples = Samples(classes, ids, [-1] * len(ids))
    labels = np.array(samples.labels, dtype=np.int64)
    left_out = (*tally.result(), *unlabelled(samples.ids, labels, "no class folders, and no table with their labels"))
    if samples.ids and labels.max() >= 0:
        left_out = (*left_out, *without_image(classes, labels))
    return replace(samples, left_out=left_out).dataset(_key(path), split, f"folder:{path}", path)


def _in_class_folders(path: Path, top: str, classes: Sequence[str], tally: Tally) -> Samples:
    """Every image in and below the class folders of `top`; an empty class folder is a class without an image."""
    ids: list[str] = []
    labels: list[int] = []
    _count_beside(path, top, tally)
    for label, name in enumerate(classes):
        folder = f"{top}/{name}" if top else name
        found = _images(path, folder, tally)
        if not found and (path / folder).is_dir() and _holds_a_file(path / folder):
            raise DataUnavailableError(
                f"the class folder {name!r} holds no image",
                where=str(path / folder),
                why=f"expected files {', '.join(SUFFIXES)}; found {listing(path / folder)}",
                fix="remove the folder, or put its images there",
            )
        ids += found
        labels += [label] * len(found)
    if not ids:
        raise DataUnavailableError(
            "the class folders hold no image",
            where=str(path / top),
            why=f"expected files {', '.join(SUFFIXES)}; found {listing(path / top)}",
        )
    return Samples(classes, ids, labels)


def _count_beside(path: Path, top: str, tally: Tally) -> None:
    """Count the files beside class folders, or beside folders of splits."""
    for name in _files(path / top):
        if name.lower().endswith(SUFFIXES):
            tally.add("beside", f"{top}/{name}" if top else name)
        else:
            tally.file(f"{top}/{name}" if top else name)


def _table(folder: Path) -> Table | None:
    """The table of a split: one with labels, or one of images that lie in no class folders."""
    table = read_table(folder)
    return table if table is not None and (has_labels(table) or not folders(folder)) else None


def _listed(path: Path, top: str, table: Table, classes: Sequence[str], tally: Tally) -> Samples:
    """The images that a table names, in its order; others are left out."""
    ids = [f"{top}/{name}" if top else name for name in table.names]
    known = set(ids)
    for name in _images(path, top, tally, TABLES):
        if name not in known:
            tally.add("unlisted", name)
    return Samples(classes, ids, labels_of(table, classes), factors=factors_of(table, tally))


def _refuse_table(path: Path) -> None:
    """Refuse one folder of images beside a table that names them: its name is no class.

    Raises:
        DataUnavailableError: With the spec that reads the table.
    """
    for name in _files(path):
        if not name.lower().endswith(TABLE_SUFFIXES):
            continue
        try:
            table = read_cells(str(path / name))
            first = table.columns[find_roles(table, {}).path][:1]
        except CvbenchError:  # of something else
            continue
        if first and first[0] and os.path.isfile(path / first[0]):
            raise DataUnavailableError(
                f"{name} names the images of the one folder there is: the folder's name is no class",
                where=str(path),
                fix=f"--dataset {shlex.quote(f'table:{path / name}')}",
            )


def _no_images(path: Path) -> DataUnavailableError:
    if (found := listing(path)) == EMPTY:
        return DataUnavailableError(
            "the folder is empty",
            where=str(path),
            why="its images were expected as <class>/<image>, or beside each other",
            fix="put the images there, or name the folder that has them: --dataset folder:PATH",
        )
    return DataUnavailableError(
        "the folder holds no image",
        where=str(path),
        why=f"expected PATH/<class>/<image>, PATH/<image> or {', '.join(TABLES)}; found {found}",
        fix="images are files that end in " + ", ".join(SUFFIXES),
    )


def _key(path: Path) -> str:
    """The data set's key in a store, such as "folder-birds"."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", path.name.lower()).strip("-.")
    return f"folder-{slug or hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}"


def _files(path: Path) -> list[str]:
    """Names of what is in a folder and is no folder, hidden ones apart; sorted."""
    try:
        return sorted(entry.name for entry in os.scandir(path) if not is_folder(entry) and not is_hidden(entry.name))
    except OSError as err:
        raise unreadable(err) from err


def _images(root: Path, folder: str, tally: Tally, expected: Sequence[str] = ()) -> list[str]:
    """Paths of the images in and below a folder, relative to `root`, in `ImageFolder`'s order.

    Other files and links to folders are counted, but for files of `expected` names.
    """
    found: list[str] = []
    for current, below, files in sorted(os.walk(root / folder, onerror=refuse_unreadable)):
        inner = Path(current).relative_to(root / folder)
        if any(is_hidden(part) for part in inner.parts):
            continue
        start = (Path(folder) / inner).as_posix()
        start = "" if start == "." else f"{start}/"
        for name in sorted(files):
            if is_hidden(name):
                continue
            if name.lower().endswith(SUFFIXES):
                found.append(f"{start}{name}")
            elif name not in expected:
                tally.file(f"{start}{name}")
        for name in sorted(below):
            if not is_hidden(name) and os.path.islink(f"{current}/{name}"):
                tally.add("link", f"{start}{name}")
    for name in found:
        check_text(name)
    return found


def _holds_a_file(folder: Path) -> bool:
    """Whether there is any file below, or a link that is not followed; hidden ones apart."""
    for current, below, files in os.walk(folder, onerror=refuse_unreadable):
        if any(not is_hidden(name) for name in files):
            return True
        if any(os.path.islink(f"{current}/{name}") for name in below if not is_hidden(name)):
            return True
    return False
