"""`parquet:PATTERN`: Hugging Face image data sets as Parquet files.

    parquet:/data/beans                     its data/{train,validation,test}-00000-of-00001.parquet, each a split
    parquet:/data/beans/train-*.parquet     one split, "train"
    parquet:s3://bucket/beans/data

The image is a column of structures {bytes, path}, or of bytes; the label a column of integers, or of names, which are
then the classes, sorted. Which column is which,
and the names of the classes, come from the metadata that Hugging Face's libraries write into the schema, else from
`dataset_info.json` or `classes.txt` beside the files. Other columns with class names become factors.

Parquet is read by row groups. Of up to 256 MB the groups stay in memory; beyond that each is read once and its images
are kept on the disk for temporary files, so that samples in any order are short reads: `spool`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError, UnknownNameError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.layout import split_named
from cvbench.storage.datasets.formats.numbered import not_read
from cvbench.storage.datasets.formats.parquet_files import LABELS, ParquetDataset, Table, read_tables
from cvbench.storage.datasets.formats.sharded import ShardReader, is_whole, labels_of_words, listed_classes, store_key
from cvbench.storage.datasets.formats.shards import Shards, find_shards
from cvbench.storage.datasets.labels import classes_for
from cvbench.storage.datasets.left_out import SHOWN, LeftOut, unlabelled

_SPLIT_NAME = re.compile(r"(?P<split>[A-Za-z0-9_.]+)-\d+-of-\d+(-[0-9a-f]+)?\.parquet")
_SPLIT_FOLDERS = ("test", "validation", "val", "train")
_DEFAULTS = ("test", "validation", "val", "train", "all")


class ParquetReader(ShardReader):
    """The reader of `parquet:PATTERN`."""

    suffix = ".parquet"
    info = DatasetInfo(
        name="parquet",
        title="Hugging Face image data sets (parquet:PATH)",
        splits=(),
        default_split="all",
        counts={},
        classes=None,
        licence="yours",
        homepage="your own files",
        tree="PATH: a folder, a pattern, or a URL (s3://, gs://, az://) of <split>-NNNNN-of-NNNNN.parquet\n"
        "with the columns image {bytes, path} and label; beside them, if you like, classes.txt",
        argument="PATH",
    )

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every image once."""
        return tuple(split_files(self.pattern(argument, root)))

    def open(self, argument: str, root: Path | None, split: str | None) -> ParquetDataset:
        """One split; ids are `<file>/<row>`."""
        pattern = self.pattern(argument, root)
        splits = split_files(pattern)
        chosen = next((name for name in _DEFAULTS if name in splits), next(iter(splits)))
        chosen = split_named(split, list(splits)) if split else chosen
        if chosen not in splits:
            raise UnknownNameError.among(f"split of {pattern}", chosen, splits, fix=f"splits: {', '.join(splits)}")
        shards = splits[chosen]
        tables = read_tables(shards)
        others = [splits[name] for name in splits if name != chosen] if _are_words(tables) else []
        words = {
            word for table in (*tables, *(t for some in others for t in read_tables(some))) for word in table.words
        }
        return _assemble(pattern, chosen, shards, tables, tuple(sorted(words)))


READER = ParquetReader()


def split_files(pattern: str) -> dict[str, Shards]:
    """Split -> its files, by `<split>-NNNNN-of-NNNNN.parquet` or the folder's name; "all" if one has neither."""
    found = _find(pattern)
    names = [_split_of(shard.where) for shard in found]
    if None in names:
        return {"all": found}
    known = [str(name) for name in names]
    return {
        split: Shards([shard for shard, name in zip(found, known, strict=True) if name == split])
        for split in dict.fromkeys(known)
    }


def _find(pattern: str) -> Shards:
    """The files of a pattern; those of a folder lie in it, or in its data/ or its folders of splits."""
    if "://" not in pattern and Path(pattern).is_dir() and not any(Path(pattern).glob("*.parquet")):
        inner = [Path(pattern) / name for name in ("data", *_SPLIT_FOLDERS)]
        folders = [str(folder) for folder in inner if folder.is_dir() and any(folder.glob("*.parquet"))]
        if folders:
            return Shards([shard for folder in folders for shard in find_shards(folder, (".parquet",))])
    return find_shards(pattern, (".parquet",))


def _split_of(where: str) -> str | None:
    folder, _, name = where.rpartition("/")
    match = _SPLIT_NAME.fullmatch(name)
    if match:
        return match["split"].lower()
    parent = folder.rpartition("/")[2]
    return parent if parent in _SPLIT_FOLDERS else None


def _are_words(tables: list[Table]) -> bool:
    """Whether labels are names: then those of all splits together are the classes, so that labels agree."""
    return any(table.words for table in tables)


def _assemble(pattern: str, split: str, shards: Shards, tables: list[Table], words: tuple[str, ...]) -> ParquetDataset:
    """Join the tables of a split's files.

    Args:
        words: The names that labels are, of all splits; empty if labels are numbers.
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
    return ParquetDataset(
        name=store_key("parquet", pattern),
        split=split,
        spec=f"parquet:{pattern}",
        classes=classes,
        ids=ids,
        labels=labels,
        factors={name: _named(columns[name], first.names[name]) for name in columns if name != first.label},
        shards=shards,
        image=first.image,
        group_shard=np.repeat(np.arange(len(shards), dtype=np.int32), [len(table.groups) for table in tables]),
        group_start=np.concatenate([[0], np.cumsum([count for count, _ in groups])]).astype(np.int64),
        group_bytes=np.array([size for _, size in groups], dtype=np.int64),
        left_out=(
            *_columns(first),
            *([LeftOut("image", without)] if without else []),
            *unlabelled(ids, labels, "" if first.label else "no column label, nor one with names of classes"),
            *not_read(shards, is_whole(pattern, (".parquet",))),
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
        names = names or words
        known = labels_of_words({row: word for row, word in enumerate(values.tolist()) if word}, names, ids, pattern)
        return np.array([known.get(row, -1) for row in range(len(ids))], dtype=np.int64), names
    where = f"{pattern}: {ids[int(values.argmax())]}"
    return values, classes_for(names, int(values.max()), len(ids), where)


def _columns(table: Table) -> tuple[LeftOut, ...]:
    """The columns that are not read, and that the labels were chosen among several."""
    found = [LeftOut("column", len(table.others), table.others[:SHOWN])] if table.others else []
    named = tuple(name for name in table.names if name != table.label)
    if table.label in table.names and table.label not in LABELS and named:
        found.append(LeftOut("choice", len(named), named[:SHOWN], f"the labels are those of {table.label}"))
    return tuple(found)


def _named(values: NDArray[np.int64], names: tuple[str, ...]) -> NDArray[np.str_]:
    """Class names of a factor; "" where there is none."""
    return np.array([*names, ""])[values]  # -1 is the last
