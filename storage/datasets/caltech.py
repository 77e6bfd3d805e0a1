"""Caltech-101 (Fei-Fei et al. 2004): 8,677 photographs of 101 categories, and 467 of none.

    101_ObjectCategories/<Category>/image_NNNN.jpg

Sources differ in what a class is: torchvision leaves `BACKGROUND_Google` out (101 classes, the default here), VTAB
keeps it (102), CoOp leaves `Faces_easy` out too (100). Classes are sorted as strings, so capitals come first.

There is no official split. Ours follows VTAB's rule, 30 images of each class to train and the rest to test, but not its
membership, which depends on an order of files that is not published: here the 30 are the first by SHA-256 of
"<Category>/image_NNNN.jpg". Some images are grey.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from cvbench.errors import DataUnavailableError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.coop import CoopReader
from cvbench.storage.datasets.files import FileDataset, file_sizes
from cvbench.storage.datasets.forms import COOP, Form
from cvbench.storage.datasets.lists import images_of, shuffled
from cvbench.storage.datasets.roots import first_match
from cvbench.storage.datasets.scan import subfolders
from cvbench.storage.folders import listing

TRAIN_PER_CLASS = 30
_TREE = "101_ObjectCategories"
_JSON = "split_zhou_Caltech101.json"
_FOLDERS = ("", "caltech101", "caltech-101", "caltech101/caltech-101", "Caltech101")
_LEFT_OUT = {"101": {"BACKGROUND_Google"}, "102": set[str](), "100": {"BACKGROUND_Google", "Faces_easy"}}
_IMAGES = {"101": 8_677, "102": 9_144, "100": 8_242}
_FORMS = (*_LEFT_OUT, COOP)


def _rule(form: str) -> str:
    """How the split differs from VTAB's, which is of 102 classes."""
    rule = f"{TRAIN_PER_CLASS} training images of each class by SHA-256 of the path: VTAB's rule, not its members"
    return rule if form == "102" else f"{rule}; {form} classes, where VTAB has 102 (caltech101:102)"


def _counts(form: str) -> dict[str, int]:
    train = TRAIN_PER_CLASS * int(form)
    return {"train": train, "test": _IMAGES[form] - train, "all": _IMAGES[form]}


class CaltechReader(CoopReader):
    """The reader of `caltech101`."""

    info = DatasetInfo(
        name="caltech101",
        title="Caltech-101",
        splits=("train", "test", "all"),
        default_split="test",
        counts=_counts("101"),
        classes=101,
        licence="CC BY 4.0",
        homepage="https://data.caltech.edu/records/mzrjq-6wc02",
        tree=f"[caltech101/]{_TREE}/<Category>/image_NNNN.jpg",
        argument="101|102|100|coop",
        notes="train: of each class the 30 images that come first by SHA-256 of <Category>/image_NNNN.jpg\n"
        "test: the others\n101: no BACKGROUND_Google; 102: with it; 100: without Faces_easy too\n"
        f"coop: the splits of {_JSON}",
        split_rule=_rule("101"),
        held_out=0.1,  # VTAB's 2,754 and 306
    )
    forms = _FORMS
    coop_file = _JSON
    images = _TREE

    def info_of(self, label: str) -> DatasetInfo:
        """Of another set of classes."""
        return replace(self.info, counts=_counts(label), classes=int(label), split_rule=_rule(label))

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """The folder with `101_ObjectCategories`."""
        return first_match(root, _FOLDERS, lambda folder: (folder / _TREE).is_dir())

    def read_tree(self, form: Form, folder: Path, split: str) -> FileDataset:
        """By class and number."""
        return _read_tree(form, folder / _TREE, split)


READER = CaltechReader()


def _read_tree(form: Form, folder: Path, split: str) -> FileDataset:
    classes = [name for name in subfolders(folder) if name not in _LEFT_OUT[form.label]]
    ids: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        everything = [f"{name}/{file}" for file in images_of(folder / name)]
        train = set(shuffled(everything)[:TRAIN_PER_CLASS])
        chosen = [image for image in everything if split == "all" or (image in train) == (split == "train")]
        ids += chosen
        labels += [label] * len(chosen)
    if not ids:
        raise DataUnavailableError(
            f"{form.spec}/{split} has no images", where=str(folder), why=f"found {listing(folder)}"
        )
    return FileDataset(
        name=form.name,
        split=split,
        spec=form.spec,
        classes=tuple(classes),
        ids=tuple(ids),
        labels=np.array(labels, dtype=np.int64),
        root=folder,
        sizes=file_sizes(folder, ids),
    )
