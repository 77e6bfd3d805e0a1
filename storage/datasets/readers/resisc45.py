"""NWPU-RESISC45 (Cheng et al. 2017): 31,500 aerial photographs of 256 x 256, 700 for each of 45 kinds of scenes.

    NWPU-RESISC45/<class>/<class>_NNN.jpg

There is no official split. Ours has VTAB's counts, 60 % of each class to train, 20 % to validate, 20 % to test, but not
its membership, which follows the order in which TensorFlow Datasets stores the images: here each class is ordered by
SHA-256 of "<class>/<class>_NNN.jpg". Classes are folder names, sorted as strings.
"""

from __future__ import annotations

from pathlib import Path

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.files import Samples
from cvbench.storage.datasets.formats.lists import shuffled
from cvbench.storage.datasets.formats.scan import subfolders
from cvbench.storage.datasets.readers.tree_reader import Tree, TreeReader, read_classes

CLASSES = 45
_SOME = ("airplane", "baseball_diamond", "beach", "cloud", "railway_station")
"""Folders by which the tree is known."""


def _read(tree: Tree) -> Samples:
    """By class and number."""
    classes = subfolders(tree.folder)
    if len(classes) != CLASSES:
        raise IntegrityError(
            f"{len(classes)} class folders, {CLASSES} were published",
            where=str(tree.folder),
            fix="unpack the archive again, or read the folder as folder:PATH",
        )

    def part(images: list[str]) -> list[str]:
        order, n = shuffled(images), len(images)
        bounds = {"train": (0, n * 3 // 5), "val": (n * 3 // 5, n * 4 // 5), "test": (n * 4 // 5, n)}
        chosen = set(order[slice(*bounds[tree.split])])
        return [image for image in images if image in chosen]

    return read_classes(tree, tree.folder, classes, part)


def _holds(folder: Path, root: Path) -> bool:
    return sum((folder / name).is_dir() for name in _SOME) > 2


READER = TreeReader(
    info=DatasetInfo(
        name="resisc45",
        title="NWPU-RESISC45",
        splits=("train", "val", "test", "all"),
        default_split="test",
        counts={"train": 18_900, "val": 6_300, "test": 6_300, "all": 31_500},
        classes=CLASSES,
        licence="none stated; research purposes, cite Cheng et al. 2017",
        homepage="https://gcheng-nwpu.github.io/",
        tree="[resisc45/]NWPU-RESISC45/<class>/<class>_NNN.jpg",
        notes="train, val, test: 60, 20 and 20 % of each class, in the order of SHA-256 of <class>/<class>_NNN.jpg",
        split_rule="60, 20 and 20 % of each class by SHA-256 of the path: VTAB's counts, not its members",
    ),
    places=("NWPU-RESISC45", "resisc45/NWPU-RESISC45", "resisc45", "RESISC45", "RESISC45/NWPU-RESISC45", ""),
    holds=_holds,
    read=_read,
)
