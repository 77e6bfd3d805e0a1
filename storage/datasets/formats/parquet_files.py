"""Parquet files of images: what is in their columns, and one image at a time."""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import CvbenchError, DecodeError, IntegrityError, raise_if_lacking
from cvbench.storage.datasets.formats.listed import Listed
from cvbench.storage.datasets.formats.row_columns import (
    choose,
    described,
    features_of,
    is_text,
    plain_values,
    values_of,
)
from cvbench.storage.datasets.formats.shards import Shards
from cvbench.storage.datasets.formats.spool import Blocks, Spool, has_room

CACHE_BYTES = 256 * 1024 * 1024
"""Row groups that one process keeps of a data set."""

MAX_GROUP = 2 * 1024 * 1024 * 1024
"""The largest row group that is read: all of it is in memory for one of its images."""

MAX_EXPANSION = 16
"""Bytes that images may have for each byte that their row group says of itself, beyond `CACHE_BYTES`: dictionaries and
shared prefixes can stand for a value any number of times."""

NOTHING: Mapping[str, str] = MappingProxyType({})

MAX_ROWS_PER_BYTE = 1
"""Rows that a file may have for each of its bytes. Labels are read whole, and runs of equal ones take no space."""


@dataclass(frozen=True)
class Table:
    """Contents of one file, but for the images.

    Attributes:
        image: Dotted path of the column of bytes, such as "image.bytes".
        label: The column of labels, if there is one.
        values: Column -> (rows,) int64, -1 for null; or text, "" for null, if the labels are names.
        names: Column -> its class names.
        plain: Column of text or numbers -> its (rows,) values.
        groups: (rows, bytes) of each row group.
        others: Columns that are not read.
        without: Rows whose image is null, as far as the footer says.
    """

    rows: int
    image: str
    label: str | None
    values: dict[str, NDArray[Any]]
    names: dict[str, tuple[str, ...]]
    plain: dict[str, NDArray[Any]]
    groups: tuple[tuple[int, int], ...]
    others: tuple[str, ...]
    without: int

    @property
    def words(self) -> set[str]:
        """The names that its labels are; empty if they are numbers."""
        values = self.values[self.label] if self.label else None
        return set() if values is None or values.dtype.kind != "U" else {*np.unique(values).tolist()} - {""}


@dataclass(frozen=True, eq=False)
class ParquetDataset(Listed):
    """A data set whose samples are the rows of Parquet files.

    Attributes:
        group_shard: (G,) the file of each row group.
        group_start: (G + 1,) the sample that each row group starts with, and the number of samples.
        group_bytes: (G,) bytes of each row group, before compression.
        beside: Factors that are no part of the digest: stores made before they were read have none of them.
    """

    shards: Shards
    image: str
    group_shard: NDArray[np.int32]
    group_start: NDArray[np.int64]
    group_bytes: NDArray[np.int64]
    beside: frozenset[str] = frozenset()
    _cache: GroupCache = field(default_factory=lambda: GroupCache(CACHE_BYTES))

    def read(self, index: int) -> bytes:
        """The image's bytes; its row group is read if it is neither in memory nor in the spool.

        Raises:
            DecodeError: The row holds no image.
        """
        group = int(np.searchsorted(self.group_start, index, side="right")) - 1
        data = self._from_spool(index, group) if self._large else self._from_memory(index, group)
        if data is None:
            raise DecodeError("the row holds no image", reason="empty")
        return data

    @cached_property
    def _spool(self) -> Spool:
        return Spool(self.group_start, self.group_bytes)

    @property
    def _large(self) -> bool:
        return int(self.group_bytes.sum()) > self._cache.limit

    @property
    def advice(self) -> str | None:
        """Advice if random reads will be slow, as the images fit neither in memory nor on the disk."""
        total = int(self.group_bytes.sum())
        if not self._large or has_room(total):
            return None
        return (
            f"{tempfile.gettempdir()} has no room for the {total / 1e9:,.1f} GB of images: what does not fit is read "
            "again and again by row groups, which is slow; set TMPDIR to a folder on a larger disk"
        )

    def _from_spool(self, index: int, group: int) -> bytes | None:
        try:
            return self._spool.read(index, group, lambda: _parts(self._read_group(group)))
        except OSError as err:
            if isinstance(err, CvbenchError):
                raise
            return self._from_memory(index, group)  # the disk has no room

    def _from_memory(self, index: int, group: int) -> bytes | None:
        images = self._cache.get(group)
        if images is None:
            images = self._read_group(group)
            self._cache.put(group, images, images.nbytes)
        data = images[index - int(self.group_start[group])].as_py()
        return None if data is None else bytes(data)

    def _read_group(self, group: int) -> Any:
        shard = int(self.group_shard[group])
        within = group - int(np.searchsorted(self.group_shard, shard))
        with open_parquet(self.shards, shard) as file, damaged(self.shards[shard].where):
            stated = int(self.group_bytes[group])
            most = min(MAX_GROUP, max(CACHE_BYTES, MAX_EXPANSION * stated))
            return _images(file, within, self.image, stated, most, self.shards[shard].where)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_spool"}

    @property
    def nbytes(self) -> int:
        """Bytes of the files."""
        return self.shards.nbytes

    @property
    def listed_factors(self) -> Mapping[str, NDArray[Any]]:
        """The factors that the digest is of."""
        return {name: values for name, values in self.factors.items() if name not in self.beside}

    def images(self) -> Mapping[str, NDArray[Any]]:
        """The sizes of files and row groups, not the contents."""
        return {"group": self.group_bytes, "shards": self.shards.sizes()}


class GroupCache:
    """The row groups that were used last, up to a number of bytes; threads may share it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held: OrderedDict[int, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: int) -> Any:
        """The value that was put, or None."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: int, value: Any, size: int) -> None:
        """Keep `value`, and let go of what was not used for longest; the newest always stays."""
        with self._lock:
            self._held[key] = (value, size)
            while len(self._held) > 1 and sum(held for _, held in self._held.values()) > self.limit:
                self._held.popitem(last=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return GroupCache, (self.limit,)  # another process starts empty


@contextmanager
def open_parquet(shards: Shards, number: int, *, folded: tuple[str, ...] = ()) -> Iterator[Any]:
    """One file, opened by its footer, for a `with` block.

    Args:
        folded: Columns whose text stays as a dictionary and its indices.

    Raises:
        IntegrityError: It is no Parquet file, or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with shards.open(number) as handle:  # Arrow does not close what it did not open
        try:
            file = pq.ParquetFile(handle, pre_buffer=False, read_dictionary=list(folded))
        except (pa.ArrowException, OSError) as err:
            if isinstance(err, CvbenchError):
                raise
            raise_if_lacking(err)
            raise IntegrityError("no Parquet file, or damaged", where=shards[number].where, why=str(err)) from err
        yield file


@contextmanager
def damaged(where: str) -> Iterator[None]:
    """Arrow's errors while it reads pages, as ours."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as err:
        if isinstance(err, CvbenchError):
            raise
        raise_if_lacking(err)
        raise IntegrityError("the Parquet file is damaged", where=where, why=str(err)) from err


def _images(file: Any, group: int, image: str, stated: int, most: int, where: str) -> Any:
    """The images of a row group as one array of bytes, null where the row or its bytes are null.

    They are decoded one at a time, so that what they take is known before all of it is taken.

    Raises:
        IntegrityError: They have more than `most` bytes.
    """
    import pyarrow as pa

    parts, size = [], 0
    for batch in file.iter_batches(batch_size=1, row_groups=[group], columns=[image], use_threads=False):
        column = batch.column(0)
        # Unlike `field`, `flatten` has the nulls of the rows themselves.
        parts.append(column.flatten()[0] if image.endswith(".bytes") else column)
        size += parts[-1].nbytes
        if size >= most:
            raise IntegrityError(
                f"the images of a row group of {stated:,} bytes have more than {most:,}",
                where=where,
                why="the file writes the same bytes once for many rows",
                fix="write the file without dictionaries for the column of images",
            )
    return pa.concat_arrays(parts)


def _parts(images: Any) -> Blocks:
    """The buffer of an array of bytes, and where its items are in it."""
    import pyarrow.types as kinds

    wide = kinds.is_large_binary(images.type)
    _, offsets, data = images.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int64 if wide else np.int32)[images.offset :][: len(images) + 1]
    null = images.is_null().to_numpy(zero_copy_only=False)
    yield (b"" if data is None else data), bounds.astype(np.int64), null


def read_tables(shards: Shards, asked: Mapping[str, str] = NOTHING) -> list[Table]:
    """Read every file, but for the images; `asked` names columns."""
    return [_read_table(shards, number, asked) for number in range(len(shards))]


def _read_table(shards: Shards, number: int, asked: Mapping[str, str]) -> Table:
    where = shards[number].where
    with open_parquet(shards, number) as file, damaged(where):
        schema, footer = file.schema_arrow, file.metadata
        if footer.num_rows > MAX_ROWS_PER_BYTE * shards[number].size:
            raise IntegrityError(
                f"{footer.num_rows:,} rows in {shards[number].size:,} bytes: most of them can hold no image",
                where=where,
            )
        chosen = choose(schema, features_of(schema.metadata or {}) or described(shards), asked, where)
        data = _columns(shards, number, file, [*chosen.classes, *chosen.plain])
        groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
        if any(group.total_byte_size > MAX_GROUP for group in groups):
            raise IntegrityError(
                f"a row group has more than {MAX_GROUP:,} bytes",
                where=where,
                fix="write the file with row groups of about 100 images",
            )
        plain = {name: plain_values(data.column(name)) for name in chosen.plain}
        return Table(
            rows=footer.num_rows,
            image=chosen.image,
            label=chosen.label,
            values={name: values_of(data.column(name), name, chosen, where) for name in chosen.classes},
            names=chosen.names,
            plain={name: values for name, values in plain.items() if values is not None},
            groups=tuple((group.num_rows, group.total_byte_size) for group in groups),
            others=(*chosen.others, *(name for name, values in plain.items() if values is None)),
            without=sum(_nulls(group, chosen.image) for group in groups),
        )


def _columns(shards: Shards, number: int, file: Any, columns: list[str]) -> Any:
    """The table of some columns, text as dictionaries: a word that stands in many rows may be as long as the file."""
    types = {name: file.schema_arrow.field(name).type for name in columns}
    texts = tuple(name for name, kind in types.items() if is_text(kind))
    if not texts:
        return file.read(columns=columns, use_threads=False) if columns else None
    with open_parquet(shards, number, folded=texts) as again:
        return again.read(columns=columns, use_threads=False)


def _nulls(group: Any, image: str) -> int:
    """Rows of a row group without an image; 0 if the footer does not say."""
    for number in range(group.num_columns):
        column = group.column(number)
        if column.path_in_schema == image:
            found = column.statistics
            return int(found.null_count) if found is not None and found.has_null_count else 0
    return 0
