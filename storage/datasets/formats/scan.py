"""What lies in a folder. Each file is looked at once: that is what opening 50,000 images costs."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.formats.files import ABSENT
from cvbench.storage.datasets.left_out import LeftOut, Tally
from cvbench.storage.datasets.suffixes import SUFFIXES


def subfolders(path: Path) -> list[str]:
    """Names of the visible folders in `path`, links to folders included, sorted as strings.

    Raises:
        DataUnavailableError: `path` cannot be read.
    """
    return sorted(entry.name for entry in visible(path) if entry.is_dir())


def image_files(path: Path, tally: Tally | None = None) -> list[tuple[str, int]]:
    """(name, bytes) of the visible images in `path`, not below it, sorted by name as strings.

    A name counts as an image's by its suffix in any case. The size is ABSENT if there is no regular file behind the
    name, such as behind a broken link. Other files, and folders, are counted by `tally`.

    Raises:
        DataUnavailableError: `path` cannot be read.
        IntegrityError: A name is not valid UTF-8, so no store could hold it.
    """
    found = []
    others: list[tuple[str, bool]] = []
    for entry in visible(path):
        if not entry.name.lower().endswith(SUFFIXES) or entry.is_dir():
            others.append((entry.name, entry.is_dir()))
            continue
        if not entry.name.isascii():
            check_text(entry.name, entry.path)
        found.append((entry.name, _size(entry)))
    for name, is_folder in sorted(others):
        if tally is None:
            break
        if is_folder:
            tally.add("below", f"{path.name}/{name}")
        else:
            tally.file(f"{path.name}/{name}")
    return sorted(found)


def listed_images(
    path: Path, names: Sequence[str], others: Collection[str] = ()
) -> tuple[NDArray[np.int64], tuple[LeftOut, ...]]:
    """(N,) bytes of the images of a folder that a list names, ABSENT where there is none; and what lies beside them.

    Args:
        others: Images of the folder that other splits have.

    Raises:
        DataUnavailableError: `path` is there and cannot be read.
        IntegrityError: A name is not valid UTF-8.
    """
    tally = Tally()
    found = dict(image_files(path, tally)) if path.is_dir() else {}
    known = {*names, *others}
    for name in found:
        if name not in known:
            tally.add("unlisted", f"{path.name}/{name}")
    return np.array([found.get(name, ABSENT) for name in names], dtype=np.int64), tally.result()


def visible(path: Path) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder whose names do not start with a dot, in no order."""
    try:
        with os.scandir(path) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as err:
        raise DataUnavailableError("a folder cannot be read", where=str(path), why=err.strerror) from err


def _size(entry: os.DirEntry[str]) -> int:
    try:
        found = entry.stat()
    except OSError:
        return ABSENT
    return found.st_size if stat.S_ISREG(found.st_mode) else ABSENT  # a pipe would block a reader for ever


def check_text(name: str, where: str | None = None) -> None:
    """Refuse a file name that no store can hold: `os.fsdecode` leaves lone surrogates of bytes that are no text.

    Raises:
        IntegrityError: Naming the file, or where it is.
    """
    try:
        name.encode()
    except UnicodeEncodeError as err:
        raise IntegrityError(
            "a file name is not valid UTF-8", where=repr(where or name), fix="rename the file"
        ) from err
