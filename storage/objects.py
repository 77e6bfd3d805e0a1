"""Keys to bytes, where create-if-absent is the only way to write.

A store is a set of objects that are created once and never changed; everything the ledger promises follows from that.
Three places: a local directory, process memory (`memory://NAME`, for tests), object stores (`s3://...`, see `remote`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cvbench.errors import IntegrityError, ResourceError, UsageError
from cvbench.storage.keys import REPAIR

if TYPE_CHECKING:
    from zarr.abc.store import Store

    Buffer = bytes | bytearray | memoryview

TEMPORARY = ".tmp-"  # file names that start so are unfinished writes, never objects


class Objects(ABC):
    """A flat name space of immutable objects. Keys are relative paths with `/`."""

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
        """Unfinished writes that a killed process left behind."""
        return []

    @property
    @abstractmethod
    def zarr_store(self) -> Store:
        """The same objects as a read-only zarr store."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open_objects, (self.url,))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"


def too_long(key: str, size: int, most: int) -> IntegrityError:
    """The error for an object that is longer than what it may be."""
    return IntegrityError(
        "an object of the store is too long", where=key, why=f"{size} bytes, at most {most}", fix=REPAIR
    )


class LocalObjects(Objects):
    """A directory. Creation: private temporary file, fsync, hard link to the final name, so the loser sees EEXIST."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.url = str(self.root)
        self._settled: set[Path] = set()  # folders whose own names were made durable by this process

    def path(self, key: str) -> Path:
        """Where the object lies."""
        return self.root / key

    def get(self, key: str) -> bytes | None:
        try:
            return self.path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def size(self, key: str) -> int | None:
        try:
            return self.path(key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def create(self, key: str, *parts: Buffer) -> bool:
        final = self.path(key)
        if final.exists():  # spares the write of what would lose; the link below is what decides
            return False
        temporary = final.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(6)}")
        try:
            _write(temporary, parts)
            try:
                os.link(temporary, final)
            except FileExistsError:
                return False
            return True
        except OSError as error:
            raise _resource_error(error, f"{self.url}/{key}") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def delete(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    def part(self, key: str, start: int, stop: int) -> bytes:
        try:
            with open(self.path(key), "rb", buffering=0) as file:
                file.seek(max(start, 0))
                return file.read(max(stop - max(start, 0), 0))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return b""

    def list(self, prefix: str = "") -> Iterator[str]:
        return iter(sorted(key for key in self._walk(prefix) if not _is_temporary(key)))

    def leftovers(self) -> Sequence[str]:
        return sorted(key for key in self._walk("") if _is_temporary(key))

    def _walk(self, prefix: str) -> Iterator[str]:
        for folder, _, files in os.walk(self.root / prefix):
            base = Path(folder).relative_to(self.root)
            yield from ((base / name).as_posix() for name in files)

    def settle(self, keys: Iterable[str]) -> None:
        leaves = {Path(key).parent for key in keys}
        folders = leaves | {parent for leaf in leaves - self._settled for parent in leaf.parents}
        self._settled |= leaves
        for folder in sorted(folders, key=lambda f: -len(f.parts)):  # deepest first: a name before its parent's name
            descriptor = os.open(self.root / folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    @property
    def zarr_store(self) -> Store:
        from zarr.storage import LocalStore

        return LocalStore(self.root, read_only=True)


def _is_temporary(key: str) -> bool:
    return key.rsplit("/", 1)[-1].startswith(TEMPORARY)


def _write(path: Path, parts: Sequence[Buffer]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        descriptor = os.open(path, flags, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o666)
    try:
        for part in parts:
            view = memoryview(part).cast("B")
            while len(view):  # a write may be short, e.g. just before the disk is full
                view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _resource_error(error: OSError, where: str) -> ResourceError:
    full = error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
    what = "no space left for an object of the store" if full else f"cannot write an object of the store: {error}"
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

    def get(self, key: str) -> bytes | None:
        return self.data.get(key)

    def size(self, key: str) -> int | None:
        data = self.data.get(key)
        return None if data is None else len(data)

    def create(self, key: str, *parts: Buffer) -> bool:
        data = b"".join(parts)
        with self._lock:
            if key in self.data:
                return False
            self.data[key] = data
            return True

    def delete(self, key: str) -> None:
        with self._lock:
            self.data.pop(key, None)

    def list(self, prefix: str = "") -> Iterator[str]:
        with self._lock:
            return iter(sorted(key for key in self.data if key.startswith(prefix)))

    @property
    def zarr_store(self) -> Store:
        """A snapshot of now, not a live view."""
        return snapshot(self.data)


def snapshot(data: dict[str, bytes]) -> Store:
    """A read-only zarr store of `data`, as it is now."""
    from zarr.core.buffer import cpu
    from zarr.storage import MemoryStore

    return MemoryStore({key: cpu.Buffer.from_bytes(value) for key, value in list(data.items())}, read_only=True)


def open_objects(url: str | Path) -> Objects:
    """The objects at a path (`./x.zarr`, `file:///...`), in memory (`memory://NAME`) or at `s3://bucket/prefix` etc.

    Raises:
        UsageError: A URL whose scheme is not known.
    """
    text = str(url)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return LocalObjects(Path(text).expanduser())
    if scheme == "file":
        return LocalObjects(rest)
    if scheme == "memory":
        return MemoryObjects(rest)
    from cvbench.storage.remote import REMOTE_SCHEMES, RemoteObjects

    if scheme in REMOTE_SCHEMES:
        return RemoteObjects(text)
    raise UsageError(f"unknown kind of store {scheme}://", where=text, fix="use a path, s3://, gs:// or az://")
