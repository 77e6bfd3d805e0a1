"""ReaL: every label that fits an image of ImageNet's validation set (Beyer et al. 2020, "Are we done with ImageNet?").

A JSON array of 50,000 lists of class indices; position k is the image whose file name has the number k + 1. Images with
an empty list are left out of the score (46,837 remain); a prediction is right if it is in the list.
"""

from __future__ import annotations

from pathlib import Path

from cvbench.errors import IntegrityError
from cvbench.storage.annotations.find import ANNOTATIONS, find_file
from cvbench.texts import parse_json, read_text

_NAMES = ("real.json", "imagenet_real_labels.json", "imagenet_real_labels.jsonl")
_FOLDERS = (
    "reassessed-imagenet",
    "imagenet-real",
    "imagenet",
    "annotations",
    "imagenet_x/annotations",
    "imagenet-x",
)
_HOMEPAGE = "https://github.com/google-research/reassessed-imagenet"
_IMAGES = 50_000
_CLASSES = 1000


def load_real(place: str | Path) -> dict[str, tuple[int, ...]]:
    """Stem of each of the 50,000 images -> its labels; () for the images that are not scored.

    Args:
        place: The json file, its folder, a checkout of the repository, or the data root.

    Raises:
        DataUnavailableError: The file is not there.
        IntegrityError: It is no array of 50,000 lists of class indices.
    """
    path = find_file(place, _NAMES, _FOLDERS, "ImageNet ReaL", _HOMEPAGE, "imagenet-real")
    content = parse_json(read_text(path, ANNOTATIONS), "the labels of ReaL cannot be read", str(path))
    if not isinstance(content, list) or len(content) != _IMAGES:
        found = f"{len(content):,} entries" if isinstance(content, list) else type(content).__name__
        raise IntegrityError("not the labels of ReaL", where=str(path), why=f"expected 50,000 lists, found {found}")
    labels: dict[str, tuple[int, ...]] = {}
    for number, entry in enumerate(content, start=1):
        if not isinstance(entry, list) or not all(type(value) is int and 0 <= value < _CLASSES for value in entry):
            raise IntegrityError(f"image {number} has no list of classes", where=str(path), why=f"found {entry!r:.60}")
        labels[f"ILSVRC2012_val_{number:08d}"] = tuple(entry)
    return labels
