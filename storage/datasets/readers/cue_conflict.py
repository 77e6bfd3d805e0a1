"""Cue conflict: 1,280 images with the shape of one object and the texture of another (Geirhos et al. 2019).

    <shape>/<shape><i>-<texture><j>.png     16 folders of 80; in 80 images of all, shape and texture are the same

The label is the shape. The texture is what stands after the last hyphen, without its digits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.files import Samples
from cvbench.storage.datasets.readers.class_tree import holds, named_folders, read_images
from cvbench.storage.datasets.readers.tree_reader import Tree, TreeReader

# ImageNet indices of each category; "10-16" is a range with both ends (model-vs-human, helper/human_categories.py).
_INDICES = {
    "airplane": "404",
    "bear": "294-297",
    "bicycle": "444 671",
    "bird": "8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145",
    "boat": "472 554 625 814 914",
    "bottle": "440 720 737 898 899 901 907",
    "car": "436 511 817",
    "cat": "281-286",
    "chair": "423 559 765 857",
    "clock": "409 530 892",
    "dog": "152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268",
    "elephant": "385 386",
    "keyboard": "508 878",
    "knife": "499",
    "oven": "766",
    "truck": "555 569 656 675 717 734 864 867",
}

SHAPE_CATEGORIES = tuple(_INDICES)
"""The 16 categories, sorted: the classes of `cue-conflict`."""

_NAME = re.compile(r"([a-z]+)[0-9]+-([a-z]+)[0-9]+\.png", re.IGNORECASE)


def shape_indices() -> Mapping[str, tuple[int, ...]]:
    """Category -> its ImageNet indices, ascending. A decision is the category of the largest mean probability."""
    return MappingProxyType({name: tuple(_spread(text)) for name, text in _INDICES.items()})


def _spread(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _factors(folder: Path, ids: Sequence[str], index: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    shapes: list[str] = []
    textures: list[str] = []
    for sample in ids:
        shape, _, name = sample.partition("/")
        match = _NAME.fullmatch(name)
        if not match or match.group(1) != shape or match.group(2) not in index:
            raise IntegrityError(
                "the name does not say shape and texture",
                where=str(folder / sample),
                why=f"expected {shape}<i>-<texture><j>.png with a texture of {', '.join(SHAPE_CATEGORIES)}",
                fix="move what does not belong to the data set away",
            )
        shapes.append(shape)
        textures.append(match.group(2))
    shape_of, texture_of = np.array(shapes, dtype=np.str_), np.array(textures, dtype=np.str_)
    return {
        "shape": shape_of,
        "texture": texture_of,
        "texture_label": np.array([index[name] for name in textures], dtype=np.int64),
        "conflict": shape_of != texture_of,
    }


def _holds(folder: Path, root: Path) -> bool:
    """Whether it is the folder of the shapes' folders; the data root itself if all of them are there."""
    if folder != root:
        return holds(folder, names=SHAPE_CATEGORIES)
    return all((folder / name).is_dir() for name in SHAPE_CATEGORIES)


def _read(tree: Tree) -> Samples:
    """All images, by shape and then by file name."""
    index = {name: label for label, name in enumerate(SHAPE_CATEGORIES)}
    labelled = named_folders(tree.folder, index, tree.info)
    images = read_images(tree.folder, SHAPE_CATEGORIES, labelled, tree.info)
    return replace(images, factors=_factors(tree.folder, images.ids, index))


READER = TreeReader(
    info=DatasetInfo(
        name="cue-conflict",
        title="Cue conflict: shape of one object, texture of another",
        splits=("test",),
        default_split="test",
        counts={"test": 1_280},
        classes=len(SHAPE_CATEGORIES),
        licence="see the homepage",
        homepage="https://github.com/bethgelab/model-vs-human",
        tree="[cue-conflict/]<shape>/<shape><i>-<texture><j>.png",
        notes="80 images have the texture of their own shape: the factor `conflict` is false.",
    ),
    places=("cue-conflict", "cue-conflict/cue-conflict", "cue_conflict", "modelvshuman/datasets/cue-conflict", ""),
    holds=_holds,
    read=_read,
    covering=("test",),
    own_places=True,
)
