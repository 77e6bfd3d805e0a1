"""PUG: ImageNet: 88,328 renders of 724 objects of 151 classes; one thing varies at a time (Bordes et al. 2023).

    labels_pug_imagenet.csv                         a row for each image: `filename`, and what was rendered
    class_to_imagenet_idx.json                      the labels; in the authors' repository, not in the archive
    {Worlds,Camera_Pitch,...}/<label>/<image>.png   ten subsets, by what varies in them

A split is one subset ("worlds", "camera-pitch", ...) or "all" that are there. `classes` are the object labels, not
WordNet ids: `pug_classes` says which ImageNet classes each stands for. Without the json they are the folders' names.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.files import Samples
from cvbench.storage.datasets.formats.scan import subfolders
from cvbench.storage.datasets.readers.class_tree import holds, named_folders, read_images
from cvbench.storage.datasets.readers.pug_classes import PUG_FILE, PUG_SUBSETS, read_pug_classes
from cvbench.storage.datasets.readers.tree_reader import Tree, TreeReader
from cvbench.storage.datasets.roots import lacks
from cvbench.storage.objects.folders import listing

TABLE = "labels_pug_imagenet.csv"
TEXTS = ("world_name", "character_name", "character_texture", "scene_light")
NUMBERS = (
    "camera_pitch",
    "camera_yaw",
    "camera_roll",
    "character_rotation_pitch",
    "character_rotation_yaw",
    "character_rotation_roll",
    "character_scale",
)

_NAMES = ("PUG_ImageNet", "PUG_IMAGENET", "pug-imagenet", "pug_imagenet")
_SPLITS = {"all": PUG_SUBSETS} | {name.lower().replace("_", "-"): (name,) for name in PUG_SUBSETS}
_RENDERS = {"Worlds": 64, "Object_Texture": 9, "Scene_Light": 7}  # of each of the 724 objects; elsewhere 6
_COUNTS = {split: sum(724 * _RENDERS.get(name, 6) for name in names) for split, names in _SPLITS.items()}


def _holds(folder: Path, root: Path) -> bool:
    """Whether there is the table, or any of the subsets."""
    return (folder / TABLE).is_file() or holds(folder, names=PUG_SUBSETS)


def _read(tree: Tree) -> Samples:
    """A subset, or all that are there: by subset, class and file name."""
    subsets = _present(tree)
    classes = _classes(tree.folder)
    index = {label: k for k, label in enumerate(classes)}
    labelled = [
        (label, f"{subset}/{name}")
        for subset in subsets
        for label, name in named_folders(tree.folder / subset, index, tree.info)
    ]
    images = read_images(tree.folder, classes, labelled, tree.info)
    return replace(images, factors=_factors(tree, images.ids))


def _present(tree: Tree) -> list[str]:
    names = _SPLITS[tree.split]
    subsets = [name for name in names if (tree.folder / name).is_dir()]
    if not subsets:
        raise DataUnavailableError(
            f"{tree.info.name}/{tree.split} is not there",
            where=str(tree.folder / names[0]),
            why=f"expected {', '.join(names)}; found {listing(tree.folder)}",
            fix=f"unpack that subset; the archive is at {tree.info.homepage}",
        )
    return subsets


def _factors(tree: Tree, ids: Sequence[str]) -> dict[str, NDArray[Any]]:
    path = tree.folder / TABLE
    if not path.is_file():
        missing = f"{TABLE}, which says what varies in each image"
        raise lacks(tree.info.name, [missing], tree.folder, f"unpack it from the archive at {tree.info.homepage}")
    rows = _rows(path, set(ids))
    if unlisted := [sample for sample in ids if sample not in rows]:
        raise IntegrityError(
            f"{len(unlisted):,} images are not in {TABLE}",
            where=str(tree.folder / unlisted[0]),
            fix="unpack the table and the images of the same archive",
        )
    factors: dict[str, NDArray[Any]] = {"subset": np.array([sample.partition("/")[0] for sample in ids], dtype=np.str_)}
    texts, numbers = zip(*(rows[sample] for sample in ids), strict=True)
    columns = np.array(numbers, dtype=np.float64)
    factors |= {name: np.array([row[k] for row in texts], dtype=np.str_) for k, name in enumerate(TEXTS)}
    return factors | {name: np.ascontiguousarray(columns[:, k]) for k, name in enumerate(NUMBERS)}


def _classes(folder: Path) -> tuple[str, ...]:
    """The labels of every subset, so that they agree between splits."""
    if (folder / PUG_FILE).is_file():
        return read_pug_classes(folder / PUG_FILE).labels
    present = [folder / name for name in PUG_SUBSETS if (folder / name).is_dir()]
    return tuple(sorted({label for subset in present for label in subfolders(subset)}))


def _rows(path: Path, wanted: set[str]) -> dict[str, tuple[list[str], list[float]]]:
    """Sample -> its texts and its numbers, of the rows that are wanted.

    Raises:
        IntegrityError: A column is missing, a number cannot be read, or an image has two rows.
    """
    table: dict[str, tuple[list[str], list[float]]] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as handle:
            rows = csv.DictReader(handle)
            needed = ("filename", *TEXTS, *NUMBERS)
            if missing := [name for name in needed if name not in (rows.fieldnames or ())]:
                raise IntegrityError(f"{path.name} has no column {', '.join(missing)}", where=str(path))
            for row in rows:
                sample = "/".join(PurePosixPath(row["filename"] or "").parts[-3:])  # subset, label, file
                if sample not in wanted:
                    continue
                if sample in table:
                    raise IntegrityError(f"{sample} has two rows", where=f"{path}:{rows.line_num}")
                where = f"{path}:{rows.line_num}"
                table[sample] = [row[name] or "" for name in TEXTS], [_number(row, name, where) for name in NUMBERS]
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise IntegrityError(f"{path.name} cannot be read", where=str(path), why=str(err)) from err
    return table


def _number(row: Mapping[str, str | None], name: str, where: str) -> float:
    """A number; NaN for the default, which some columns spell "Default"."""
    text = (row[name] or "").strip()
    if text in ("", "Default"):
        return float("nan")
    try:
        return float(text)
    except ValueError as err:
        raise IntegrityError(f"cannot read the {name} {text!r}", where=where) from err


READER = TreeReader(
    info=DatasetInfo(
        name="pug-imagenet",
        title="PUG: ImageNet, renders with one varying factor",
        splits=tuple(_SPLITS),
        default_split="all",
        counts=_COUNTS,
        classes=151,
        licence="CC BY-NC 4.0, not for training generative models",
        homepage="https://github.com/facebookresearch/PUG",
        tree=f"[PUG_IMAGENET/]{TABLE}\n[PUG_IMAGENET/]{{{','.join(PUG_SUBSETS)}}}/<label>/*.png\n"
        f"[PUG_IMAGENET/]{PUG_FILE} (from the repository)",
        notes="The counts are derived: 724 objects times the values of each factor.",
    ),
    places=(*_NAMES, *(f"PUG/{name}" for name in _NAMES), ""),
    holds=_holds,
    read=_read,
    own_places=True,
)
