"""ImageNet-1k's validation set: 50,000 images, 50 for each of 1000 classes (Russakovsky et al. 2015).

These layouts are read, under the data root itself or under `imagenet/` in it:

    val/<WordNet id>/ILSVRC2012_val_000NNNNN.JPEG              torchvision, timm
    images/val/<WordNet id>/...                                CoOp
    imagenet-val/<WordNet id>/...                              EasyRobust
    <WordNet id>/...
    validation/<WordNet id>/...
    ILSVRC/Data/CLS-LOC/val/                                   Kaggle, with LOC_val_solution.csv
    val/ or ILSVRC2012_img_val/, one flat folder, and its labels in another file or the files' names: `imagenet_flat`

Folders with other names are refused: numbers in the order of the development kit would give an accuracy of 0.1 %.
So are files with other names: annotations (ReaL, ImageNet-X) are found by the number in them. Nothing is written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.files import Samples
from cvbench.storage.datasets.formats.scan import image_files, visible
from cvbench.storage.datasets.left_out import Tally
from cvbench.storage.datasets.readers.class_tree import holds, named_folders, read_images
from cvbench.storage.datasets.readers.imagenet_classes import class_indices, imagenet_wnids
from cvbench.storage.datasets.readers.imagenet_flat import flat_labels, named_labels
from cvbench.storage.datasets.readers.tree_reader import Tree, TreeReader

_TOPS = ("imagenet", "ImageNet", "imagenet-1k", "ILSVRC2012", "imagenet-object-localization-challenge", "")
_KAGGLE = "ILSVRC/Data/CLS-LOC/val"
_BELOW = ("val", "images/val", "imagenet-val", "ILSVRC2012_img_val", "validation", _KAGGLE, "Data/CLS-LOC/val", "")
_PLACES = tuple("/".join(part for part in (top, below) if part) for below in _BELOW for top in _TOPS)
_NAME = re.compile(r"ILSVRC2012_val_([0-9]{8})(?:_n[0-9]{8})?\.[A-Za-z]+")
_COUNT = 50_000


def image_numbers(folder: Path, ids: Sequence[str]) -> NDArray[np.int64]:
    """(N,) int64, the number from 1 in each file's name.

    Raises:
        IntegrityError: A file is not named as an image of the validation set is, or a number occurs twice.
    """
    numbers = np.zeros(len(ids), dtype=np.int64)
    seen: dict[int, str] = {}
    for i, sample in enumerate(ids):
        match = _NAME.fullmatch(sample.rpartition("/")[2])
        number = int(match.group(1)) if match else 0
        if not 1 <= number <= _COUNT:
            raise IntegrityError(
                "not the name of a validation image",
                where=str(folder / sample),
                why="expected ILSVRC2012_val_00000001.JPEG to ILSVRC2012_val_00050000.JPEG",
                fix="point --data-root to the validation set, or read the folder as folder:PATH",
            )
        if number in seen:
            raise IntegrityError(f"image {number} is there twice: also {seen[number]}", where=str(folder / sample))
        seen[number] = sample
        numbers[i] = number
    return numbers


def _holds(folder: Path, root: Path) -> bool:
    """Whether it is the folder of the class folders, or of the images if they lie flat."""
    # Numbers are refused when they are read; but a data root may hold folders of numbers for any other reason.
    if holds(folder, wnids=True, numbers=folder.name.endswith(("val", "validation"))):
        return True
    return folder.is_dir() and any(_NAME.fullmatch(entry.name) for entry in visible(folder))


def _read(tree: Tree) -> Samples:
    """All images: by class and then by number, or by number if they lie flat."""
    images = _in_classes(tree) if holds(tree.folder, wnids=True, numbers=True) else _flat(tree)
    return replace(images, factors={"image_number": image_numbers(tree.folder, images.ids)})


def _in_classes(tree: Tree) -> Samples:
    folder = tree.folder
    labelled = named_folders(folder, class_indices(), tree.info)
    if beside := [name for name, _ in image_files(folder) if _NAME.fullmatch(name)]:
        raise IntegrityError(
            f"{len(beside):,} validation images lie beside the class folders: they were not all sorted into them",
            where=str(folder / beside[0]),
            fix="run what sorts them into class folders to its end",
        )
    return read_images(folder, imagenet_wnids(), labelled, tree.info)


def _flat(tree: Tree) -> Samples:
    tally = Tally()
    found = image_files(tree.folder, tally)  # the archive's order is not that of the names
    ids = [name for name, _ in found]
    labels = named_labels(tree.folder, ids)
    if labels is None:
        labels = flat_labels(tree.folder, tree.root, image_numbers(tree.folder, ids), tree.info)
    sizes = np.array([size for _, size in found], dtype=np.int64)
    return Samples(imagenet_wnids(), ids, labels, sizes, left_out=tally.result())


READER = TreeReader(
    info=DatasetInfo(
        name="imagenet-val",
        title="ImageNet-1k, validation (ILSVRC 2012)",
        splits=("val",),
        default_split="val",
        counts={"val": _COUNT},
        classes=1000,
        licence="terms of access of ImageNet: non-commercial research and education",
        homepage="https://image-net.org/download.php",
        tree="[imagenet/][val/|images/val/|imagenet-val/]<WordNet id>/ILSVRC2012_val_NNNNNNNN.JPEG\n"
        "or val/ILSVRC2012_val_NNNNNNNN.JPEG with ILSVRC2012_devkit_t12/data/ or filename_label.csv\n"
        f"or {_KAGGLE}/ILSVRC2012_val_NNNNNNNN.JPEG with LOC_val_solution.csv\n"
        "or val/ILSVRC2012_val_NNNNNNNN_<WordNet id>.JPEG",
    ),
    places=_PLACES,
    holds=_holds,
    read=_read,
    covering=("val",),
    own_places=True,
)
