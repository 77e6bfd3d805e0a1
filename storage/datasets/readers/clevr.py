"""CLEVR (Johnson et al. 2017): scenes of three to ten solids, by their number and by the distance of the closest.

    CLEVR_v1.0/images/{train,val}/CLEVR_<split>_NNNNNN.png      70,000 and 15,000 images
    CLEVR_v1.0/scenes/CLEVR_{train,val}_scenes.json             {"scenes": [{"image_filename", "objects": [...]}, ...]}

"clevr" is VTAB's task of eight numbers of objects; "clevr:distance" its task of six classes of the distance to the
closest object, the third of its `pixel_coords`, cut at 8, 8.5, 9, 9.5 and 10 in single precision; what lies on a cut is
in the nearer class (VTAB: task_adaptation/data/clevr.py). As there, "test" is CLEVR's validation split, since no scene
of its test split is published, and 10 % of "train" validate: VTAB's by the order in which TensorFlow Datasets stores
the images, ours by SHA-256 of the ids. Memory when it is opened: twice the JSON file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.base import DatasetInfo, check_unique
from cvbench.storage.datasets.formats.files import Samples
from cvbench.storage.datasets.formats.json_items import json_items
from cvbench.storage.datasets.formats.lists import below
from cvbench.storage.datasets.formats.scan import listed_images
from cvbench.storage.datasets.readers.form_reader import FormReader
from cvbench.storage.datasets.readers.tree_reader import Tree

MAX_BYTES = 1 << 30
"""The largest list of scenes that is read; about 2.5 kB a scene are expected."""
_PART = {"train": "train", "test": "val"}
"""Our split -> CLEVR's."""
_FEWEST, _MOST = 3, 10
_CUTS = np.array([0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0], dtype=np.float32)
"""A class is from one of them, without it, to the next, with it."""

_CLASSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "count": tuple(f"{n} objects" for n in range(_FEWEST, _MOST + 1)),
        "distance": ("up to 8", "8 to 8.5", "8.5 to 9", "9 to 9.5", "9.5 to 10", "over 10"),
    }
)


def _scenes(folder: Path, part: str) -> Path:
    return folder / "scenes" / f"CLEVR_{part}_scenes.json"


def _read(tree: Tree) -> Samples:
    """In the order of the scenes."""
    part = _PART[tree.split]
    path = _scenes(tree.folder, part)
    tree.need(path.parent, path.name, fix=f"unpack it from the archive at {tree.info.homepage}")
    names: list[str] = []
    objects: list[int] = []
    closest: list[float] = []
    for number, scene in enumerate(json_items(path, "scenes", MAX_BYTES)):
        name, distances = _scene(scene, f"{path}: scenes[{number}]")
        names.append(name)
        objects.append(len(distances))
        closest.append(min(distances))
    if not names:
        raise tree.empty(path)
    check_unique(names, str(path))
    sizes, left_out = listed_images(tree.folder / "images" / part, names)
    counts, nearest = np.array(objects, dtype=np.int64), np.array(closest, dtype=np.float32)
    return Samples(
        _CLASSES[tree.form.label],
        [f"{part}/{name}" for name in names],
        {"count": counts - _FEWEST, "distance": _bins(nearest, path)}[tree.form.label],
        sizes,
        {"objects": counts, "closest": nearest},
        left_out,
    )


def _scene(scene: Any, where: str) -> tuple[str, list[float]]:
    """The file of a scene's image, and the distance of each of its objects."""
    match scene:
        case {"image_filename": str(name), "objects": [*objects]}:
            distances = [_distance(one, where) for one in objects]
        case _:
            raise IntegrityError("a scene without image_filename or objects", where=where)
    if below(name, where) != name or "/" in name:
        raise IntegrityError(f"{name!r} is no file of the folder of images", where=where)
    if not _FEWEST <= len(distances) <= _MOST:
        raise IntegrityError(f"{len(distances)} objects, where CLEVR has {_FEWEST} to {_MOST}", where=where)
    return name, distances


def _distance(one: Any, where: str) -> float:
    match one:
        case {"pixel_coords": [_, _, int() | float() as distance]} if type(distance) is not bool:
            return float(distance)
    raise IntegrityError("an object without three pixel_coords, of which the third is its distance", where=where)


def _bins(distances: NDArray[np.float32], path: Path) -> NDArray[np.int64]:
    """The class of each distance: the last cut that is less."""
    labels = np.searchsorted(_CUTS, distances, side="left").astype(np.int64) - 1
    wrong = np.flatnonzero((labels < 0) | (labels >= len(_CUTS) - 1))
    if len(wrong):
        what = f"the closest object is at {distances[wrong[0]]}, not above 0 and up to 100"
        raise IntegrityError(what, where=f"{path}: scenes[{wrong[0]}]")
    return labels


def _holds(folder: Path, root: Path) -> bool:
    return any(_scenes(folder, part).is_file() for part in _PART.values())


_INFO = DatasetInfo(
    name="clevr",
    title="CLEVR, number of objects or distance of the closest",
    splits=tuple(_PART),
    default_split="test",
    counts={"train": 70_000, "test": 15_000},
    classes=len(_CLASSES["count"]),
    licence="CC BY 4.0",
    homepage="https://cs.stanford.edu/people/jcjohns/clevr/",
    tree="[clevr/]CLEVR_v1.0/images/{train,val}/CLEVR_<split>_NNNNNN.png\n"
    "[clevr/]CLEVR_v1.0/scenes/CLEVR_{train,val}_scenes.json",
    argument="count|distance",
    notes="count: 3 to 10 objects; distance: six classes of the distance to the closest object\n"
    "test: CLEVR's validation split, as in VTAB; no scene of its test split is published",
    split_rule="test is CLEVR's validation split, as in VTAB",
    held_out=0.1,  # VTAB's 63,000 and 7,000
)


def _info(form: str) -> DatasetInfo:
    return _INFO if form == "count" else replace(_INFO, classes=len(_CLASSES[form]))


READER = FormReader(
    info=_INFO,
    forms=tuple(_CLASSES),
    info_of=_info,
    places=("CLEVR_v1.0", "clevr/CLEVR_v1.0", "clevr", "CLEVR", ""),
    holds=_holds,
    covering=tuple(_PART),
    read=_read,
    images="images",
)
