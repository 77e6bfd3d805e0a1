"""CUB-200-2011: 11,788 photographs of 200 species of birds, with a bounding box each.

Five index files, space-separated without a header, are joined on the image id (Wah et al. 2011, the archive's README):

    images.txt               <image> <path below images/>
    image_class_labels.txt   <image> <class, from 1>
    train_test_split.txt     <image> <1 train, 0 test>
    classes.txt              <class, from 1> <name>
    bounding_boxes.txt       <image> <x> <y> <width> <height>       pixels

Labels become 0-based. The older CUB-200 (2010) has no official split of this form and is refused. Eight of the images
are grey, and some of the photographs also occur in ImageNet's training set.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.base import DatasetInfo, check_unique
from cvbench.storage.datasets.formats.files import Samples
from cvbench.storage.datasets.readers.tree_reader import Tree, TreeReader
from cvbench.storage.objects.folders import listing
from cvbench.texts import read_text

_INDEX = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt", "bounding_boxes.txt")
_BOX = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")
_IN_SPLIT = {"train": {1}, "test": {0}, "all": {0, 1}}

T = TypeVar("T")


def _holds(folder: Path, root: Path) -> bool:
    """Whether there is `images/` and an index, complete or not."""
    return (folder / "images").is_dir() and any((folder / name).exists() for name in (*_INDEX, "lists"))


def _check_index(tree: Tree) -> None:
    if not (tree.folder / "train_test_split.txt").is_file():
        raise DataUnavailableError(
            "this looks like CUB-200 of 2010, not CUB-200-2011: train_test_split.txt is missing",
            where=str(tree.folder),
            why=f"expected {', '.join(_INDEX)} and images/; found {listing(tree.folder)}",
            fix=f"get CUB_200_2011 from {tree.info.homepage}",
        )
    tree.need(tree.folder, *_INDEX, fix=f"unpack the archive again; it is at {tree.info.homepage}")


def _read(tree: Tree) -> Samples:
    """By image id."""
    _check_index(tree)
    folder = tree.folder
    images = _table(folder / "images.txt", _relative_path)
    classes = _table(folder / "classes.txt", str)
    class_of = _table(folder / "image_class_labels.txt", int)
    side = _table(folder / "train_test_split.txt", int)
    boxes = _table(folder / "bounding_boxes.txt", _box)
    for name, table in (("image_class_labels", class_of), ("train_test_split", side), ("bounding_boxes", boxes)):
        if unmatched := images.keys() ^ table.keys():
            raise IntegrityError(
                f"images.txt and {name}.txt do not list the same images",
                where=str(folder / f"{name}.txt"),
                why=f"{len(unmatched):,} ids are in one of them only, first {min(unmatched)}",
            )
    _check_values(folder / "image_class_labels.txt", class_of, set(classes), "a class of classes.txt")
    _check_values(folder / "train_test_split.txt", side, {0, 1}, "0 or 1")
    if sorted(classes) != list(range(1, len(classes) + 1)):
        raise IntegrityError("the classes are not numbered from 1 without a gap", where=str(folder / "classes.txt"))
    chosen = [i for i in sorted(images) if side[i] in _IN_SPLIT[tree.split]]
    if not chosen:
        raise tree.empty(folder / "train_test_split.txt")
    ids = [images[i] for i in chosen]
    check_unique(ids, str(folder / "images.txt"))
    corners = np.array([boxes[i] for i in chosen], dtype=np.float64)
    return Samples(
        [classes[i] for i in sorted(classes)],
        ids,
        [class_of[i] - 1 for i in chosen],
        factors={"image_id": np.array(chosen, dtype=np.int64)}
        | {name: np.ascontiguousarray(corners[:, k]) for k, name in enumerate(_BOX)},
    )


def _table(path: Path, parse: Callable[[str], T]) -> dict[int, T]:
    """Lines `<number> <rest>` as number -> parse(rest); a faulty line is named."""
    table: dict[int, T] = {}
    for number, line in enumerate(read_text(path, "an index file of cub200", "utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            key_text, rest = line.split(maxsplit=1)
            key, value = int(key_text), parse(rest.strip())
        except ValueError as err:
            raise IntegrityError(f"cannot read the line {line!r}", where=f"{path}:{number}", why=str(err)) from err
        if key in table:
            raise IntegrityError(f"the id {key} occurs twice", where=f"{path}:{number}")
        table[key] = value
    return table


def _relative_path(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "\\" in text or "\0" in text:
        raise ValueError("a path must lie below images/")
    return str(path)


def _box(text: str) -> tuple[float, ...]:
    values = tuple(float(part) for part in text.split())
    if len(values) != 4 or not np.isfinite(values).all():
        raise ValueError("expected x, y, width and height")
    return values


def _check_values(path: Path, table: dict[int, int], allowed: set[int], expected: str) -> None:
    for key, value in table.items():
        if value not in allowed:
            raise IntegrityError(f"image {key} has the value {value}, expected {expected}", where=str(path))


READER = TreeReader(
    info=DatasetInfo(
        name="cub200",
        title="Caltech-UCSD Birds-200-2011",
        splits=("train", "test", "all"),
        default_split="test",
        counts={"train": 5_994, "test": 5_794, "all": 11_788},
        classes=200,
        licence="images are their photographers'; non-commercial research and education",
        homepage="https://www.vision.caltech.edu/datasets/cub_200_2011/",
        tree=f"[cub200/]CUB_200_2011/{{{','.join(_INDEX)}}}\n[cub200/]CUB_200_2011/images/NNN.Class/*.jpg",
    ),
    places=("", "CUB_200_2011", "cub200", "cub200/CUB_200_2011", "CUB_200_2011/CUB_200_2011"),
    holds=_holds,
    read=_read,
    images="images",
)
