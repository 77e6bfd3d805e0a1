"""Caltech-101 (Fei-Fei et al. 2004): 8,677 photographs of 101 categories, and 467 of none.

    101_ObjectCategories/<Category>/image_NNNN.jpg

Sources differ in what a class is: torchvision leaves `BACKGROUND_Google` out (101 classes, the default here), VTAB
keeps it (102), CoOp leaves `Faces_easy` out too (100). Classes are sorted as strings, so capitals come first.

There is no official split. Ours follows VTAB's rule, 30 images of each class to train and the rest to test, but not its
membership, which depends on an order of files that is not published: here the 30 are the first by SHA-256 of
"<Category>/image_NNNN.jpg". Some images are grey.
"""

from __future__ import annotations

from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.files import Samples
from cvbench.storage.datasets.formats.lists import shuffled
from cvbench.storage.datasets.formats.scan import subfolders
from cvbench.storage.datasets.forms import COOP
from cvbench.storage.datasets.readers.coop import CoopReader
from cvbench.storage.datasets.readers.tree_reader import Tree, read_classes

TRAIN_PER_CLASS = 30
_TREE = "101_ObjectCategories"
_JSON = "split_zhou_Caltech101.json"
_LEFT_OUT = {"101": {"BACKGROUND_Google"}, "102": set[str](), "100": {"BACKGROUND_Google", "Faces_easy"}}
_IMAGES = {"101": 8_677, "102": 9_144, "100": 8_242}


def _rule(form: str) -> str:
    """Rule of the split, and its difference from VTAB's, which is of 102 classes."""
    rule = f"{TRAIN_PER_CLASS} training images of each class by SHA-256 of the path: VTAB's rule, not its members"
    return rule if form == "102" else f"{rule}; {form} classes, where VTAB has 102 (caltech101:102)"


def _counts(form: str) -> dict[str, int]:
    train = TRAIN_PER_CLASS * int(form)
    return {"train": train, "test": _IMAGES[form] - train, "all": _IMAGES[form]}


def _info(form: str) -> DatasetInfo:
    """Facts known of a set of classes."""
    return DatasetInfo(
        name="caltech101",
        title="Caltech-101",
        splits=("train", "test", "all"),
        default_split="test",
        counts=_counts(form),
        classes=int(form),
        licence="CC BY 4.0",
        homepage="https://data.caltech.edu/records/mzrjq-6wc02",
        tree=f"[caltech101/]{_TREE}/<Category>/image_NNNN.jpg",
        argument="101|102|100|coop",
        notes="train: of each class the 30 images that come first by SHA-256 of <Category>/image_NNNN.jpg\n"
        "test: the others\n101: no BACKGROUND_Google; 102: with it; 100: without Faces_easy too\n"
        f"coop: the splits of {_JSON}",
        split_rule=_rule(form),
        held_out=0.1,  # VTAB's 2,754 and 306
    )


def _read(tree: Tree) -> Samples:
    """By class and number."""
    folder = tree.folder / _TREE
    classes = [name for name in subfolders(folder) if name not in _LEFT_OUT[tree.form.label]]

    def part(images: list[str]) -> list[str]:
        train = set(shuffled(images)[:TRAIN_PER_CLASS])
        return [image for image in images if (image in train) == (tree.split == "train")]

    return read_classes(tree, folder, classes, part)


READER = CoopReader(
    info=_info("101"),
    forms=(*_LEFT_OUT, COOP),
    coop_file=_JSON,
    info_of=_info,
    places=("", "caltech101", "caltech-101", "caltech101/caltech-101", "Caltech101"),
    holds=lambda folder, root: (folder / _TREE).is_dir(),
    read=_read,
    images=_TREE,
)
