"""dSprites (Matthey et al. 2017): 737,280 images of 64 x 64 of a white square, ellipse or heart, one of each pose.

    dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz
        imgs              (737,280, 64, 64) uint8, 0 or 1
        latents_classes   (737,280, 6) int64: colour, shape, scale, orientation, x, y, each from 0

"dsprites" is VTAB's task of 16 places from left to right, two of the 32 x each; "dsprites:orientation" its task of 16
groups of the 40 orientations: the group of orientation o is floor(o / 2.5) (VTAB: task_adaptation/data/dsprites.py,
scripts/run_all_tasks.sh). There is no official split. Ours has VTAB's counts, 80, 10 and 10 %, but not its membership,
which follows the order in which TensorFlow Datasets stores the images: here they are ordered by SHA-256 of their ids.

The file is compressed, so no image of it can be read without those before it, and unpacked it has 3 GB. It is unpacked
in blocks when the data set is opened, and of the images of a split one bit a pixel is held: train 302 MB, val and test
38 MB each. Other arrays of the file are not touched; one of them is a pickle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.bit_pictures import BitPictures, pack
from cvbench.storage.datasets.formats.npz import read_blocks
from cvbench.storage.datasets.formats.pictures import BLOCK, PictureSamples
from cvbench.storage.datasets.readers.picture_reader import PictureFormReader
from cvbench.storage.datasets.readers.tree_reader import Tree

FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
_IMAGES = 737_280
_EDGE = 64
_SHAPES = ("square", "ellipse", "heart")
_LATENTS = {"colour": 1, "shape": len(_SHAPES), "scale": 6, "orientation": 40, "x": 32, "y": 32}
"""Columns of latents_classes, and how many values each has."""
_GROUPS = 16
_COLUMN = {"location": "x", "orientation": "orientation"}
"""Form -> the latent that is grouped."""
_SPLITS = ("train", "val", "test")


def _group(values: NDArray[np.int64], latent: str) -> NDArray[np.int64]:
    """The group of each value: as many in each as the latent has values for a group, rounded down at the borders."""
    return values * _GROUPS // _LATENTS[latent]


def _names(form: str) -> tuple[str, ...]:
    latent = _COLUMN[form]
    values = np.arange(_LATENTS[latent])
    groups = [values[_group(values, latent) == group] for group in range(_GROUPS)]
    return tuple(f"{latent} {group[0]} to {group[-1]}" for group in groups)


def _read(tree: Tree) -> PictureSamples:
    """In the order of the file."""
    tree.need(tree.folder, FILE, fix=f"it is a file of {tree.info.homepage}")
    path = tree.folder / FILE
    latents = _latents(path)
    ids = [f"dsprites/{i:06d}" for i in range(len(latents))]
    chosen = _members(ids, tree.split)
    rows = np.flatnonzero(chosen)
    if not len(rows):
        raise tree.empty(path)
    columns = dict(zip(_LATENTS, latents[rows].T.copy(), strict=True))
    latent = _COLUMN[tree.form.label]
    return PictureSamples(
        classes=_names(tree.form.label),
        ids=[ids[row] for row in rows],
        labels=_group(columns[latent], latent),
        pictures=BitPictures(_bits(path, chosen), (_EDGE, _EDGE)),
        factors={
            "shape": np.array(_SHAPES)[columns["shape"]],
            **{name: columns[name] for name in ("scale", "orientation", "x", "y")},
        },
    )


def _latents(path: Path) -> NDArray[np.int64]:
    """(N, 6) int64, each column within its bounds."""
    blocks = read_blocks(path, "latents_classes", (None, len(_LATENTS)), "<i8", _IMAGES, 64 * BLOCK)
    latents = np.concatenate([np.asarray(block, dtype=np.int64) for block in blocks])
    for column, (name, count) in enumerate(_LATENTS.items()):
        wrong = np.flatnonzero((latents[:, column] < 0) | (latents[:, column] >= count))
        if len(wrong):
            what = f"latents_classes: the {name} of image {wrong[0]} is {latents[wrong[0], column]}"
            raise IntegrityError(what, where=str(path), why=f"known are 0 to {count - 1}")
    return latents


def _members(ids: Sequence[str], split: str) -> NDArray[np.bool_]:
    """(N,) which images a split holds."""
    digests = np.array([hashlib.sha256(name.encode()).digest() for name in ids], dtype="S32")
    n = len(ids)
    train, val = n * 8 // 10, n // 10
    bounds = {"train": (0, train), "val": (train, train + val), "test": (train + val, n)}
    chosen = np.zeros(n, dtype=np.bool_)
    chosen[np.argsort(digests, kind="stable")[slice(*bounds[split])]] = True
    return chosen


def _bits(path: Path, chosen: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The images that are chosen, one bit a pixel; as many images as entries of `chosen`, each pixel 0 or 1."""
    bits = np.empty((int(chosen.sum()), _EDGE * _EDGE // 8), dtype=np.uint8)
    place = begin = 0
    for block in read_blocks(path, "imgs", (len(chosen), _EDGE, _EDGE), "|u1", _IMAGES, BLOCK):
        images = np.asarray(block, dtype=np.uint8)
        if images.max() > 1:
            image = begin + int(np.flatnonzero(images.max(axis=(1, 2)) > 1)[0])
            raise IntegrityError(f"image {image} has a pixel of {images.max()}, not 0 or 1", where=str(path))
        kept = pack(images[chosen[begin : begin + len(images)]])
        bits[place : place + len(kept)] = kept
        place, begin = place + len(kept), begin + len(images)
    return bits


def _holds(folder: Path, root: Path) -> bool:
    return (folder / FILE).is_file()


READER = PictureFormReader(
    info=DatasetInfo(
        name="dsprites",
        title="dSprites, place or orientation of a sprite",
        splits=_SPLITS,
        default_split="test",
        counts={"train": 589_824, "val": 73_728, "test": 73_728},
        classes=_GROUPS,
        licence="Apache-2.0",
        homepage="https://github.com/google-deepmind/dsprites-dataset",
        tree=f"[dsprites/]{FILE}",
        argument="location|orientation",
        notes="location: 16 places from left to right; orientation: 16 groups of the 40 orientations\n"
        "train, val, test: 80, 10 and 10 % in the order of SHA-256 of dsprites/NNNNNN\n"
        "one bit a pixel is held in memory, train 302 MB",
        split_rule="80, 10 and 10 % by SHA-256 of the id: VTAB's counts, not its members",
    ),
    forms=tuple(_COLUMN),
    places=("", "dsprites", "dsprites-dataset", "dSprites"),
    holds=_holds,
    covering=_SPLITS,
    read=_read,
)
