"""A directory as a set of objects."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from cvbench.errors import CvbenchError, ResourceError, TransientError
from cvbench.storage.objects import folders, writers
from cvbench.storage.objects.base import MOST_BYTES, TEMPORARY, Buffer, Objects, too_long
from cvbench.storage.objects.keys import check_key

T = TypeVar("T")
_STEP = 1 << 20
_PASSING = {errno.EIO, errno.ESTALE, errno.EINTR, errno.EAGAIN}  # of network file systems, as a rule for a moment
_PAUSES = (0.05, 0.5)  # seconds before another try


class LocalObjects(Objects):
    """A directory. Creation: private temporary file, fsync, hard link to the final name, so the loser sees EEXIST.

    Only regular files below the directory are objects; see `folders`.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.url = str(self.root)
        self._settled: set[tuple[str, ...]] = set()  # folders whose own names were made durable by this process

    def __reduce__(self) -> tuple[Any, ...]:
        return (LocalObjects, (self.url,))

    def path(self, key: str) -> Path:
        """Path of the object; only a name. Read it with `get` or `reading`, which refuse what is no object."""
        return self.root / check_key(key)

    def get(self, key: str) -> bytes | None:
        return self._tried(key, self._get)

    def _get(self, key: str) -> bytes:
        descriptor, size = self._open(key)
        try:
            if size > MOST_BYTES:
                raise too_long(key, size, MOST_BYTES)
            parts = []
            while part := os.read(descriptor, size + 1):  # once more than once only if it is long, or grows
                parts.append(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            os.close(descriptor)

    def blake3(self, key: str) -> str | None:
        return self._tried(key, self._blake3)

    def _blake3(self, key: str) -> str:
        import blake3

        hasher = blake3.blake3()
        with self._opened(key) as file:
            while step := file.read(_STEP):
                hasher.update(step)
        return hasher.hexdigest()

    @contextmanager
    def reading(self, key: str) -> Iterator[io.FileIO]:
        """The object as an open file.

        Raises:
            FileNotFoundError: There is none.
            IntegrityError: A link, a folder, a device or a pipe lies there.
            ResourceError: It cannot be read, be it on the way.
        """
        try:
            with self._opened(key) as file:
                yield file
        except (FileNotFoundError, CvbenchError):
            raise
        except NotADirectoryError as error:
            raise FileNotFoundError(key) from error
        except OSError as error:
            raise _unreadable(error, f"{self.url}/{key}") from error

    def _opened(self, key: str) -> io.FileIO:
        return io.FileIO(self._open(key)[0])

    def _open(self, key: str) -> tuple[int, int]:
        """(descriptor, bytes) of the object."""
        *parts, name = check_key(key).split("/")
        at = folders.open_folder(self.root, parts)
        try:
            return folders.open_file(at, name, key)
        finally:
            os.close(at)

    def _tried(self, key: str, call: Callable[[str], T]) -> T | None:
        """`call(key)`; None where there is no object. What passes is tried again, the rest is named with its key."""
        for pause in (*_PAUSES, None):
            try:
                return call(key)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except CvbenchError:
                raise
            except OSError as error:
                if pause is None or error.errno not in _PASSING:
                    raise _unreadable(error, f"{self.url}/{key}") from error
                time.sleep(pause)
        raise AssertionError  # the last pass returns or raises

    def size(self, key: str) -> int | None:
        return self._tried(key, self._size)

    def _size(self, key: str) -> int:
        *parts, name = check_key(key).split("/")
        at = folders.open_folder(self.root, parts)
        try:
            found = os.stat(name, dir_fd=at, follow_symlinks=False)
        finally:
            os.close(at)
        kind = folders.kind_of(found.st_mode)
        if kind != "file":
            raise folders.refused(key, kind)
        return found.st_size

    def create(self, key: str, *parts: Buffer) -> bool:
        *way, name = check_key(key).split("/")
        try:
            with folders.folder(self.root, way, make=True) as at:
                kind = folders.kind_at(at, name)  # spares the write of what would lose; the link below is what decides
                if kind not in (None, "file"):
                    raise folders.refused(key, kind)
                return kind is None and _create(at, name, parts)
        except CvbenchError:
            raise
        except OSError as error:
            raise _unwritable(error, f"{self.url}/{key}") from error

    def delete(self, key: str) -> None:
        *way, name = check_key(key).split("/")
        try:
            with folders.folder(self.root, way) as at:
                folders.remove(at, name, key)
        except (FileNotFoundError, NotADirectoryError):
            return
        except CvbenchError:
            raise
        except OSError as error:
            raise _unwritable(error, f"{self.url}/{key}", "remove an object") from error

    def part(self, key: str, start: int, stop: int) -> bytes:
        try:
            with self.reading(key) as file:
                file.seek(max(start, 0))
                return file.read(max(stop - max(start, 0), 0))
        except FileNotFoundError:
            return b""

    def list(self, prefix: str = "") -> Iterator[str]:
        keys = []
        for key, kind in self.survey(prefix):
            if kind in ("link", "special"):
                raise folders.refused(key, kind)
            if kind == "file" and not _is_temporary(key):
                keys.append(key)
        return iter(sorted(keys))

    def survey(self, prefix: str = "") -> Sequence[tuple[str, folders.Kind]]:
        parts = check_key(prefix.removesuffix("/")).split("/") if prefix else []
        return self._tried(prefix, lambda _: list(folders.walk(self.root, parts))) or []

    def leftovers(self) -> Sequence[str]:
        return sorted(key for key, kind in self.survey() if kind == "file" and _is_temporary(key))

    def sweep(self) -> Sequence[str]:
        dead = [key for key in self.leftovers() if writers.is_dead(key.rsplit("/", 1)[-1].removeprefix(TEMPORARY))]
        for key in dead:
            self.delete(key)
        return dead

    def settle(self, keys: Iterable[str]) -> None:
        leaves = {tuple(check_key(key).split("/")[:-1]) for key in keys}
        ways = leaves | {leaf[:depth] for leaf in leaves - self._settled for depth in range(len(leaf))}
        for way in sorted(ways, key=lambda way: -len(way)):  # deepest first: a name before its parent's name
            try:
                with folders.folder(self.root, way) as at:
                    folders.sync(at)
            except OSError as error:
                raise _unwritable(error, "/".join((self.url, *way)), "keep the names in a folder") from error
        self._settled |= leaves  # not before: what failed is done again


def _is_temporary(key: str) -> bool:
    return key.rsplit("/", 1)[-1].startswith(TEMPORARY)


def _create(at: int, name: str, parts: Sequence[Buffer]) -> bool:
    """Create the file `name` in the folder `at`; False if a faster one has done so."""
    temporary = f"{TEMPORARY}{writers.mark()}-{secrets.token_hex(6)}"
    try:
        _write(at, temporary, parts)
        try:
            os.link(temporary, name, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
        except FileExistsError:
            return False
        return True
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=at)


def _write(at: int, name: str, parts: Sequence[Buffer]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o666, dir_fd=at)
    try:
        for part in parts:
            view = memoryview(part).cast("B")
            while len(view):  # a write may be short, e.g. just before the disk is full
                view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unreadable(error: OSError, where: str) -> ResourceError:
    kind = TransientError if error.errno in _PASSING else ResourceError  # a mount of one node may be what is broken
    return kind(
        f"cannot read an object of the store: {error.strerror or error}",
        where=where,
        why=errno.errorcode.get(error.errno or 0),
        fix="check the disk, the mount and the permissions, then run the same command again: it resumes",
    )


def _unwritable(error: OSError, where: str, verb: str = "write an object") -> ResourceError:
    what, why, fix = f"cannot {verb} of the store: {error}", error.strerror, "check the disk and the mount"
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        what, fix = "no space left for an object of the store", "free space"
    elif error.errno in (errno.EACCES, errno.EPERM):
        why, fix = f"{error.strerror}: {_owned(where)}", "let this user write there, or use another --store"
    elif error.errno == errno.EROFS:
        fix = "mount it for writing, or use another --store"
    elif error.errno == errno.ENOENT:
        why = "the folder, or one above it, was removed meanwhile, or its mount is gone"
    return ResourceError(what, where=where, why=why, fix=f"{fix}; then run the same command again: it resumes")


def _owned(place: str) -> str:
    """Whose the innermost folder is that lies above a place, and who this process is."""
    for path in Path(place).parents:
        with contextlib.suppress(OSError):
            found = path.stat()
            mode = f"mode {stat.filemode(found.st_mode)}"
            return f"{path} is of user {found.st_uid}, {mode}, and this is user {os.geteuid()}"
    return "nothing above it can be looked at"
