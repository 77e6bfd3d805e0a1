"""KITTI, 2D objects (Geiger et al. 2012): 7,481 views from a car, by the distance of the closest vehicle.

    training/image_2/NNNNNN.png         the left colour images, of data_object_image_2.zip
    training/label_2/NNNNNN.txt         a line for each object: type, ..., x, y, z, ry; of data_object_label_2.zip
    [devkit_object/]mapping/*.txt       which video an image is of, of devkit_object.zip

A vehicle is a Car, a Van or a Truck, its distance the z of its location in metres. VTAB's task has four classes: up to
8 m, to 20 m, further, and no vehicle; the cuts are compared in single precision, and what lies on one is in the nearer
class (task_adaptation/data/kitti.py). The images that KITTI tests on have no labels, so train, val and test are parts
of the training images by video, with VTAB's own members: `kitti_videos`. They need the development kit's lists; "all",
every labelled image, does not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.files import Samples, read_bounded
from cvbench.storage.datasets.formats.scan import listed_images, visible
from cvbench.storage.datasets.readers.form_reader import FormReader
from cvbench.storage.datasets.readers.kitti_videos import MAPPING, ORDER, images_of_videos, split_by_video
from cvbench.storage.datasets.readers.tree_reader import Tree
from cvbench.storage.datasets.roots import lacks

_IMAGES, _LABELS = "training/image_2", "training/label_2"
_DEVKITS = ("", "devkit_object", "devkit")
_MOST = 1 << 20
"""Bytes of the largest file of labels that is read; real ones have some kB."""
_VEHICLES = frozenset({"Car", "Van", "Truck"})
_OTHERS = frozenset({"Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc", "DontCare"})
_FIELDS, _Z = 15, 13
_CUTS = np.array([-100.0, 8.0, 20.0, 999.0], dtype=np.float32)
"""A class is from one of them, without it, to the next, with it; the last is of images without a vehicle."""
CLASSES = ("up to 8 m", "8 to 20 m", "over 20 m", "no vehicle")
_FILE = re.compile(r"[0-9]{6}\.txt")


def _read(tree: Tree) -> Samples:
    """By number of the image."""
    present = {name[:6] for name in (entry.name for entry in visible(tree.folder / _LABELS)) if _FILE.fullmatch(name)}
    chosen, others = (sorted(present), set[str]()) if tree.split == "all" else _members(tree)
    if missing := [f"{number}.txt" for number in chosen if number not in present]:
        more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
        fix = f"unpack data_object_label_2.zip again; it is at {tree.info.homepage}"
        raise lacks(f"{tree.form.spec}/{tree.split}", [", ".join(missing[:3]) + more], tree.folder / _LABELS, fix)
    if not chosen:
        raise tree.empty(tree.folder / _LABELS)
    distances = [_vehicles(tree.folder / _LABELS / f"{number}.txt") for number in chosen]
    names = [f"{number}.png" for number in chosen]
    sizes, left_out = listed_images(tree.folder / _IMAGES, names, others)
    closest = np.array([min(own, default=np.nan) for own in distances], dtype=np.float32)
    vehicles = np.array([len(own) for own in distances], dtype=np.int64)
    return Samples(CLASSES, names, _bins(closest), sizes, {"vehicles": vehicles, "closest": closest}, left_out)


def _members(tree: Tree) -> tuple[list[str], set[str]]:
    """Numbers of the images of the split, and the names of all images of any."""
    folders = [base / name for base in (tree.folder, tree.folder.parent) for name in _DEVKITS]
    devkit = next((folder for folder in folders if (folder / ORDER).is_file() and (folder / MAPPING).is_file()), None)
    if devkit is None:
        fix = f"unpack devkit_object.zip beside training; it is at {tree.info.homepage}. The split all needs none"
        raise lacks(f"{tree.form.spec}/{tree.split}", [ORDER, MAPPING], tree.folder, fix)
    parts = split_by_video(images_of_videos(devkit))
    others = {f"{image:06d}.png" for images in parts.values() for image in images}
    return [f"{image:06d}" for image in parts[tree.split]], others


def _vehicles(path: Path) -> list[float]:
    """The distance of each vehicle of an image, in metres."""
    data = read_bounded(path, _MOST, what="the labels of an image", too_large="{size} bytes are no labels of one image")
    try:
        rows = data.decode("ascii").splitlines()
    except UnicodeDecodeError as err:
        raise IntegrityError("the labels of an image are no text", where=str(path), why=str(err)) from err
    found = []
    for number, row in enumerate(rows, start=1):
        fields = row.split()
        if not fields:
            continue
        where = f"{path}:{number}"
        if len(fields) != _FIELDS or fields[0] not in _VEHICLES | _OTHERS:
            what = f"expected a type of KITTI and {_FIELDS - 1} numbers, found {row[:80]!r}"
            raise IntegrityError(what, where=where)
        z = _numbers(fields[1:], where)[_Z - 1]
        if fields[0] in _VEHICLES:
            if not _CUTS[0] < np.float32(z) <= _CUTS[-1]:
                raise IntegrityError(f"a vehicle at {z} m, not above {_CUTS[0]} and up to {_CUTS[-1]}", where=where)
            found.append(z)
    return found


def _numbers(fields: Sequence[str], where: str) -> list[float]:
    try:
        return [float(field) for field in fields]
    except ValueError as err:
        raise IntegrityError("a value is no number", where=where, why=str(err)) from err


def _bins(closest: NDArray[np.float32]) -> NDArray[np.int64]:
    """The class of each distance, NaN for none: the last cut that is less."""
    labels = np.searchsorted(_CUTS, closest, side="left").astype(np.int64) - 1
    labels[np.isnan(closest)] = len(CLASSES) - 1
    return labels


def _holds(folder: Path, root: Path) -> bool:
    return (folder / _LABELS).is_dir()


READER = FormReader(
    info=DatasetInfo(
        name="kitti",
        title="KITTI, distance of the closest vehicle",
        splits=("train", "val", "test", "all"),
        default_split="test",
        counts={"train": 6_347, "val": 423, "test": 711, "all": 7_481},
        classes=len(CLASSES),
        licence="CC BY-NC-SA 3.0",
        homepage="https://www.cvlibs.net/datasets/kitti/eval_object.php",
        tree=f"[kitti/]{_IMAGES}/NNNNNN.png\n[kitti/]{_LABELS}/NNNNNN.txt\n"
        f"[kitti/][devkit_object/]{{{ORDER},{MAPPING}}}",
        argument="distance",
        notes="train, val, test: the training images by video, VTAB's members; they need the development kit's lists\n"
        "all: every image with labels",
        split_rule="parts of the training images by video, as TensorFlow Datasets draws them: VTAB's members",
    ),
    forms=("distance",),
    places=("kitti", "KITTI", "kitti/object", "KITTI/object", ""),
    holds=_holds,
    read=_read,
    images=_IMAGES,
)
