"""Files of Arrow's stream format with images in a column, as Hugging Face's `save_to_disk` writes them; one at a time.

A file is mapped into memory, not read: an image is a short read, in any order, and memory is that of what is asked for.
The file must not change while it is mapped. Batches whose bytes are compressed are refused: how much they would take is
known to their writer only.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cvbench.errors import CvbenchError, DecodeError, IntegrityError, raise_if_lacking
from cvbench.storage.datasets.formats.parquet_files import NOTHING, ParquetDataset, Table
from cvbench.storage.datasets.formats.row_columns import choose, described, features_of, plain_values, values_of
from cvbench.storage.datasets.formats.shards import Shards

_DICTIONARY, _BATCH = 2, 3  # kinds of Arrow's messages


@dataclass(frozen=True, eq=False)
class ArrowDataset(ParquetDataset):
    """A data set whose samples are the rows of Arrow files; a group is a batch of rows."""

    _mapped: Mapped = field(default_factory=lambda: Mapped())

    def read(self, index: int) -> bytes:
        """The image's bytes.

        Raises:
            DecodeError: The row holds no image.
            IntegrityError: The file is damaged.
        """
        group = int(np.searchsorted(self.group_start, index, side="right")) - 1
        shard = int(self.group_shard[group])
        within = group - int(np.searchsorted(self.group_shard, shard))
        column = self._mapped.columns(self.shards, shard, self.image)[within]
        data = column[index - int(self.group_start[group])].as_py()
        if data is None:
            raise DecodeError("the row holds no image", reason="empty")
        return bytes(data)

    @property
    def advice(self) -> None:
        """None: any order is read alike."""


class Mapped:
    """The columns of images of the files that were asked for; threads may share it, another process starts empty."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[int, list[Any]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Mapped, ()

    def columns(self, shards: Shards, number: int, image: str) -> list[Any]:
        """The column of bytes of each batch of a file, checked."""
        with self._lock:
            if number not in self._held:
                where = shards[number].where
                with damaged(where):
                    batches = [_bytes(batch, image) for batch in open_batches(shards, number)]
                    for column in batches:
                        column.validate(full=True)
                self._held[number] = batches
            return self._held[number]


def open_batches(shards: Shards, number: int) -> list[Any]:
    """The batches of rows of a file, mapped into memory.

    Raises:
        IntegrityError: It is no such file, damaged or compressed.
    """
    import pyarrow as pa

    where = shards[number].where
    shards.open(number).close()  # its size is as it was
    with damaged(where):
        source = pa.memory_map(where)
        for message in pa.ipc.MessageReader.open_stream(source):
            if is_compressed(message.metadata.to_pybytes()):
                raise IntegrityError("the file is compressed", where=where, fix="write it without compression")
        source.seek(0)
        return list(pa.ipc.open_stream(source))


@contextmanager
def damaged(where: str) -> Iterator[None]:
    """Arrow's errors as ours."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, struct.error, ValueError) as err:
        if isinstance(err, CvbenchError):
            raise
        raise_if_lacking(err)
        raise IntegrityError("no Arrow stream, or damaged", where=where, why=str(err)[:300]) from err


def _bytes(batch: Any, image: str) -> Any:
    name, _, inner = image.partition(".")
    column = batch.column(batch.schema.get_field_index(name))
    # Unlike `field`, `flatten` has the nulls of the rows themselves.
    return column.flatten()[column.type.get_field_index("bytes")] if inner else column


def read_arrow(shards: Shards, asked: Mapping[str, str] = NOTHING) -> list[Table]:
    """Read every file, but for the images; `asked` names columns."""
    return [_table(shards, number, asked) for number in range(len(shards))]


def _table(shards: Shards, number: int, asked: Mapping[str, str]) -> Table:
    import pyarrow as pa

    where = shards[number].where
    batches = open_batches(shards, number)
    with damaged(where):
        if not batches:
            raise IntegrityError("the file holds no rows", where=where)
        schema = batches[0].schema
        chosen = choose(schema, features_of(schema.metadata or {}) or described(shards), asked, where)
        needed = [*chosen.classes, *chosen.plain]
        data = {
            name: pa.chunked_array([batch.column(schema.get_field_index(name)) for batch in batches]) for name in needed
        }
        for column in data.values():
            column.validate(full=True)
        images = [_bytes(batch, chosen.image) for batch in batches]
        for column in images:
            column.validate(full=True)
        plain = {name: plain_values(data[name]) for name in chosen.plain}
        return Table(
            rows=sum(len(batch) for batch in batches),
            image=chosen.image,
            label=chosen.label,
            values={name: values_of(data[name], name, chosen, where) for name in chosen.classes},
            names=chosen.names,
            plain={name: values for name, values in plain.items() if values is not None},
            groups=tuple((len(batch), column.nbytes) for batch, column in zip(batches, images, strict=True)),
            others=(*chosen.others, *(name for name, values in plain.items() if values is None)),
            without=sum(column.null_count for column in images),
        )


def is_compressed(metadata: bytes) -> bool:
    """Whether a message's batch says that its bytes are compressed: the field `compression` of Arrow's `RecordBatch`.

    Args:
        metadata: The message's header, a FlatBuffer of Arrow's `Message`.

    Raises:
        ValueError, struct.error: It is none.
    """
    message = _at(metadata, 0)
    kind = _field(metadata, message, 1)
    header = _field(metadata, message, 2)
    if kind is None or header is None or metadata[kind] not in (_DICTIONARY, _BATCH):
        return False
    batch = _at(metadata, header)
    if metadata[kind] == _DICTIONARY:
        inner = _field(metadata, batch, 1)
        if inner is None:
            return False
        batch = _at(metadata, inner)
    return _field(metadata, batch, 3) is not None


def _at(data: bytes, place: int) -> int:
    """Find the beginning of the table that an offset at `place` leads to."""
    found = place + int(struct.unpack_from("<I", data, place)[0])
    if found >= len(data):
        raise ValueError("an offset beyond the end")
    return found


def _field(data: bytes, table: int, number: int) -> int | None:
    """Find the place of a field of a table; None if the table has none of this number."""
    names = table - int(struct.unpack_from("<i", data, table)[0])
    if not 0 <= names < len(data):
        raise ValueError("an offset beyond the end")
    size = int(struct.unpack_from("<H", data, names)[0])
    slot = 4 + 2 * number
    offset = int(struct.unpack_from("<H", data, names + slot)[0]) if slot + 2 <= size else 0
    return table + offset if offset else None
