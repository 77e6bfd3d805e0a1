"""Diabetic retinopathy (Kaggle and EyePACS 2015): 88,702 photographs of retinas in five stages of the disease.

    train/<n>_{left,right}.jpeg, trainLabels.csv                    image,level
    test/<n>_{left,right}.jpeg, retinopathy_solution.csv            image,level,Usage

The labels of the test images were published after the competition: "val" is the part on which its public ranking was
made, "test" the part of the final one, both VTAB's members (tensorflow_datasets/image_classification/
diabetic_retinopathy_detection.py). VTAB resizes, filters and crops the images first (its configuration btgraham-300);
here they are as they were published.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.base import DatasetInfo, check_unique
from cvbench.storage.datasets.formats.files import Samples
from cvbench.storage.datasets.formats.lists import below
from cvbench.storage.datasets.formats.scan import listed_images
from cvbench.storage.datasets.readers.tree_reader import Tree, TreeReader
from cvbench.texts import read_records

CLASSES = ("no retinopathy", "mild", "moderate", "severe", "proliferative")
_TRAIN, _TEST = "trainLabels.csv", "retinopathy_solution.csv"
MAX_BYTES = 64 * 1024 * 1024
"""The largest list that is read; real ones have 1 MB."""
_USAGE: Mapping[str, str] = MappingProxyType({"Public": "val", "Private": "test"})
_SPLITS = ("train", *_USAGE.values())

Entry = tuple[str, int, str]  # name of the image, level, split


def _read(tree: Tree) -> Samples:
    """In the order of the list."""
    part, file = ("train", _TRAIN) if tree.split == "train" else ("test", _TEST)
    tree.need(tree.folder, file, fix=f"it is at {tree.info.homepage}; the solution is in the competition's forum")
    entries = _entries(tree.folder / file)
    names = [f"{name}.jpeg" for name, _, split in entries if split == tree.split]
    if not names:
        raise tree.empty(tree.folder / file)
    sizes, left_out = listed_images(tree.folder / part, names, {f"{name}.jpeg" for name, _, _ in entries})
    labels = [level for _, level, split in entries if split == tree.split]
    eyes = np.array([name.removesuffix(".jpeg").rpartition("_")[2] for name in names])
    return Samples(CLASSES, [f"{part}/{name}" for name in names], labels, sizes, {"eye": eyes}, left_out)


def _entries(path: Path) -> list[Entry]:
    """The rows of a list; without a column Usage all are of the split to train on."""
    try:
        size = path.stat().st_size
    except OSError as err:
        raise DataUnavailableError("cannot read a list of the data set", where=str(path), why=str(err)) from err
    if size > MAX_BYTES:
        raise IntegrityError(f"{size:,} bytes are more than any list of this data set has", where=str(path))
    columns, rows = read_records(path, "a list of the data set")
    needed = ("image", "level") if path.name == _TRAIN else ("image", "level", "Usage")
    if missing := [name for name in needed if name not in columns]:
        why = f"found {', '.join(columns[:8]) or 'nothing'}"
        raise IntegrityError(f"there is no column {', '.join(missing)}", where=str(path), why=why)
    entries = [_entry(cells, place) for place, cells in rows]
    check_unique([name for name, _, _ in entries], str(path))
    return entries


def _entry(cells: Mapping[str, str], where: str) -> Entry:
    name, level, usage = cells["image"], cells["level"], cells.get("Usage", "")
    if "/" in name or below(name, where) != name:
        raise IntegrityError(f"{name!r} is no name of an image", where=where)
    if level not in ("0", "1", "2", "3", "4"):
        raise IntegrityError(f"the level {level!r} is not one of 0 to {len(CLASSES) - 1}", where=where)
    if "Usage" in cells and usage not in _USAGE:
        raise IntegrityError(f"the usage {usage!r} is neither {' nor '.join(_USAGE)}", where=where)
    return name, int(level), _USAGE[usage] if "Usage" in cells else "train"


def _holds(folder: Path, root: Path) -> bool:
    return any((folder / name).is_file() for name in (_TRAIN, _TEST))


READER = TreeReader(
    info=DatasetInfo(
        name="retinopathy",
        title="Diabetic retinopathy (Kaggle, EyePACS)",
        splits=_SPLITS,
        default_split="test",
        counts={"train": 35_126, "val": 10_906, "test": 42_670},
        classes=len(CLASSES),
        licence="the competition's rules on Kaggle",
        homepage="https://www.kaggle.com/c/diabetic-retinopathy-detection",
        tree=f"[retinopathy/]{{train,test}}/<n>_{{left,right}}.jpeg\n[retinopathy/]{{{_TRAIN},{_TEST}}}",
        notes="val, test: the images of the public and of the private ranking\n"
        "VTAB resizes, filters and crops the images first (btgraham-300); here they are as published",
    ),
    places=("retinopathy", "diabetic-retinopathy-detection", "diabetic_retinopathy_detection", ""),
    holds=_holds,
    covering=_SPLITS,
    read=_read,
)
