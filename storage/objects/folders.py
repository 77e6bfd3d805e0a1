"""A folder tree that somebody else may have made: walked and opened without ever following a link below its root.

Each step goes from an open folder to a name inside it (`openat` with O_NOFOLLOW), so that a link put there between a
check and its use changes nothing. The root itself may be a link: whoever names it means what it points to.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from cvbench.errors import IntegrityError

Kind = Literal["file", "folder", "link", "special"]
"""What lies at a name: "special" is a device, a pipe, a socket, or a folder deeper than any of ours."""

DEEPEST = 24  # folders below the root; keys of ours have at most 9 and one part per axis of a result
_SEARCH = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
_LIST = os.O_DIRECTORY | os.O_CLOEXEC | os.O_RDONLY
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LINKS = "the root of a store may be a link, nothing below it; put the folder or file itself there"


def open_folder(root: Path, parts: Sequence[str], *, make: bool = False) -> int:
    """A descriptor of a folder below `root`, to be used as `dir_fd`; whoever asks closes it.

    Args:
        make: Create what is missing of it.

    Raises:
        FileNotFoundError: There is none.
        NotADirectoryError: There is something else.
        IntegrityError: The way there leads through a link.
    """
    try:
        at = os.open(root, _SEARCH)
    except FileNotFoundError:
        if not make:
            raise
        root.mkdir(parents=True, exist_ok=True)
        at = os.open(root, _SEARCH)
    try:
        for depth, name in enumerate(parts):
            try:
                inner = os.open(name, _SEARCH | os.O_NOFOLLOW, dir_fd=at)
            except FileNotFoundError:
                if not make:
                    raise
                _make(at, name)
                inner = os.open(name, _SEARCH | os.O_NOFOLLOW, dir_fd=at)
            except OSError:
                if kind_at(at, name) == "link":
                    raise refused("/".join(parts[: depth + 1]), "link") from None
                raise
            above, at = at, inner  # first: were it closed twice, an interrupt in between would close another's
            os.close(above)
    except BaseException:
        os.close(at)
        raise
    return at


@contextmanager
def folder(root: Path, parts: Sequence[str], *, make: bool = False) -> Iterator[int]:
    """`open_folder` for a `with` block, which closes it."""
    at = open_folder(root, parts, make=make)
    try:
        yield at
    finally:
        os.close(at)


def _make(at: int, name: str) -> None:
    with suppress(FileExistsError):  # another writer was faster
        os.mkdir(name, dir_fd=at)


def kind_at(at: int, name: str) -> Kind | None:
    """Find the kind of the entry `name` in the folder `at`, a link itself; None if there is none."""
    try:
        return kind_of(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return None


def kind_of(mode: int) -> Kind:
    """The kind of a file mode."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "special"


def refused(key: str, kind: Kind) -> IntegrityError:
    """The error for something other than a regular file in the place of an object, or a link on the way to one."""
    what = {"link": "a link", "special": "a device, pipe or socket", "folder": "a folder", "file": "a file"}[kind]
    return IntegrityError(
        f"{what} lies in the place of an object of the store",
        where=key,
        why="only regular files below the store's folder are read, written or removed",
        fix=_LINKS if kind == "link" else None,
    )


def open_file(at: int, name: str, key: str) -> tuple[int, int]:
    """(descriptor for reading, bytes) of the regular file `name`.

    It is looked at before it is opened, since opening a device may act, and once more afterwards.

    Raises:
        FileNotFoundError: Nothing is there.
        IntegrityError: Something else is.
    """
    mode = os.stat(name, dir_fd=at, follow_symlinks=False).st_mode
    if not stat.S_ISREG(mode):
        raise refused(key, kind_of(mode))
    descriptor = os.open(name, _READ, dir_fd=at)
    now = os.fstat(descriptor)
    if not stat.S_ISREG(now.st_mode):
        os.close(descriptor)
        raise refused(key, kind_of(now.st_mode))
    return descriptor, now.st_size


def walk(root: Path, parts: Sequence[str] = ()) -> Iterator[tuple[str, Kind]]:
    """(key, kind) of everything below a folder, folders too; nothing where there is no such folder.

    Raises:
        IntegrityError: The way to the folder leads through a link.
    """
    try:
        with folder(root, parts) as at:
            descriptor = os.open(".", _LIST, dir_fd=at)
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from _walk(descriptor, "".join(f"{part}/" for part in parts), len(parts))


def _walk(descriptor: int, prefix: str, depth: int) -> Iterator[tuple[str, Kind]]:
    """Walk as `walk`; close the descriptor."""
    try:
        inner: list[str] = []
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if entry.is_symlink():
                    yield prefix + entry.name, "link"
                elif entry.is_dir(follow_symlinks=False):
                    inner.append(entry.name)
                else:
                    yield prefix + entry.name, "file" if entry.is_file(follow_symlinks=False) else "special"
        for name in inner:
            if depth >= DEEPEST:
                yield prefix + name, "special"
                continue
            yield prefix + name, "folder"
            try:
                below = os.open(name, _LIST | os.O_NOFOLLOW, dir_fd=descriptor)
            except (FileNotFoundError, NotADirectoryError):  # gone, or replaced, in the meantime
                continue
            yield from _walk(below, f"{prefix}{name}/", depth + 1)
    finally:
        os.close(descriptor)


def remove(at: int, name: str, key: str, depth: int = 0) -> None:
    """Remove a file, a link (never what it points to), a pipe, or a folder that holds nothing but folders.

    Raises:
        IntegrityError: A folder with something in it: it is not ours to remove.
    """
    if kind_at(at, name) != "folder":
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=at)
        return
    inner = os.open(name, _LIST | os.O_NOFOLLOW, dir_fd=at)
    try:
        for child in os.listdir(inner):
            if kind_at(inner, child) != "folder" or depth >= DEEPEST:
                error = refused(key, "folder")
                error.fix = "it is not empty: move it out of the store"
                raise error
            remove(inner, child, key, depth + 1)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=at)


def sync(at: int) -> None:
    """Make the names in the folder `at` survive a power cut."""
    descriptor = os.open(".", _LIST, dir_fd=at)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


EMPTY = "an empty folder"
"""The contents of a folder that has none."""


def listing(folder: Path, limit: int = 8) -> str:
    """Describe the contents of a folder to a person, in a few words."""
    try:
        names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in os.scandir(folder))
    except FileNotFoundError:
        return "no such folder"
    except NotADirectoryError:
        return "not a folder"
    except OSError as err:
        return f"unreadable: {err.strerror}"
    shown = [name for name in names if not name.startswith(".")]
    if not shown:
        return EMPTY
    rest = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + rest
