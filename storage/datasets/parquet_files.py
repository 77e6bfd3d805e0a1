"""Parquet files of images: what is in their columns, and one image at a time."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.base import manifest_digest
from cvbench.storage.datasets.shards import Shards

CACHE_BYTES = 256 * 1024 * 1024
"""Row groups that one process keeps of a data set."""

MAX_GROUP = 2 * 1024 * 1024 * 1024
"""The largest row group that is read: all of it is in memory for one of its images."""

_IMAGES = ("image", "img")
_LABELS = ("label", "labels", "fine_label")


@dataclass(frozen=True)
class Table:
    """What one file holds, but for the images.

    Attributes:
        image: Dotted path of the column of bytes, such as "image.bytes".
        labels: Column -> (rows,) int64, -1 for null; the first is the label, others have class names.
        names: Column -> its class names.
        groups: (rows, bytes) of each row group.
    """

    rows: int
    image: str
    labels: dict[str, NDArray[np.int64]]
    names: dict[str, tuple[str, ...]]
    groups: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class ParquetDataset:
    """A data set whose samples are the rows of Parquet files.

    Attributes:
        group_shard: (G,) the file of each row group.
        group_start: (G + 1,) the sample that each row group starts with, and the number of samples.
        group_bytes: (G,) bytes of each row group, before compression.
    """

    name: str
    split: str
    spec: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    factors: Mapping[str, NDArray[Any]]
    shards: Shards
    image: str
    group_shard: NDArray[np.int32]
    group_start: NDArray[np.int64]
    group_bytes: NDArray[np.int64]
    _cache: GroupCache = field(default_factory=lambda: GroupCache(CACHE_BYTES))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def transform(self) -> None:
        """None: the images are taken as they are."""

    def read(self, index: int) -> bytes:
        """The image's bytes; its row group is read if it is not one of the last few."""
        group = int(np.searchsorted(self.group_start, index, side="right")) - 1
        images = self._cache.get(group)
        if images is None:
            images = self._read_group(group)
            self._cache.put(group, images, images.nbytes)
        data = images[index - int(self.group_start[group])].as_py()
        if data is None:
            raise IntegrityError(
                "the row holds a path and no image", where=self.ids[index], fix="write the files with embedded images"
            )
        return bytes(data)

    def _read_group(self, group: int) -> Any:
        shard = int(self.group_shard[group])
        within = group - int(np.searchsorted(self.group_shard, shard))
        with open_parquet(self.shards, shard) as file:
            chunks = file.read_row_group(within, columns=[self.image], use_threads=False).column(0).combine_chunks()
        return chunks.field("bytes") if self.image.endswith(".bytes") else chunks

    @property
    def nbytes(self) -> int:
        """Bytes of the files."""
        return self.shards.nbytes

    @cached_property
    def digest(self) -> str:
        """Hex sha256 over the manifest: ids, labels, factors, sizes of files and row groups; not the contents."""
        return manifest_digest(
            name=self.name,
            split=self.split,
            classes=self.classes,
            ids=self.ids,
            arrays={
                "label": self.labels,
                "group": self.group_bytes,
                "shards": np.array([shard.size for shard in self.shards], dtype=np.int64),
                **{f"factor {name}": values for name, values in self.factors.items()},
            },
        )


class GroupCache:
    """The row groups that were used last, up to a number of bytes; threads may share it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: OrderedDict[int, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: int) -> Any:
        """What was put, or None."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: int, value: Any, size: int) -> None:
        """Keep `value`, and let go of what was not used for longest; the newest always stays."""
        with self._lock:
            self._held[key] = (value, size)
            while len(self._held) > 1 and sum(held for _, held in self._held.values()) > self._limit:
                self._held.popitem(last=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return GroupCache, (self._limit,)  # another process starts empty


def open_parquet(shards: Shards, number: int) -> Any:
    """One file, opened by its footer.

    Raises:
        IntegrityError: It is no Parquet file, or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    handle = shards.open(number)
    try:
        return pq.ParquetFile(handle, pre_buffer=False)
    except (pa.ArrowException, OSError) as err:
        handle.close()
        if isinstance(err, DataUnavailableError):
            raise
        raise IntegrityError("no Parquet file, or damaged", where=shards[number].where, why=str(err)) from err


def read_tables(shards: Shards) -> list[Table]:
    """What every file holds, but for the images."""
    return [_read_table(shards, number) for number in range(len(shards))]


def _read_table(shards: Shards, number: int) -> Table:
    where = shards[number].where
    with open_parquet(shards, number) as file:
        schema, footer = file.schema_arrow, file.metadata
        features = _features(schema.metadata or {}) or _described(shards)
        names = {
            column: tuple(map(str, feature["names"]))
            for column, feature in features.items()
            if feature.get("_type") == "ClassLabel" and feature.get("names") and column in schema.names
        }
        label = next((name for name in (*_LABELS, *names) if name in schema.names), None)
        columns = [*([label] if label else []), *(name for name in names if name != label)]
        image = _image_column(schema, features, where)
        data = file.read(columns=columns, use_threads=False) if columns else None
        groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
        if any(group.total_byte_size > MAX_GROUP for group in groups):
            raise IntegrityError(
                f"a row group has more than {MAX_GROUP:,} bytes",
                where=where,
                fix="write the file with row groups of about 100 images",
            )
        return Table(
            rows=footer.num_rows,
            image=image,
            labels={name: _integers(data, name, len(names.get(name, ())), where) for name in columns},
            names=names,
            groups=tuple((group.num_rows, group.total_byte_size) for group in groups),
        )


def _features(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Column -> what Hugging Face's libraries know of it; empty if they did not write the file."""
    try:
        found = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return _plain(found)


def _described(shards: Shards) -> dict[str, Any]:
    """The same from `dataset_info.json` beside the files."""
    found = shards.beside("dataset_info.json")
    if found is None:
        return {}
    where, data = found
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as err:
        raise IntegrityError("dataset_info.json cannot be read", where=where, why=str(err)) from err
    return _plain(content.get("features") if isinstance(content, dict) else None)


def _plain(features: object) -> dict[str, Any]:
    return {k: v for k, v in features.items() if isinstance(v, dict)} if isinstance(features, dict) else {}


def _image_column(schema: Any, features: Mapping[str, Any], where: str) -> str:
    import pyarrow.types as kinds

    typed = [name for name, feature in features.items() if feature.get("_type") == "Image"]
    for name in (*typed, *_IMAGES):
        if name not in schema.names:
            continue
        kind = schema.field(name).type
        if kinds.is_binary(kind) or kinds.is_large_binary(kind):
            return str(name)
        if kinds.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return f"{name}.bytes"
    raise IntegrityError(
        "no column of images",
        where=where,
        why=f"expected image {{bytes, path}}; the columns are {', '.join(schema.names)}",
    )


def _integers(data: Any, name: str, known: int, where: str) -> NDArray[np.int64]:
    """(rows,) int64 of a column, -1 for null."""
    import pyarrow.types as kinds

    column = data.column(name)
    if not kinds.is_integer(column.type):
        raise IntegrityError(f"the column {name} holds {column.type}, expected integers", where=where)
    values = np.asarray(column.fill_null(-1).to_numpy(), dtype=np.int64)
    if len(values) and (values.min() < -1 or (known and values.max() >= known)):
        raise IntegrityError(f"the column {name} has values that are no class, such as {values.min()}", where=where)
    return values
