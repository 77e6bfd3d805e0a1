"""`hf:FOLDER`: a data set that Hugging Face's `datasets` has saved to disk.

    hf:/data/beans      dataset_dict.json, which lists the splits, and train/, validation/, test/; or of one split alone
                        state.json, which lists data-00000-of-00001.arrow, ..., and dataset_info.json

The columns are found as those of Parquet files are, or named: `hf:/data/beans@image=photo,label=kind`. The package
`datasets` is not needed. What lies in the cache of its `load_dataset` is not read: save it to disk first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cvbench.errors import DataUnavailableError, IntegrityError, UnknownNameError, UsageError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.columns import pairs_text, read_columns, split_columns
from cvbench.storage.datasets.formats.arrow_files import ArrowDataset, read_arrow
from cvbench.storage.datasets.formats.files import read_bounded
from cvbench.storage.datasets.formats.layout import ALL
from cvbench.storage.datasets.formats.lists import below
from cvbench.storage.datasets.formats.row_columns import ROLES
from cvbench.storage.datasets.formats.rows import are_words, assemble, sorted_words
from cvbench.storage.datasets.formats.shards import MAX_BESIDE, Shard, Shards
from cvbench.storage.datasets.formats.split_names import split_named, split_of
from cvbench.storage.datasets.roots import absolute_path
from cvbench.storage.objects.folders import listing
from cvbench.texts import parse_json

SPLITS, STATE = "dataset_dict.json", "state.json"
_ORDER = ("test", "val", "train")


class HfReader:
    """The reader of `hf:FOLDER`."""

    roles = ROLES
    info = DatasetInfo(
        name="hf",
        title="Hugging Face data sets saved to disk (hf:PATH)",
        splits=(),
        default_split="",
        counts={},
        classes=None,
        licence="yours",
        homepage="your own files: dataset.save_to_disk(PATH)",
        tree=f"PATH: a folder with {SPLITS} and <split>/{{{STATE},data-NNNNN-of-NNNNN.arrow}}\n"
        f"or with {STATE} and data-NNNNN-of-NNNNN.arrow",
        argument="PATH",
        notes="hf:PATH@image=COLUMN,label=COLUMN or --columns names columns",
    )

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """The folder itself, if it is one."""
        path = Path(absolute_path(split_columns(argument)[0], root))
        return path if argument and path.is_dir() else None

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every image once."""
        return tuple(_splits(self._folder(argument, root)))

    def key(self, argument: str) -> str:
        """The name of the data set in a store."""
        name = Path(split_columns(argument)[0]).name.lower()
        return f"hf-{re.sub(r'[^a-z0-9._-]+', '-', name).strip('-._') or 'data'}"

    def open(self, argument: str, root: Path | None, split: str | None) -> ArrowDataset:
        """One split; by default test, val, train, whichever comes first. Ids are `<file>/<row>`."""
        folder = self._folder(argument, root)
        asked = read_columns(split_columns(argument)[1], ROLES, f"hf:{argument}")
        splits = _splits(folder)
        chosen = split_named(split, list(splits)) if split else next(iter(splits))
        if chosen not in splits:
            raise UnknownNameError.among(f"split of {folder}", chosen, splits, fix=f"splits: {', '.join(splits)}")
        shards = _files(splits[chosen])
        tables = read_arrow(shards, asked)
        others = [_files(splits[name]) for name in splits if name != chosen] if are_words(tables) else []
        words = sorted_words([*tables, *(table for some in others for table in read_arrow(some, asked))], str(folder))
        dataset = assemble(ArrowDataset, str(folder), chosen, shards, tables, words)
        return replace(dataset, name=self.key(str(folder)), spec=f"hf:{folder}{pairs_text(asked)}")

    def _folder(self, argument: str, root: Path | None) -> Path:
        if not argument:
            raise UsageError("hf needs a folder", fix="hf:PATH, what dataset.save_to_disk(PATH) wrote")
        path = split_columns(argument)[0]
        if "://" in path:
            raise UsageError(
                f"a saved data set is read from this machine, not from {path}", fix="copy it, or save it as Parquet"
            )
        return Path(absolute_path(path, root))


READER = HfReader()


def _splits(folder: Path) -> Mapping[str, Path]:
    """Split -> its folder, the default one first."""
    if (folder / STATE).is_file():
        return {ALL: folder}
    if not (folder / SPLITS).is_file():
        raise DataUnavailableError(
            "no data set was saved there",
            where=str(folder),
            why=f"expected {SPLITS} or {STATE}; found {listing(folder)}",
            fix="dataset.save_to_disk(PATH) of Hugging Face's `datasets` writes it; parquet:PATH reads Parquet files",
        )
    names = _json(folder / SPLITS).get("splits")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise IntegrityError("no list of splits", where=str(folder / SPLITS))
    found = {str(name): folder / below(str(name), str(folder / SPLITS)) for name in names}
    rank = {name: _ORDER.index(split_of(name) or "train") if split_of(name) else len(_ORDER) for name in found}
    return {name: found[name] for name in sorted(found, key=lambda name: (rank[name], name))}


def _files(folder: Path) -> Shards:
    """The files of a split, as its state lists them: further files are of other states."""
    where = folder / STATE
    if not where.is_file():
        raise DataUnavailableError("a split is not there", where=str(folder), why=f"found {listing(folder)}")
    listed = _json(where).get("_data_files")
    names = [one.get("filename") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise IntegrityError("no list of files", where=str(where))
    if _json(where).get("_indices_data_files"):
        raise IntegrityError(
            "the data set was saved with a selection of rows apart from them",
            where=str(where),
            fix="dataset.flatten_indices().save_to_disk(PATH)",
        )
    shards = []
    for name in names:
        path = str(folder / below(str(name), str(where)))
        if not os.path.isfile(path):
            raise DataUnavailableError("a file of the data set is gone", where=path, why=f"found {listing(folder)}")
        shards.append(Shard(path, os.path.getsize(path)))
    return Shards(shards)


def _json(path: Path) -> dict[str, Any]:
    data = read_bounded(path, MAX_BESIDE, what="a saved data set", too_large="the file has {size} bytes")
    found = parse_json(data, "a file of the saved data set cannot be read", str(path))
    if not isinstance(found, dict):
        raise IntegrityError("a file of the saved data set holds no object", where=str(path))
    return found
