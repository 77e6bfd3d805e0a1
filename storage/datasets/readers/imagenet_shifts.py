"""The test sets that shift ImageNet's distribution: ImageNetV2, ImageNet-A, ImageNet-R and ImageNet-Sketch.

    imagenetv2-*      Recht et al. 2019       new photographs, collected again in three ways; 10 for each class
    imagenet-a        Hendrycks et al. 2021   natural photographs that a ResNet-50 gets wrong; 200 classes
    imagenet-r        Hendrycks et al. 2021   renditions: art, cartoons, sculptures, toys, ...; 200 classes
    imagenet-sketch   Wang et al. 2019        sketches, up to 51 for each class

Each is `<folder>/<class>/<image>`, a class folder named by its WordNet id, in ImageNetV2 by its index. `classes` are
WordNet ids, ascending: all that the set has as published, so the columns that a 200-class score is taken over
(`imagenet_columns(classes)`) do not depend on a folder that was not unpacked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.files import Samples
from cvbench.storage.datasets.formats.scan import subfolders
from cvbench.storage.datasets.readers.class_tree import (
    holds,
    image_stem,
    is_number,
    named_folders,
    numbered_folders,
    read_images,
)
from cvbench.storage.datasets.readers.imagenet_classes import imagenet_a_wnids, imagenet_r_wnids, imagenet_wnids
from cvbench.storage.datasets.readers.tree_reader import Tree, TreeReader

_OF_IMAGENET = re.compile(r"ILSVRC2012_val_[0-9]+|n[0-9]{8}_[0-9]+")
_SKETCH = re.compile(r"sketch_[0-9]+")

Factors = dict[str, NDArray[Any]]


def _reader(
    info: DatasetInfo,
    places: Sequence[str],
    classes: Callable[[], tuple[str, ...]],
    *,
    numbers: bool = False,
    pattern: re.Pattern[str] | None = None,
    factors: Callable[[Sequence[str]], Factors] | None = None,
) -> TreeReader:
    """The reader of one of these sets.

    Args:
        places: Where it is looked for under the data root, the most specific first. "" is the data root itself, which
            is also taken if it has the name of one of the places.
        classes: Gives the set's WordNet ids.
        numbers: Class folders may be named by class indices.
        pattern: What every file's stem must match.
        factors: Gives the factors of the images, by their ids.
    """
    names = {PurePosixPath(place).name for place in places}

    def is_it(folder: Path, root: Path) -> bool:
        mine = folder != root or "" in places or root.name in names
        return mine and holds(folder, wnids=True, numbers=numbers)

    def read(tree: Tree) -> Samples:
        """All images, by class and then by file name."""
        known = classes()
        images = read_images(tree.folder, known, _folders(tree, known, numbers), info)
        _check_names(tree, images.ids, pattern, places[0])
        return images if factors is None else replace(images, factors=factors(images.ids))

    everywhere = tuple(dict.fromkeys((*places, "")))
    return TreeReader(info, everywhere, is_it, read, covering=info.splits, own_places=True)


def _folders(tree: Tree, classes: Sequence[str], numbers: bool) -> list[tuple[int, str]]:
    if numbers and any(map(is_number, subfolders(tree.folder))):
        return numbered_folders(tree.folder, len(classes), tree.info)
    return named_folders(tree.folder, {name: label for label, name in enumerate(classes)}, tree.info)


def _check_names(tree: Tree, ids: Sequence[str], pattern: re.Pattern[str] | None, place: str) -> None:
    for sample in ids:
        stem = image_stem(sample)
        if _OF_IMAGENET.fullmatch(stem):
            raise IntegrityError(
                f"these are images of ImageNet itself, not of {tree.info.name}",
                where=str(tree.folder / sample),
                fix=f"point --data-root to the folder that holds {place}/",
            )
        if pattern is not None and not pattern.fullmatch(stem):
            raise IntegrityError(
                f"{tree.info.name} has no image of such a name",
                where=str(tree.folder / sample),
                why=f"expected {', '.join(tree.info.tree.splitlines())}",
                fix="move what does not belong to it away",
            )


def renditions(ids: Sequence[str]) -> Factors:
    """The kind of rendition of each image of ImageNet-R: its stem before the last underscore, "art" of "art_12"."""
    return {"rendition": np.array([image_stem(sample).rpartition("_")[0] for sample in ids], dtype=np.str_)}


def _info(
    name: str, title: str, images: int, classes: int, *, homepage: str, tree: str, notes: str = ""
) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        title=title,
        splits=("test",),
        default_split="test",
        counts={"test": images},
        classes=classes,
        licence="images are their owners'; see the homepage",
        homepage=homepage,
        tree=tree,
        notes=notes,
    )


def _v2(variant: str, folder: str, others: Sequence[str] = ()) -> TreeReader:
    name = f"imagenetv2-{variant}"
    names = (folder, f"ImageNetV2-{variant}", name)
    return _reader(
        _info(
            name,
            f"ImageNetV2, {variant}",
            10_000,
            1000,
            homepage="https://github.com/modestyachts/ImageNetV2",
            tree=f"[imagenetv2/]{folder}/{{0..999 or 0000..0999 or WordNet ids}}/*.jpeg",
            notes="Folder numbers are class indices. imagenetv2/ alone counts as matched-frequency.",
        ),
        (*(f"imagenetv2/{one}" for one in names), *(f"{one}/{one}" for one in names), *names, *others),
        imagenet_wnids,
        numbers=True,
    )


READERS = (
    _v2("matched-frequency", "imagenetv2-matched-frequency-format-val", others=("imagenetv2",)),
    _v2("threshold-0.7", "imagenetv2-threshold0.7-format-val"),
    _v2("top-images", "imagenetv2-top-images-format-val"),
    _reader(
        _info(
            "imagenet-a",
            "ImageNet-A, natural adversarial examples",
            7_500,
            200,
            homepage="https://github.com/hendrycks/natural-adv-examples",
            tree="[imagenet-adversarial/]imagenet-a/<WordNet id>/*.jpg",
            notes="Scores are taken over the logits of its 200 classes.",
        ),
        ("imagenet-adversarial/imagenet-a", "imagenet-a/imagenet-a", "imagenet-a", ""),
        imagenet_a_wnids,
    ),
    _reader(
        _info(
            "imagenet-r",
            "ImageNet-R, renditions",
            30_000,
            200,
            homepage="https://github.com/hendrycks/imagenet-r",
            tree="[imagenet-rendition/]imagenet-r/<WordNet id>/<kind>_<n>.jpg",
            notes="Scores are taken over the logits of its 200 classes.\nImages are 19 to about 7,000 pixels wide.",
        ),
        ("imagenet-rendition/imagenet-r", "imagenet-r/imagenet-r", "imagenet-r", ""),
        imagenet_r_wnids,
        factors=renditions,
    ),
    _reader(
        _info(
            "imagenet-sketch",
            "ImageNet-Sketch",
            50_889,
            1000,
            homepage="https://github.com/HaohanWang/ImageNet-Sketch",
            tree="[imagenet-sketch/][sketch/|images/]<WordNet id>/sketch_<n>.JPEG",
            notes="Not 50,000 images: a class has up to 51.",
        ),
        ("imagenet-sketch/sketch", "imagenet-sketch/images", "ImageNet-Sketch/sketch", "imagenet-sketch", "sketch", ""),
        imagenet_wnids,
        pattern=_SKETCH,
    ),
)
