"""Which folders of a tree are splits and which are classes.

A folder is a split by its name, in any case: train, training; val, valid, validation, dev; test, testing. It is called
train, val or test whatever its folder's name. Such folders are classes only where others beside them hold images too
and none of them holds class folders of its own ("train" between "bus" and "bicycle"); both at once is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cvbench.errors import DataUnavailableError
from cvbench.storage.datasets.formats.metadata import TABLES
from cvbench.storage.datasets.formats.split_names import SPLITS, split_of
from cvbench.storage.datasets.roots import refuse_unreadable, unreadable
from cvbench.storage.datasets.suffixes import SUFFIXES
from cvbench.storage.objects.folders import listing

ALL = "all"
"""The split of a tree without splits."""


@dataclass(frozen=True)
class Layout:
    """Split -> its folder relative to the tree's, the default first; and the folders that are none of them."""

    splits: Mapping[str, str]
    unused: tuple[str, ...] = ()


def layout(path: Path) -> Layout:
    """The splits of a tree, its default first: test, val, train; those without labels come last.

    Raises:
        DataUnavailableError: There is no such folder; or what is a split and what a class cannot be told.
    """
    if not path.is_dir():
        raise DataUnavailableError(
            "the folder of images is not there",
            where=str(path),
            why=f"{listing(path)}; its parent holds: {listing(path.parent)}",
            fix="give the path of a folder with one sub-folder for each class; a relative one is below --data-root",
        )
    names = folders(path)
    splits = [name for name in names if split_of(name) and (folders(path / name) or _loose(path / name))]
    if not splits:
        return Layout({ALL: ""})
    others = [name for name in names if name not in splits]
    if classes := [name for name in others if _holds_image(path / name)]:
        if nested := [name for name in splits if folders(path / name) and not _loose(path / name)]:
            raise DataUnavailableError(
                f"{nested[0]!r} looks like a split, and {classes[0]!r} beside it holds images too",
                where=str(path),
                why=f"it is not clear which folders are splits and which are classes; found {listing(path)}",
                fix=f"folder:{path / nested[0]} for one split, or move the other folders away",
            )
        return Layout({ALL: ""})
    chosen: dict[str, str] = {}
    for name in sorted(splits, key=lambda name: (not _labelled(path / name), SPLITS.index(str(split_of(name))))):
        other = chosen.setdefault(str(split_of(name)), name)
        if other != name:
            raise DataUnavailableError(
                f"{other!r} and {name!r} are the same split", where=str(path), fix="rename or merge one of them"
            )
    return Layout(chosen, tuple(others))


def folders(path: Path) -> list[str]:
    """Names of the folders in a folder, links included, sorted; not hidden ones, nor what a Mac adds to archives."""
    try:
        return sorted(entry.name for entry in os.scandir(path) if is_folder(entry) and not is_hidden(entry.name))
    except OSError as err:
        raise unreadable(err) from err


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one; a link to itself, or up to a folder that it lies in, is none."""
    try:
        if not entry.is_dir():
            return False
    except OSError:  # too many links
        return False
    above = os.path.realpath(os.path.dirname(entry.path))
    return not entry.is_symlink() or not f"{above}/".startswith(f"{os.path.realpath(entry.path).rstrip('/')}/")


def is_hidden(name: str) -> bool:
    """Whether a file or folder is of no account."""
    return name.startswith(".") or name == "__MACOSX"


def _labelled(path: Path) -> bool:
    return bool(folders(path)) or any((path / name).is_file() for name in TABLES)


def _loose(path: Path) -> bool:
    """Whether images lie in the folder itself, or a table of them."""
    try:
        return any(name in TABLES or is_image(name) for name in os.listdir(path))
    except OSError as err:
        raise unreadable(err) from err


def _holds_image(path: Path) -> bool:
    """Whether an image lies in the folder or below it."""
    for _, below, files in os.walk(path, onerror=refuse_unreadable):
        below[:] = [name for name in below if not is_hidden(name)]
        if any(map(is_image, files)):
            return True
    return False


def is_image(name: str) -> bool:
    """Whether a file counts as an image by its name."""
    return name.lower().endswith(SUFFIXES) and not is_hidden(name)
