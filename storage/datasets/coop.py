"""The splits `split_zhou_<Name>.json` that CoOp (Zhou et al. 2022) and its successors train and test on.

    {"train": [[<path below the folder of images>, <label from 0>, <class name>], ...], "val": [...], "test": [...]}

The file lies beside the data set's folder of images or one level above. Labels and class names are the file's own.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.base import DatasetInfo, check_unique
from cvbench.storage.datasets.files import FileDataset, file_sizes
from cvbench.storage.datasets.forms import COOP, Form, form_of
from cvbench.storage.datasets.lists import below
from cvbench.storage.datasets.roots import absent
from cvbench.storage.folders import listing

SPLITS = ("train", "val", "test", "all")
MAX_BYTES = 64 * 1024 * 1024
"""The largest file that is read; SUN397's, the longest, has 3 MB."""

Entries = list[tuple[str, int]]


class CoopReader:
    """What the readers share whose data sets CoOp has split too.

    Attributes:
        info: Of the data set.
        forms: What may follow the colon, the usual form first, `COOP` among them.
        coop_file: CoOp's file.
        images: The folder, below that of `locate`, from which the paths in CoOp's file start.
    """

    info: DatasetInfo
    forms: tuple[str, ...]
    coop_file: str
    images: str = ""

    def variant(self, argument: str) -> DatasetInfo:
        """What is known of another form."""
        label = form_of(self.info, argument, self.forms).label
        return coop_info(self.info, self.coop_file) if label == COOP else self.info_of(label)

    def info_of(self, label: str) -> DatasetInfo:
        """Of a form that is not CoOp's."""
        return self.info

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every image once."""
        return ("all",)

    def open(self, argument: str, root: Path | None, split: str | None) -> FileDataset:
        """One split; by default the data set's own default."""
        form = form_of(self.info, argument, self.forms)
        folder = self.locate(argument, root)
        if folder is None:
            raise absent(self.info, root)
        chosen = split or self.info.default_split
        if form.label == COOP:
            return open_coop(form, self.coop_file, folder / self.images, chosen)
        return self.read_tree(form, folder, chosen)

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """Where the files are, without reading them; None if nowhere under `root`."""
        raise NotImplementedError

    def read_tree(self, form: Form, folder: Path, split: str) -> FileDataset:
        """One split of a form that is not CoOp's."""
        raise NotImplementedError


def coop_info(info: DatasetInfo, file: str) -> DatasetInfo:
    """What is known of the form before its file is read: nothing but the names of the splits."""
    return replace(
        info,
        splits=SPLITS,
        default_split="test",
        counts={},
        classes=None,
        tree=f"{info.tree}\n{file}",
        notes="",
        split_rule=f"the splits of {file}",
        held_out=0.0,
    )


def open_coop(form: Form, file: str, images: Path, split: str) -> FileDataset:
    """One split.

    Args:
        file: Name of the JSON file.
        images: The folder that its paths start from.

    Raises:
        DataUnavailableError: The file is not there.
        IntegrityError: It has another form.
    """
    path = next((folder / file for folder in (images, *images.parents[:2]) if (folder / file).is_file()), None)
    if path is None:
        raise DataUnavailableError(
            f"{form.spec} lacks {file}",
            where=str(images.parent),
            why=f"found {listing(images.parent)}",
            fix="get it where CoOp's DATASETS.md says, and put it beside the folder of images",
        )
    splits, classes = _read(path)
    check_unique([name for entries in splits.values() for name, _ in entries], str(path))
    entries = [entry for key in SPLITS[:3] if split in (key, "all") for entry in splits[key]]
    if not entries:
        raise DataUnavailableError(f"{form.spec}/{split} has no images", where=str(path))
    ids = tuple(name for name, _ in entries)
    return FileDataset(
        name=form.name,
        split=split,
        spec=form.spec,
        classes=classes,
        ids=ids,
        labels=np.array([label for _, label in entries], dtype=np.int64),
        root=images,
        sizes=file_sizes(images, ids),
    )


def _read(path: Path) -> tuple[dict[str, Entries], tuple[str, ...]]:
    """The entries of each split, and the class names by label."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise IntegrityError("the file is larger than any list of splits", where=str(path))
        content = json.loads(path.read_bytes())
    except OSError as err:
        raise DataUnavailableError("cannot read the list of splits", where=str(path), why=str(err)) from err
    except (ValueError, RecursionError) as err:
        raise IntegrityError("the list of splits is no JSON", where=str(path), why=str(err)) from err
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in SPLITS[:3]):
        raise IntegrityError("not a list of splits: expected train, val and test", where=str(path))
    names: dict[int, str] = {}
    splits: dict[str, Entries] = {key: [] for key in SPLITS[:3]}
    for key, entries in splits.items():
        for number, entry in enumerate(content[key]):
            where = f"{path}: {key}[{number}]"
            match entry:
                case [str(name), int(label), str(title)] if type(label) is int and label >= 0:
                    entries.append((below(name, where), label))
                case _:
                    raise IntegrityError(f"expected [path, label, class name], found {str(entry)[:80]}", where=where)
            if names.setdefault(label, title) != title:
                raise IntegrityError(f"label {label} is {names[label]!r} and {title!r}", where=where)
    if sorted(names) != list(range(len(names))):
        raise IntegrityError("the labels are not numbered from 0 without a gap", where=str(path))
    return splits, tuple(names[label] for label in range(len(names)))
