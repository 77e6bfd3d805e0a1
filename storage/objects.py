"""Keys to bytes, where create-if-absent is the only way to write.

A store is a set of objects that are created once and never changed; everything the ledger promises follows from that.
Three places: a local directory, process memory (`memory://NAME`, for tests), object stores (`s3://...`, see `remote`);
`objects_open` finds the one that a path or URL means.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from cvbench.errors import CvbenchError, IntegrityError, ResourceError
from cvbench.storage import folders, writers
from cvbench.storage.keys import REPAIR, check_key

if TYPE_CHECKING:
    Buffer = bytes | bytearray | memoryview

T = TypeVar("T")
TEMPORARY = ".tmp-"  # file names that start so are unfinished writes, never objects
MOST_BYTES = 2**31  # of an object that is read whole: no record or chunk of ours comes near
_STEP = 1 << 20
_PASSING = {errno.EIO, errno.ESTALE, errno.EINTR, errno.EAGAIN}  # of network file systems, as a rule for a moment
_PAUSES = (0.05, 0.5)  # seconds before another try


class Objects(ABC):
    """A flat name space of immutable objects. Keys are relative paths with `/`, checked by `check_key` at each use.

    Raises (every method): IntegrityError for a key that could lead out of the store, and for anything but a plain
    object in its place.
    """

    url: str
    sharded: ClassVar[bool] = False  # True where many small objects are dear: one object per unit and layer

    @abstractmethod
    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None if there is none."""

    def take(self, key: str, most: int) -> bytes | None:
        """As `get`, of an object of at most so many bytes.

        Raises:
            IntegrityError: It is longer; nothing was read.
        """
        size = self.size(key)
        if size is not None and size > most:
            raise too_long(key, size, most)
        return None if size is None else self.get(key)

    def part(self, key: str, start: int, stop: int) -> bytes:
        """Bytes start <= i < stop of an object; fewer, or none, where it has no more."""
        return (self.get(key) or b"")[max(start, 0) : max(stop, 0)]

    @abstractmethod
    def create(self, key: str, *parts: Buffer) -> bool:
        """Create `key` from the joined parts, atomically and durably.

        Returns:
            True if this call created it, False if it existed, in which case it is unchanged.

        Raises:
            ResourceError: No space left, or no permission. Nothing of the attempt remains visible.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove `key` if it is there."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys under `prefix` (empty, or a folder with its final `/`), sorted."""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Bytes of the object, or None if there is none."""

    def settle(self, keys: Iterable[str]) -> None:  # noqa: B027 - nothing to do where a put is durable
        """Make the *names* of created objects survive a power cut (their bytes already do)."""

    def leftovers(self) -> Sequence[str]:
        """Unfinished writes that a killed process left behind, or that are under way."""
        return []

    def sweep(self) -> Sequence[str]:
        """Remove the unfinished writes of processes of this machine that are no more; returns their keys."""
        return []

    def survey(self, prefix: str = "") -> Sequence[tuple[str, folders.Kind]]:
        """All that lies under `prefix`, and its kind: also links, devices and pipes, which `list` refuses."""
        return [(key, "file") for key in self.list(prefix)]

    def blake3(self, key: str) -> str | None:
        """blake3 of the object, hex, or None if there is none."""
        import blake3

        data = self.get(key)
        return None if data is None else blake3.blake3(data).hexdigest()

    @abstractmethod
    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its place: another process opens the same objects."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"


def too_long(key: str, size: int, most: int) -> IntegrityError:
    """The error for an object that is longer than what it may be."""
    return IntegrityError(
        "an object of the store is too long", where=key, why=f"{size} bytes, at most {most}", fix=REPAIR
    )


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
        """Where the object lies; only a name. Read it with `get` or `reading`, which refuse what is no object."""
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
            raise _unwritable(error, f"{self.url}/{key}", "remove") from error

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
        self._settled |= leaves
        for way in sorted(ways, key=lambda way: -len(way)):  # deepest first: a name before its parent's name
            with folders.folder(self.root, way) as at:
                folders.sync(at)


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
    return ResourceError(
        f"cannot read an object of the store: {error.strerror or error}",
        where=where,
        why=errno.errorcode.get(error.errno or 0),
        fix="check the disk, the mount and the permissions, then run the same command again: it resumes",
    )


def _unwritable(error: OSError, where: str, verb: str = "write") -> ResourceError:
    full = error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
    what = "no space left for an object of the store" if full else f"cannot {verb} an object of the store: {error}"
    fix = "free space, then run the same command again: it resumes" if full else "check the path and its permissions"
    return ResourceError(what, where=where, why=error.strerror, fix=fix)


class MemoryObjects(Objects):
    """A dictionary shared by all who open the same name in this process."""

    _shared: ClassVar[dict[str, tuple[dict[str, bytes], threading.Lock]]] = {}
    _registry: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, name: str = "") -> None:
        self.url = f"memory://{name}"
        with self._registry:
            self.data, self._lock = self._shared.setdefault(name, ({}, threading.Lock()))

    def __reduce__(self) -> tuple[Any, ...]:
        return (MemoryObjects, (self.url.removeprefix("memory://"),))

    def get(self, key: str) -> bytes | None:
        return self.data.get(check_key(key))

    def size(self, key: str) -> int | None:
        data = self.data.get(check_key(key))
        return None if data is None else len(data)

    def create(self, key: str, *parts: Buffer) -> bool:
        data = b"".join(parts)
        with self._lock:
            if check_key(key) in self.data:
                return False
            self.data[key] = data
            return True

    def delete(self, key: str) -> None:
        with self._lock:
            self.data.pop(check_key(key), None)

    def list(self, prefix: str = "") -> Iterator[str]:
        with self._lock:
            return iter(sorted(key for key in self.data if key.startswith(prefix)))
