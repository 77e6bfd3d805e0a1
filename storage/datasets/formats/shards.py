"""Files that hold many samples each: found by a pattern, on disk or in an object store, and read by byte ranges.

A pattern is a path or a URL (s3://, gs://, az://) of one file, or of a folder, with `{000..009}` and `{a,b}` expanded
and `*`, `?` and `[...]` matched within a name.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError, UsageError
from cvbench.storage.datasets.formats.absent import absent, holds
from cvbench.storage.objects.bucket import Bucket, RangedFile

MAX_SHARDS = 1_000_000
MAX_BESIDE = 64 * 1024 * 1024
"""The largest file beside the shards, such as a list of classes, that is read."""
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Shard:
    """One file: an absolute path or a URL, and its bytes when it was found."""

    where: str
    size: int

    @property
    def remote(self) -> bool:
        """Whether it lies in an object store."""
        return "://" in self.where


class Shards(Sequence[Shard]):
    """The files of a data set, in order. Reads are refused once a file's size has changed."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = tuple(shards)

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, index: Any) -> Any:
        return self._shards[index]

    def __reduce__(self) -> tuple[Any, ...]:
        return Shards, (self._shards,)  # connections stay behind

    @cached_property
    def _buckets(self) -> dict[str, Bucket]:
        return {url: Bucket(url) for url in {Bucket.split(shard.where)[0] for shard in self._shards if shard.remote}}

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return sum(shard.size for shard in self._shards)

    def sizes(self) -> NDArray[np.int64]:
        """(n,) int64 bytes of each file."""
        return np.array([shard.size for shard in self._shards], dtype=np.int64)

    def names(self) -> list[str]:
        """A name for each shard, unique and without its suffix: its own, or the path below what all have in common."""
        plain = [shard.where.partition("://")[2] or shard.where for shard in self._shards]
        paths = [path.rpartition(".")[0] or path for path in plain]
        short = [path.rpartition("/")[2] for path in paths]
        if len(set(short)) == len(short):
            return short
        start = len(os.path.commonpath([path.rpartition("/")[0] for path in paths])) + 1
        return [path[start:] for path in paths]

    def read(self, index: int, start: int, size: int) -> bytes:
        """`size` bytes of a shard.

        Raises:
            DataUnavailableError: It is gone or cannot be read.
            IntegrityError: It has changed since it was found.
        """
        shard = self._shards[index]
        if shard.remote:
            url, key = Bucket.split(shard.where)
            data, total = self._buckets[url].read(key, start, size)
        else:
            with self.open(index) as handle:
                handle.seek(start)
                data, total = handle.read(size), shard.size
        if total != shard.size or len(data) != size:
            raise _changed(shard, total)
        return data

    def open(self, index: int) -> BinaryIO:
        """A shard as a file to read and seek in; the caller closes it.

        Raises:
            As `read`.
        """
        shard = self._shards[index]
        if shard.remote:
            return cast(BinaryIO, RangedFile(lambda start, size: self.read(index, start, size), shard.size))
        try:
            handle = open(shard.where, "rb")  # noqa: SIM115 - the caller closes it
        except OSError as err:
            raise DataUnavailableError("cannot read a shard", where=shard.where, why=str(err)) from err
        size = os.fstat(handle.fileno()).st_size
        if size != shard.size:
            handle.close()
            raise _changed(shard, size)
        return handle

    def beside(self, *names: str, above: bool = True) -> tuple[str, bytes] | None:
        """(where, bytes) of the first file of these names in the folder of the first shard, or the one above it."""
        folder = self._shards[0].where.rpartition("/")[0]
        for place in (folder, folder.rpartition("/")[0]) if above else (folder,):
            for name in names:
                data = self._small_file(f"{place}/{name}")
                if data is not None:
                    return f"{place}/{name}", data
        return None

    def _small_file(self, where: str) -> bytes | None:
        if self._shards[0].remote:
            url, key = Bucket.split(where)
            data = self._buckets[url].get(key) if url in self._buckets else None
        elif not Path(where).is_file():
            return None
        else:
            try:
                with open(where, "rb") as handle:
                    data = handle.read(MAX_BESIDE + 1)
            except OSError as err:
                raise DataUnavailableError("cannot read a file beside the shards", where=where, why=str(err)) from err
        if data is not None and len(data) > MAX_BESIDE:
            raise IntegrityError(f"the file has more than {MAX_BESIDE:,} bytes", where=where)
        return data


def find_shards(pattern: str, suffixes: Sequence[str]) -> Shards:
    """The files that an absolute pattern names, in the order of its braces, else by name.

    Args:
        suffixes: What a folder's files must end in to count.

    Raises:
        DataUnavailableError: A file that is named is not there, or nothing matches.
        UsageError: A URL of an unknown kind, or braces that cannot be expanded.
    """
    names = expand_braces(pattern)
    search = _remote if "://" in pattern else _local
    found = list(dict.fromkeys(search(names, tuple(suffixes))))
    if not found:
        here = Path(pattern) if Path(pattern).is_dir() else Path(pattern).parent
        folder = here if "://" not in pattern else None
        raise DataUnavailableError(
            "no shard matches",
            where=pattern,
            why=None if folder is None else holds(folder),
            fix=f"give files, a folder or a pattern of files that end in {', '.join(suffixes)}",
        )
    return Shards(found)


def _changed(shard: Shard, size: int) -> IntegrityError:
    return IntegrityError(
        "the shard changed after the data set was opened",
        where=shard.where,
        why=f"it had {shard.size:,} bytes, now {size:,}",
        fix="leave the files alone while a job runs, then start it again",
    )


def expand_braces(pattern: str) -> list[str]:
    """Every name that a pattern with braces stands for, in order.

    >>> expand_braces("x-{08..10}.tar")
    ['x-08.tar', 'x-09.tar', 'x-10.tar']
    >>> expand_braces("{train,val}/{0..1}.tar")
    ['train/0.tar', 'train/1.tar', 'val/0.tar', 'val/1.tar']
    """
    pieces = _BRACES.split(pattern)  # text, braces, text, braces, ..., text
    choices: list[list[str]] = []
    count = 1
    for i, piece in enumerate(pieces):
        bounds = _RANGE.fullmatch(piece) if i % 2 else None
        if bounds:
            first, last = (int(bound) for bound in bounds.groups())
            count *= max(last - first + 1, 0)
            if not 0 < count <= MAX_SHARDS:
                raise UsageError(f"{{{piece}}} names {'no' if count <= 0 else 'too many'} shards", where=pattern)
            width = len(bounds[1]) if bounds[1].startswith("0") else 0
            choices.append([str(number).zfill(width) for number in range(first, last + 1)])
        else:
            choices.append(piece.split(",") if i % 2 else [piece])
    return ["".join(parts) for parts in product(*choices)]


def _local(names: list[str], suffixes: tuple[str, ...]) -> Iterator[Shard]:
    for name in names:
        if os.path.isfile(name):
            found = [name]
        elif os.path.isdir(name):
            found = sorted(entry.path for entry in os.scandir(name) if entry.name.endswith(suffixes))
        elif _MAGIC.search(name):
            found = sorted(glob.glob(name))
        else:
            raise absent("a shard", name, suffixes)
        for path in found:
            if os.path.islink(path) and not os.path.exists(path):
                raise DataUnavailableError("a shard is a link to what is not there", where=path)
            if os.path.isfile(path):
                yield Shard(path, os.path.getsize(path))


def _remote(names: list[str], suffixes: tuple[str, ...]) -> Iterator[Shard]:
    sizes: dict[str, dict[str, int]] = {}  # folder -> its objects; one request for a whole folder of shards
    for name in names:
        url, key = Bucket.split(name)
        fixed = _MAGIC.split(key)[0].rpartition("/")[0]
        if f"{url}/{fixed}" not in sizes:
            sizes[f"{url}/{fixed}"] = Bucket(url).sizes(f"{fixed}/" if fixed else "")
        objects = sizes[f"{url}/{fixed}"]
        if key in objects:
            found = [key]
        elif _MAGIC.search(key):
            found = [k for k in objects if fnmatch.fnmatchcase(k, key) and k.count("/") == key.count("/")]
        else:
            within = f"{key.rstrip('/')}/"
            objects = Bucket(url).sizes(within) if not key.endswith(suffixes) else {}
            found = [k for k in objects if k.endswith(suffixes) and "/" not in k[len(within) :]]
            if not found:
                raise absent("a shard", name, suffixes)
        yield from (Shard(f"{url}/{k}", objects[k]) for k in sorted(found))
