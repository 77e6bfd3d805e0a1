"""small NORB (LeCun et al. 2004): 48,600 stereo pairs of 50 toys, by azimuth and by elevation of the camera.

    smallnorb-5x46789x9x18x6x2x96x96-training-{dat,cat,info}.mat[.gz]
    smallnorb-5x01235x9x18x6x2x96x96-testing-{dat,cat,info}.mat[.gz]

    dat     (24,300, 2, 96, 96) uint8, the pairs        cat     (24,300,) int32, the category
    info    (24,300, 4) int32: instance, elevation 0..8, azimuth 0, 2, ..., 34, lighting

The sample is the first image of the pair, as in TensorFlow Datasets, from which VTAB takes it. "smallnorb" is VTAB's
task of 18 azimuths, 20 degrees apart; "smallnorb:elevation" its task of 9 elevations, 30 to 70 degrees (VTAB:
task_adaptation/data/smallnorb.py). train is the training file, val and test are halves of the testing file: VTAB's
counts, not its membership, which follows the order in which TensorFlow Datasets stores the images: here val is the
first half by SHA-256 of the ids. Unpacked files are read image by image; of packed ones a split's images are held in
memory, up to 224 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.binary_matrix import PACKED, Matrix, look_at
from cvbench.storage.datasets.formats.lists import shuffled
from cvbench.storage.datasets.formats.picture_file import FilePictures
from cvbench.storage.datasets.formats.pictures import ArrayPictures, Pictures, PictureSamples
from cvbench.storage.datasets.readers.picture_reader import PictureFormReader
from cvbench.storage.datasets.readers.tree_reader import Tree

_STEMS = {
    "training": "smallnorb-5x46789x9x18x6x2x96x96-training",
    "testing": "smallnorb-5x01235x9x18x6x2x96x96-testing",
}
_PARTS = ("dat", "cat", "info")
_FILE_OF = {"train": "training", "val": "testing", "test": "testing"}
_PAIRS = 24_300
"""Of each file."""
_EDGE = 96
_CATEGORIES = ("four-legged animals", "human figures", "airplanes", "trucks", "cars")
_INFO = {"instance": range(10), "elevation": range(9), "azimuth": range(0, 36, 2), "lighting": range(6)}
"""Columns of info, and what may stand in them."""
_ELEVATIONS, _AZIMUTHS = range(30, 75, 5), range(0, 360, 20)
_CLASSES = {
    "azimuth": tuple(f"{degrees} degrees" for degrees in _AZIMUTHS),
    "elevation": tuple(f"{degrees} degrees" for degrees in _ELEVATIONS),
}


def _name(kind: str, part: str) -> str:
    return f"{_STEMS[kind]}-{part}.mat"


def _place(folder: Path, name: str) -> Path | None:
    """The file, or the packed one if it is not there."""
    return next((path for path in (folder / name, folder / f"{name}{PACKED}") if path.is_file()), None)


def _read(tree: Tree) -> PictureSamples:
    """In the order of the file."""
    kind = _FILE_OF[tree.split]
    found = {part: _place(tree.folder, _name(kind, part)) for part in _PARTS}
    names = [_name(kind, part) for part, path in found.items() if path is None]
    tree.need(tree.folder, *names, fix=f"it is a separate file at {tree.info.homepage}")
    dat, cat, info = (path for path in found.values() if path is not None)
    pairs = look_at(dat, (None, 2, _EDGE, _EDGE), "u1", _PAIRS)
    categories = _numbers(look_at(cat, (None,), "<i4", _PAIRS), pairs)
    columns = _numbers(look_at(info, (None, len(_INFO)), "<i4", _PAIRS), pairs)
    _check(cat, categories, "category", range(len(_CATEGORIES)))
    for column, (name, known) in enumerate(_INFO.items()):
        _check(info, columns[:, column], name, known)
    ids = [f"{kind}/{i:05d}" for i in range(len(categories))]
    rows = _rows(ids, tree.split)
    if not len(rows):
        raise tree.empty(dat)
    instance, elevation, azimuth, lighting = columns[rows].T.astype(np.int64)
    azimuth //= 2
    return PictureSamples(
        classes=_CLASSES[tree.form.label],
        ids=[ids[row] for row in rows],
        labels={"azimuth": azimuth, "elevation": elevation}[tree.form.label],
        pictures=_pictures(pairs, rows),
        factors={
            "category": np.array(_CATEGORIES)[categories[rows]],
            "instance": instance,
            "elevation": np.array(_ELEVATIONS)[elevation],
            "azimuth": np.array(_AZIMUTHS)[azimuth],
            "lighting": lighting,
        },
    )


def _numbers(matrix: Matrix, pairs: Matrix) -> NDArray[np.int32]:
    if matrix.shape[0] != pairs.shape[0]:
        why = f"{pairs.path.name} has {pairs.shape[0]:,} pairs"
        raise IntegrityError(f"{matrix.shape[0]:,} rows", where=str(matrix.path), why=why, fix="get both files again")
    return np.asarray(matrix.load(), dtype=np.int32)


def _check(path: Path, values: NDArray[np.int32], name: str, known: range) -> None:
    wrong = np.flatnonzero(~np.isin(values, list(known)))
    if len(wrong):
        what = f"the {name} of pair {wrong[0]} is {values[wrong[0]]}"
        raise IntegrityError(what, where=str(path), why=f"known are {known[0]} to {known[-1]} in steps of {known.step}")


def _rows(ids: Sequence[str], split: str) -> NDArray[np.int64]:
    """Rows of the file that a split holds, ascending."""
    if split == "train":
        return np.arange(len(ids))
    order, half = shuffled(ids), len(ids) // 2
    chosen = set(order[:half] if split == "val" else order[half:])
    return np.array([row for row, name in enumerate(ids) if name in chosen], dtype=np.int64)


def _pictures(pairs: Matrix, rows: NDArray[np.int64]) -> Pictures:
    """The first image of each pair in `rows`."""
    if not pairs.packed:
        return FilePictures(pairs.path, pairs.start, 2 * _EDGE * _EDGE, (_EDGE, _EDGE), rows, pairs.size)
    pixels = np.empty((len(rows), _EDGE, _EDGE), dtype=np.uint8)
    place = {int(row): i for i, row in enumerate(rows)}
    for row, pair in enumerate(pairs.parts()):
        if row in place:
            pixels[place[row]] = pair[0]
    return ArrayPictures(pixels)


def _holds(folder: Path, root: Path) -> bool:
    return any(_place(folder, _name(kind, part)) is not None for kind in _STEMS for part in _PARTS)


_INFO_OF = DatasetInfo(
    name="smallnorb",
    title="small NORB, azimuth or elevation of toys",
    splits=tuple(_FILE_OF),
    default_split="test",
    counts={"train": _PAIRS, "val": _PAIRS // 2, "test": _PAIRS // 2},
    classes=len(_CLASSES["azimuth"]),
    licence="research only, not commercial; cite LeCun, Huang and Bottou 2004",
    homepage="https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/",
    tree="\n".join(f"[smallnorb/]{stem}-{{{','.join(_PARTS)}}}.mat[.gz]" for stem in _STEMS.values()),
    argument="azimuth|elevation",
    notes="azimuth: 18 classes; elevation: 9; the first image of each stereo pair\n"
    "val, test: halves of the testing file, val those that come first by SHA-256 of testing/NNNNN",
    split_rule="val and test are halves of the testing file by SHA-256 of the id: VTAB's counts, not its members",
)


def _info(form: str) -> DatasetInfo:
    return _INFO_OF if form == "azimuth" else replace(_INFO_OF, classes=len(_CLASSES[form]))


READER = PictureFormReader(
    info=_INFO_OF,
    forms=tuple(_CLASSES),
    info_of=_info,
    places=("", "smallnorb", "norb-v1.0-small", "smallnorb/norb-v1.0-small", "norb", "smallNORB"),
    holds=_holds,
    covering=tuple(_FILE_OF),
    read=_read,
)
