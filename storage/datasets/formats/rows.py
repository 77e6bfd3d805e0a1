"""Data sets whose samples are the rows of files with the images in them: how the files of a split become one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.formats.parquet_files import ParquetDataset, Table
from cvbench.storage.datasets.formats.row_columns import LABELS
from cvbench.storage.datasets.formats.sharded import listed_classes
from cvbench.storage.datasets.formats.shards import Shards
from cvbench.storage.datasets.labels import classes_for, labels_of_cells
from cvbench.storage.datasets.left_out import SHOWN, LeftOut, shown_of, unlabelled

_Made = TypeVar("_Made", bound=ParquetDataset)


def are_words(tables: Sequence[Table]) -> bool:
    """Whether labels are names: then those of all splits together are the classes, so that labels agree."""
    return any(table.words for table in tables)


def sorted_words(tables: Iterable[Table], pattern: str) -> tuple[str, ...]:
    """The names that labels are in any of the tables, of all splits.

    Raises:
        IntegrityError: They are names in one table and numbers in another, so that one split's are not the other's.
    """
    tables = list(tables)
    labels = [table.values[table.label] for table in tables if table.label]
    kinds = {values.dtype.kind for values in labels if len(values) and (values.dtype.kind == "U" or values.max() >= 0)}
    if len(kinds) > 1:
        raise IntegrityError(
            "labels are names in one split and numbers in another",
            where=pattern,
            fix="write both alike; or name the files of one split",
        )
    return tuple(sorted({word for table in tables for word in table.words}))


def assemble(
    kind: type[_Made], pattern: str, split: str, shards: Shards, tables: Sequence[Table], words: tuple[str, ...]
) -> _Made:
    """Join the tables of a split's files; name and spec are left to the reader.

    Args:
        kind: Of the data set.
        words: What labels are where they are text, of all splits; empty if they are numbers.
    """
    first = tables[0]
    for shard, table in zip(shards, tables, strict=True):
        if (table.image, table.names, table.label) != (first.image, first.names, first.label):
            raise IntegrityError("the files of a split have different columns or classes", where=shard.where)
    rows = [table.rows for table in tables]
    if not sum(rows):
        raise DataUnavailableError("the files hold no image", where=pattern)
    if sum(rows) == (without := sum(table.without for table in tables)):
        raise DataUnavailableError(
            "the rows hold no image", where=pattern, fix="write the files with embedded images, not with their paths"
        )
    ids = tuple(f"{name}/{row:06d}" for name, count in zip(shards.names(), rows, strict=True) for row in range(count))
    columns = {name: np.concatenate([table.values[name] for table in tables]) for name in first.values}
    labels, classes = _labels(columns, first, ids, listed_classes(shards), words, pattern)
    groups = [group for table in tables for group in table.groups]
    common = set.intersection(*(set(table.plain) for table in tables))
    plain = {name: _joined([table.plain[name] for table in tables]) for name in first.plain if name in common}
    named = {name: _named(columns[name], first.names[name]) for name in columns if name != first.label}
    others = dict.fromkeys(name for table in tables for name in (*table.others, *(set(table.plain) - common)))
    return kind(
        name="",
        split=split,
        spec="",
        classes=classes,
        ids=ids,
        labels=labels,
        factors={**named, **plain},
        beside=frozenset(plain),
        shards=shards,
        image=first.image,
        group_shard=np.repeat(np.arange(len(shards), dtype=np.int32), [len(table.groups) for table in tables]),
        group_start=np.concatenate([[0], np.cumsum([count for count, _ in groups])]).astype(np.int64),
        group_bytes=np.array([size for _, size in groups], dtype=np.int64),
        left_out=(
            *_columns(first, tuple(others)),
            *([LeftOut("image", without)] if without else []),
            *unlabelled(ids, labels, "" if first.label else "no column label, nor one with names of classes"),
        ),
    )


def _labels(
    columns: dict[str, NDArray[Any]],
    table: Table,
    ids: Sequence[str],
    listed: tuple[str, ...],
    words: tuple[str, ...],
    pattern: str,
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """(N,) int64, and the names of the classes."""
    if table.label is None:
        return np.full(len(ids), -1, dtype=np.int64), listed
    values = columns[table.label]
    names = table.names.get(table.label, ()) or listed
    if values.dtype.kind == "U":
        # The words of all splits stand behind the cells, so that labels agree.
        cells = [*values.tolist(), *words]

        def place(row: int) -> str:
            return f"{pattern}: {ids[row] if row < len(ids) else 'another split'}"

        labels, classes = labels_of_cells(cells, names, place)
        return labels[: len(ids)], classes
    where = f"{pattern}: {ids[int(values.argmax())]}"
    return values, classes_for(names, int(values.max()), len(ids), where)


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The parts as one: text if any of them is."""
    if len({part.dtype.kind for part in parts}) > 1:
        parts = [part.astype(np.str_) for part in parts]
    return np.concatenate(parts)


def _columns(table: Table, others: tuple[str, ...]) -> tuple[LeftOut, ...]:
    """The columns that are not read, and that the labels were chosen among several."""
    found = [LeftOut("column", len(others), others[: shown_of("column")])] if others else []
    named = tuple(name for name in table.names if name != table.label)
    if table.label in table.names and table.label not in LABELS and named:
        found.append(LeftOut("choice", len(named), named[:SHOWN], f"the labels are those of {table.label}"))
    return tuple(found)


def _named(values: NDArray[np.int64], names: tuple[str, ...]) -> NDArray[np.str_]:
    """Class names of a factor; "" where there is none."""
    return np.array([*names, ""])[values]  # -1 is the last
