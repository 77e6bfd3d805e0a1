"""Shards in folders of splits: which files are of which split.

ROOT/*.tar                              no splits: "all"
ROOT/{train,validation,test}/*.tar      as CLIP benchmark's WebDataset folders, and exports of Hugging Face's hub,
ROOT/default/{train,test}/*.parquet     which have a folder for the configuration above; likewise ROOT/data/train
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cvbench.errors import DataUnavailableError
from cvbench.storage.datasets.formats.absent import holds
from cvbench.storage.datasets.formats.shards import Shards, find_shards
from cvbench.storage.datasets.formats.split_names import split_of
from cvbench.storage.objects.bucket import Bucket


def find_tree(pattern: str, suffixes: Sequence[str]) -> Mapping[str, Shards]:
    """Folder below the pattern -> its shards: "" for the files of the pattern itself, else folders of splits.

    Raises:
        DataUnavailableError: There are none; or folders of splits in several configurations.
        UsageError: As `find_shards`.
    """
    if _is_pattern(pattern) or pattern.endswith(tuple(suffixes)):
        return {"": find_shards(pattern, suffixes)}
    folders = dict.fromkeys(sorted(_folders(pattern, tuple(suffixes))))
    if "" in folders:
        return {"": find_shards(pattern, suffixes)}
    splits = [folder for folder in folders if folder.count("/") < 2 and split_of(folder.rpartition("/")[2])]
    if "data" in folders:
        splits = ["data"]
    above = {folder.rpartition("/")[0] for folder in splits}
    if len(above) > 1 and "" not in above:
        raise DataUnavailableError(
            f"there are several configurations: {', '.join(sorted(above))}",
            where=pattern,
            fix=f"name one of them: {pattern.rstrip('/')}/{min(above)}",
        )
    chosen = [folder for folder in splits if folder.rpartition("/")[0] == min(above)] if splits else []
    if not chosen:
        local = "://" not in pattern
        raise DataUnavailableError(
            "no shard matches",
            where=pattern,
            why=holds(Path(pattern)) if local else None,
            fix=f"give files, a folder or a pattern of files that end in {', '.join(suffixes)}",
        )
    return {folder: find_shards(f"{pattern.rstrip('/')}/{folder}", suffixes) for folder in chosen}


def _is_pattern(pattern: str) -> bool:
    """Whether some of its characters choose among names, and it is no folder of that name."""
    return bool(re.search(r"[{*?\[]", pattern)) and not ("://" not in pattern and os.path.isdir(pattern))


def _folders(pattern: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """The folders, relative and at most two deep, that hold shards."""
    if "://" in pattern:
        url, key = Bucket.split(pattern.rstrip("/"))
        within = f"{key}/" if key else ""
        for name in Bucket(url).sizes(within):
            if name.endswith(suffixes):
                yield name[len(within) :].rpartition("/")[0]
        return
    for depth in ("", "*", "*/*"):
        for folder in sorted(Path(pattern).glob(depth)) if depth else [Path(pattern)]:
            if folder.is_dir() and any(name.endswith(suffixes) for name in os.listdir(folder)):
                yield folder.relative_to(pattern).as_posix() if depth else ""
