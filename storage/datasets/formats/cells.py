"""A table of samples in any of its forms: .csv, .tsv, .jsonl or .parquet, on disk or in an object store."""

from __future__ import annotations

import io
import os
import shlex
from typing import Any

from cvbench.errors import IntegrityError, UsageError
from cvbench.storage.datasets.formats.absent import absent
from cvbench.storage.datasets.formats.list_boxes import without_lists
from cvbench.storage.datasets.formats.parquet_files import MAX_ROWS_PER_BYTE, damaged, open_parquet
from cvbench.storage.datasets.formats.shards import Shard, Shards
from cvbench.storage.datasets.formats.text_table import LISTS, MAX_CELL, READERS, Cells, list_text, plain_text
from cvbench.storage.objects.bucket import Bucket

MAX_BYTES = 2 * 1024 * 1024 * 1024
"""The largest table of text that is read."""

_PARQUET = ".parquet"
SUFFIXES = (*READERS, _PARQUET)


def read_cells(where: str) -> Cells:
    """The cells of a table. Memory: theirs, some 100 bytes each; the file itself is streamed.

    Args:
        where: An absolute path, or the URL of an object.

    Raises:
        UsageError: Its suffix is none of SUFFIXES, or no object store's URL.
        DataUnavailableError: It is not there.
        IntegrityError: It is damaged, or too large.
    """
    suffix = os.path.splitext(where)[1].lower()
    if suffix not in SUFFIXES:
        folder = "://" not in where and os.path.isdir(where)
        raise UsageError(
            f"a table is a file that ends in {', '.join(SUFFIXES)}",
            where=where,
            fix=f"--dataset {shlex.quote(f'folder:{where}')}" if folder else "save it as one of these",
        )
    file = Shards([_found(where)])
    if suffix == _PARQUET:
        return without_lists(_parquet(file, where))
    if file.nbytes > MAX_BYTES:
        raise IntegrityError(f"the table has more than {MAX_BYTES:,} bytes", where=where, fix="write it as Parquet")
    with file.open(0) as handle:
        buffered: Any = io.BufferedReader(handle) if isinstance(handle, io.RawIOBase) else handle
        return without_lists(READERS[suffix](buffered, where))


def _found(where: str) -> Shard:
    if "://" not in where:
        if not os.path.isfile(where):
            raise absent("the table", where, SUFFIXES)
        return Shard(where, os.path.getsize(where))
    url, key = Bucket.split(where)
    size = Bucket(url).size(key)
    if size is None:
        raise absent("the table", where, SUFFIXES)
    return Shard(where, size)


def _parquet(file: Shards, where: str) -> Cells:
    """Text, numbers and truth values as cells; other columns, such as lists and images, are left."""
    import pyarrow.types as kinds

    with open_parquet(file, 0) as found, damaged(where):
        schema, rows = found.schema_arrow, found.metadata.num_rows
        if rows > MAX_ROWS_PER_BYTE * file.nbytes:
            raise IntegrityError(f"{rows:,} rows in {file.nbytes:,} bytes", where=where)
        if len(set(schema.names)) != len(schema.names):
            raise IntegrityError("the table has a column twice", where=where, why=", ".join(schema.names[:8]))
        texts = tuple(
            field.name for field in schema if kinds.is_string(field.type) or kinds.is_large_string(field.type)
        )
        plain = {field.name for field in schema if _is_plain(field.type)}
        lists = {field.name for field in schema if field.name.lower() in LISTS and _is_list(field.type)}
        lists = {name for name in lists if _is_short(found.metadata, name, rows)}
        taken = [name for name in schema.names if name in texts or name in plain or name in lists]
    columns: dict[str, list[str]] = {name: [] for name in taken}
    with open_parquet(file, 0, folded=texts) as found, damaged(where):
        for batch in found.iter_batches(columns=taken, use_threads=False) if taken else ():
            for name in taken:
                column = batch.column(batch.schema.get_field_index(name))
                columns[name] += map(list_text, column.to_pylist()) if name in lists else _texts(column, name, where)
    left = tuple(name for name in schema.names if name not in columns)
    return Cells(where, columns, range(1, rows + 1), left)


def _is_plain(kind: Any) -> bool:
    import pyarrow.types as kinds

    return any(
        test(kind)
        for test in (kinds.is_integer, kinds.is_floating, kinds.is_boolean, kinds.is_date, kinds.is_timestamp)
    ) or (kinds.is_dictionary(kind) and (kinds.is_string(kind.value_type) or kinds.is_large_string(kind.value_type)))


def _is_list(kind: Any) -> bool:
    """Whether a type is a list of numbers."""
    import pyarrow.types as kinds

    lists = (kinds.is_list, kinds.is_large_list, kinds.is_fixed_size_list)
    return any(test(kind) for test in lists) and (
        kinds.is_integer(kind.value_type) or kinds.is_floating(kind.value_type)
    )


def _is_short(footer: Any, name: str, rows: int) -> bool:
    """Whether a column of lists has as many values as boxes have: a list may be long, however few bytes it takes."""
    values = 0
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        columns = (group.column(at) for at in range(group.num_columns))
        values += sum(column.num_values for column in columns if column.path_in_schema.split(".")[0] == name)
    return values <= 4 * rows


def _texts(column: Any, name: str, where: str) -> list[str]:
    import pyarrow.types as kinds

    if not kinds.is_dictionary(column.type):
        return [plain_text(value) for value in column.to_pylist()]
    words = [plain_text(word) for word in column.dictionary.to_pylist()]
    if long := next((word for word in words if len(word) > MAX_CELL), None):
        raise IntegrityError(f"the column {name} has a cell of {len(long):,} characters", where=where)
    return [words[at] if at is not None else "" for at in column.indices.to_pylist()]
