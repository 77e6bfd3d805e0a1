"""`wds:PATTERN`: WebDataset shards, plain tar files of images with their labels.

    wds:/data/val-{000..009}.tar        wds:/data/val        wds:s3://bucket/val/*.tar
    wds:/data/birds                     its train/*.tar, test/*.tar, each a split: `shard_tree`

Opening reads the headers of every shard once (all of a remote shard, in blocks) and keeps where each image lies; then a
sample is one ranged read, in any order. Memory: about 150 bytes a sample. What a sample is: see `tar_index`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, UnknownNameError
from cvbench.storage.datasets.base import DatasetInfo, check_unique
from cvbench.storage.datasets.formats.layout import ALL
from cvbench.storage.datasets.formats.listed import Listed
from cvbench.storage.datasets.formats.numbered import not_read
from cvbench.storage.datasets.formats.shard_tree import find_tree
from cvbench.storage.datasets.formats.sharded import ShardReader, is_whole, labels_of_words, listed_classes, store_key
from cvbench.storage.datasets.formats.shards import Shards
from cvbench.storage.datasets.formats.split_names import split_named, split_of
from cvbench.storage.datasets.formats.tar_index import Index, index_tar
from cvbench.storage.datasets.labels import classes_for
from cvbench.storage.datasets.left_out import merged, sorts_text, unlabelled

_READERS = 8  # shards that are indexed at a time from an object store


@dataclass(frozen=True, eq=False)
class TarDataset(Listed):
    """A data set whose sample `i` is `sizes[i]` bytes at `offsets[i]` of the shard `shard_of[i]`."""

    shards: Shards
    shard_of: NDArray[np.int32]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def read(self, index: int) -> bytes:
        """The image's bytes; refused if the shard's size is not the one found when the data set was opened."""
        return self.shards.read(int(self.shard_of[index]), int(self.offsets[index]), int(self.sizes[index]))

    @property
    def nbytes(self) -> int:
        """Bytes of the images."""
        return int(self.sizes.sum())

    def images(self) -> Mapping[str, NDArray[Any]]:
        """Places and sizes of the images, and sizes of the shards; not the contents."""
        return {"offset": self.offsets, "size": self.sizes, "shards": self.shards.sizes()}


class WdsReader(ShardReader):
    """The reader of `wds:PATTERN`."""

    suffix = ".tar"
    info = DatasetInfo(
        name="wds",
        title="WebDataset shards (wds:PATH)",
        splits=(),
        default_split="all",
        counts={},
        classes=None,
        licence="yours",
        homepage="your own shards",
        tree="PATH: a folder of .tar files, a pattern such as val-{000..009}.tar, or a URL (s3://, gs://, az://)\n"
        "in each <key>.{jpg,png,webp,...} and <key>.cls or <key>.json; beside them, if you like, classes.txt",
        argument="PATH",
    )

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every image once."""
        return tuple(_splits(self.pattern(argument, root)))

    def open(self, argument: str, root: Path | None, split: str | None) -> TarDataset:
        """All shards of the pattern, or of a split below it; ids are `<shard>/<key>`."""
        pattern = self.pattern(argument, root)
        splits = _splits(pattern)
        chosen = split_named(split, list(splits)) if split else next(iter(splits))
        if chosen not in splits:
            fix = "name the split in the pattern" if "all" in splits else f"splits: {', '.join(splits)}"
            raise UnknownNameError.among("split of wds", chosen, splits, fix=fix)
        shards = splits[chosen]
        remote = any(shard.remote for shard in shards)
        with ThreadPoolExecutor(_READERS if remote else 1) as pool:
            indices = list(pool.map(lambda i: _index(shards, i), range(len(shards))))
        return _assemble(pattern, chosen, shards, indices)


READER = WdsReader()


def _splits(pattern: str) -> dict[str, Shards]:
    """Split -> its shards, the default one first."""
    found: dict[str, Shards] = {}
    for folder, shards in find_tree(pattern, (".tar",)).items():
        split = split_of(folder.rpartition("/")[2]) or ALL
        if found.setdefault(split, shards) is not shards:
            raise DataUnavailableError(f"two folders are the split {split}", where=pattern, fix="name one of them")
    return {split: found[split] for split in sorted(found, key=("test", "val", "train", ALL).index)}


def _index(shards: Shards, number: int) -> Index:
    with shards.open(number) as handle:
        return index_tar(handle, shards[number].where)


def _assemble(pattern: str, split: str, shards: Shards, indices: list[Index]) -> TarDataset:
    members = [member for index in indices for member in index.members]
    left_out = merged([index.tally for index in indices])
    if not members:
        raise DataUnavailableError(
            "the shards hold no image",
            where=pattern,
            why="; ".join([*(entry.text for entry in left_out), *_fields(indices)]) or None,
            fix="images are found by their extension: <key>.jpg",
        )
    ids = tuple(f"{name}/{m.key}" for name, index in zip(shards.names(), indices, strict=True) for m in index.members)
    check_unique(ids, pattern)
    names = listed_classes(shards)
    words = {row: m.label for row, m in enumerate(members) if isinstance(m.label, str)}
    known = labels_of_words(words, names, ids, pattern)
    labels = np.array([known.get(row, m.label) for row, m in enumerate(members)], dtype=np.int64)
    why = "; ".join(["no .cls, no label or cls in .json", *_fields(indices)])
    return TarDataset(
        name=store_key("wds", pattern),
        split=split,
        spec=f"wds:{pattern}",
        classes=classes_for(names, int(labels.max()), len(ids), f"{pattern}: {ids[int(labels.argmax())]}"),
        ids=ids,
        labels=labels,
        shards=shards,
        shard_of=np.repeat(np.arange(len(shards), dtype=np.int32), [len(index.members) for index in indices]),
        offsets=np.array([member.offset for member in members], dtype=np.int64),
        sizes=np.array([member.size for member in members], dtype=np.int64),
        left_out=(*left_out, *unlabelled(ids, labels, why), *not_read(shards, is_whole(pattern, (".tar",)))),
    )


def _fields(indices: list[Index]) -> list[str]:
    """The other fields of the keys, in words; empty for none."""
    fields = sum((index.fields for index in indices), Counter[str]())
    return [f"other fields: {sorts_text(fields)}"] if fields else []
