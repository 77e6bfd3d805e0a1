"""Take an archive apart without trusting it.

Only plain files and folders come out, below the folder that is given. A member whose name is absolute or holds `..`, a
link of either kind, a device, a pipe, an encrypted or sparse file, or more bytes than expected: the whole archive is
refused. Owners, times and modes are dropped. `__MACOSX/` and `._name`, which are no part of any data set, are left out.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from cvbench.errors import IntegrityError, ResourceError
from cvbench.storage.downloads.fetch import RESERVE

BLOCK = 1 << 20
MAX_FILES = 2_000_000
RATIO = 50  # bytes that may come out of one byte of an archive; images do not shrink, lists of names do tenfold
ALLOWANCE = 1 << 30

_COMPRESSED: dict[bytes, Callable[[Path, str], object]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}

_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    NotImplementedError,
)

Entry = tuple[PurePosixPath, int, IO[bytes] | None]  # name, bytes, contents; None for a folder


def unpack(archive: Path, into: Path, *, max_bytes: int | None = None) -> int:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip file.

    Args:
        into: An existing folder that nobody else writes to.
        max_bytes: What may come out in all; else 50 times the archive's size and 1 GiB.

    Returns:
        The number of files.

    Raises:
        IntegrityError: The archive is damaged, or holds anything that is not allowed.
        ResourceError: The disk is full.
    """
    limit = max_bytes if max_bytes is not None else RATIO * archive.stat().st_size + ALLOWANCE
    members = _zip_members(archive) if zipfile.is_zipfile(archive) else _tar_members(archive)
    files = total = 0
    try:
        with contextlib.closing(members):
            for name, size, contents in members:
                target = into / name
                if contents is None:
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                files, total = files + 1, total + size
                if total > limit or files > MAX_FILES:
                    raise IntegrityError(
                        f"more than {limit:,} bytes or {MAX_FILES:,} files come out of the archive", where=str(archive)
                    )
                if shutil.disk_usage(into).free < size + RESERVE:
                    raise _full(into, None)
                target.parent.mkdir(parents=True, exist_ok=True)
                _copy(contents, target, size, f"{archive}: {name}")
    except _DAMAGE as err:
        raise _damaged(archive, err) from err
    except OSError as err:
        if isinstance(err, ResourceError):
            raise
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(into, err) from err
        raise _damaged(archive, err) from err  # gzip's BadGzipFile, a file where a folder is needed, a name too long
    return files


def _tar_members(archive: Path) -> Generator[Entry, None, None]:
    with _opened(archive) as stream:
        watched = _Watched(stream)
        with tarfile.open(fileobj=watched, mode="r:") as tar:  # type: ignore[call-overload]
            for member in tar:
                place = f"{archive}: {member.name}"
                name = _safe(member.name, place)
                if name is None:
                    continue
                if member.isdir():
                    yield name, 0, None
                elif member.isreg() and member.sparse is None:
                    yield name, member.size, tar.extractfile(member)
                else:
                    raise IntegrityError("the archive holds a link, a device or another special file", where=place)
        if watched.last.strip(b"\0"):
            raise tarfile.ReadError(f"damaged before byte {stream.tell():,}")
        while stream.read(BLOCK):  # the checksum of a compressed file stands at its end
            pass


def _opened(archive: Path) -> IO[bytes]:
    with open(archive, "rb") as handle:
        start = handle.read(6)
    for magic, opener in _COMPRESSED.items():
        if start.startswith(magic):
            return cast(IO[bytes], opener(archive, "rb"))
    return open(archive, "rb")


class _Watched:
    """Remembers the last block that was read: tarfile takes a damaged header for the end, which is an empty block.

    Going back to look at it would mean to decompress everything again.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.last = b""
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        self.last = self._stream.read(size)
        return self.last


def _zip_members(archive: Path) -> Generator[Entry, None, None]:
    with zipfile.ZipFile(archive) as bundle:
        for member in bundle.infolist():
            place = f"{archive}: {member.filename}"
            name = _safe(member.filename, place)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if name is None:
                continue
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or member.flag_bits & 1:
                raise IntegrityError("the archive holds a link, an encrypted or another special file", where=place)
            if member.is_dir():
                yield name, 0, None
            else:
                with bundle.open(member) as contents:
                    yield name, member.file_size, contents


def _safe(name: str, place: str) -> PurePosixPath | None:
    """The name as a path that stays inside; None for what is left out."""
    path = PurePosixPath(name)
    drive = bool(path.parts) and ":" in path.parts[0]
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or drive:
        raise IntegrityError("the archive holds a name that leads out of its folder", where=place)
    if not path.parts or "__MACOSX" in path.parts or path.name.startswith("._"):
        return None
    return path


def _copy(contents: IO[bytes], target: Path, size: int, place: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    written = 0
    with os.fdopen(os.open(target, flags, 0o644), "wb") as out:
        while block := contents.read(min(BLOCK, size - written + 1)):
            written += len(block)
            if written > size:
                break
            out.write(block)
    if written != size:
        raise IntegrityError(f"a file of the archive has not the {size:,} bytes that are declared", where=place)


def _damaged(archive: Path, err: Exception) -> IntegrityError:
    return IntegrityError(
        "the archive is damaged", where=str(archive), why=str(err) or type(err).__name__, fix="download it again"
    )


def _full(folder: Path, err: OSError | None) -> ResourceError:
    return ResourceError(
        "not enough space to unpack the archive",
        where=str(folder),
        why=None if err is None else err.strerror,
        fix="free space, then run the same command again: what was downloaded is kept",
    )
