"""`parquet:PATTERN`: Hugging Face image data sets as Parquet files.

    parquet:/data/beans                     its data/{train,validation,test}-00000-of-00001.parquet, each a split
    parquet:/data/beans/train-*.parquet     one split, "train"
    parquet:s3://bucket/beans/data
    parquet:/data/beans                     or its default/{train,test}/0000.parquet
    parquet:/data/beans@image=photo,label=kind

The image is a column of structures {bytes, path}, or of bytes; the label a column of integers, or of names, which are
then the classes, sorted. Which column is which is said behind the path or by `--columns` (`columns`); else it, and the
names of the classes, come from the metadata that Hugging Face's libraries write into the schema, else from
`dataset_info.json` or `classes.txt` beside the files. Other columns of class names, text and numbers are factors.

Parquet is read by row groups. Of up to 256 MB the groups stay in memory; beyond that each is read once and its images
are kept on the disk for temporary files, so that samples in any order are short reads: `spool`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from cvbench.errors import UnknownNameError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.columns import pairs_text, read_columns, split_columns
from cvbench.storage.datasets.formats.numbered import not_read
from cvbench.storage.datasets.formats.parquet_files import ParquetDataset, read_tables
from cvbench.storage.datasets.formats.row_columns import ROLES
from cvbench.storage.datasets.formats.rows import are_words, assemble, sorted_words
from cvbench.storage.datasets.formats.shard_tree import find_tree
from cvbench.storage.datasets.formats.sharded import ShardReader, is_whole, store_key
from cvbench.storage.datasets.formats.shards import Shards
from cvbench.storage.datasets.formats.split_names import split_named, split_of

_SPLIT_NAME = re.compile(r"(?P<split>[A-Za-z0-9_.]+)-\d+-of-\d+(-[0-9a-f]+)?\.parquet")
_DEFAULTS = ("test", "validation", "val", "train", "all")


class ParquetReader(ShardReader):
    """The reader of `parquet:PATTERN`."""

    suffix = ".parquet"
    roles = ROLES
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
        return tuple(split_files(self.pattern(split_columns(argument)[0], root)))

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """The folder of local files."""
        return super().locate(split_columns(argument)[0], root)

    def key(self, argument: str) -> str:
        """The name of the data set in a store."""
        return super().key(split_columns(argument)[0])

    def open(self, argument: str, root: Path | None, split: str | None) -> ParquetDataset:
        """One split; ids are `<file>/<row>`."""
        path, pairs = split_columns(argument)
        pattern, asked = self.pattern(path, root), read_columns(pairs, ROLES, f"parquet:{argument}")
        splits = split_files(pattern)
        chosen = next((name for name in _DEFAULTS if name in splits), next(iter(splits)))
        chosen = split_named(split, list(splits)) if split else chosen
        if chosen not in splits:
            raise UnknownNameError.among(f"split of {pattern}", chosen, splits, fix=f"splits: {', '.join(splits)}")
        shards = splits[chosen]
        tables = read_tables(shards, asked)
        others = [splits[name] for name in splits if name != chosen] if are_words(tables) else []
        words = sorted_words([*tables, *(table for some in others for table in read_tables(some, asked))], pattern)
        dataset = assemble(ParquetDataset, pattern, chosen, shards, tables, words)
        whole = is_whole(pattern, (".parquet",))
        return replace(
            dataset,
            name=store_key("parquet", pattern),
            spec=f"parquet:{pattern}{pairs_text(asked)}",
            left_out=(*dataset.left_out, *not_read(shards, whole)),
        )


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
    found = find_tree(pattern, (".parquet",))
    return Shards([shard for shards in found.values() for shard in shards])


def _split_of(where: str) -> str | None:
    folder, _, name = where.rpartition("/")
    match = _SPLIT_NAME.fullmatch(name)
    if match:
        return match["split"].lower()
    parent = folder.rpartition("/")[2]
    return parent.lower() if split_of(parent) else None
