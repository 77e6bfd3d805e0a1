"""ImageNet-X: which of sixteen factors set an image apart from the prototypes of its class (Idrissi et al. 2022).

    imagenet_x_{train,val}_{top,multi}_factor.jsonl     an object a line: file_name, class, 16 flags 0/1, free text
    prototypical_paths.csv                              the validation images that annotators were shown as prototypes
    imagenet_1k_classes_to_100_metaclasses.csv          row = class index: wnid,name,metaclass

"top" has the one factor that matters most, "multi" all that were noted. Rows of prototypes are left out, as in the
reference (`load_annotations`): 46,110 of the validation set remain. The images are unmodified photographs: a factor
says what is unusual in one, not what was done to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError, UnknownNameError
from cvbench.storage.annotations.find import ANNOTATIONS, find_file
from cvbench.storage.datasets.base import check_unique
from cvbench.storage.datasets.readers.class_tree import image_stem
from cvbench.texts import parse_json, read_records, read_text

IMAGENET_X_FACTORS = (
    "pose",
    "background",
    "pattern",
    "color",
    "smaller",
    "shape",
    "partial_view",
    "subcategory",
    "texture",
    "larger",
    "darker",
    "object_blocking",
    "person_blocking",
    "style",
    "brighter",
    "multiple_objects",
)
"""The factors in the reference's order of columns, which is not the order in the files."""

METACLASSES = (
    "device",
    "dog",
    "commodity",
    "bird",
    "structure",
    "covering",
    "wheeled_vehicle",
    "food",
    "equipment",
    "insect",
    "vehicle",
    "furniture",
    "primate",
    "vessel",
    "snake",
    "natural_object",
    "other",
)
"""The metaclasses that are told apart; all others are "other"."""

_HOMEPAGE = "https://github.com/facebookresearch/imagenetx (folder imagenet_x/annotations)"
_FOLDERS = (
    "annotations",
    "imagenet_x/annotations",
    "imagenetx/imagenet_x/annotations",
    "imagenet-x",
    "imagenet-x/annotations",
    "imagenet-x/imagenet_x/annotations",
)
_PROTOTYPES = "prototypical_paths.csv"
_METACLASSES = "imagenet_1k_classes_to_100_metaclasses.csv"
_CLASSES = 1000


@dataclass(frozen=True, eq=False)
class ImageNetX:
    """The annotated images, in the order of the file.

    Attributes:
        names: (n) file names as the file has them, unique.
        stems: (n) their stems, unique: what samples are joined on.
        labels: (n,) int64, index of the ImageNet class.
        factors: (n, 16) bool, columns as `IMAGENET_X_FACTORS`.
        which: "top" or "multi".
        partition: "val" or "train".
        prototypes: Rows left out because the image is a prototype.
    """

    names: tuple[str, ...]
    stems: tuple[str, ...]
    labels: NDArray[np.int64]
    factors: NDArray[np.bool_]
    which: str
    partition: str
    prototypes: int

    def __len__(self) -> int:
        return len(self.names)


def load_imagenet_x(
    place: str | Path,
    *,
    which: Literal["top", "multi"] = "top",
    partition: Literal["val", "train"] = "val",
    keep_prototypes: bool = False,
) -> ImageNetX:
    """Read the annotations of a partition.

    Args:
        place: The jsonl file, its folder, a checkout of the repository, or the data root.
        keep_prototypes: Do not leave out the prototypes; then their list is not needed. Training images have none.

    Raises:
        UnknownNameError: No such `which` or `partition`.
        DataUnavailableError: The file, or the list of prototypes, is not there.
        IntegrityError: A line cannot be read, or an image has two.
    """
    for kind, value, known in (("factors", which, ("top", "multi")), ("partition", partition, ("val", "train"))):
        if value not in known:
            raise UnknownNameError.among(f"{kind} of ImageNet-X", value, known, fix=" or ".join(known))
    name = f"imagenet_x_{partition}_{which}_factor.jsonl"
    path = find_file(place, (name,), _FOLDERS, "ImageNet-X", _HOMEPAGE, "imagenet-x")
    left_out = set() if keep_prototypes or partition == "train" else _prototypes(path.parent)
    names: list[str] = []
    labels: list[int] = []
    flags: list[list[bool]] = []
    prototypes = 0
    # Not splitlines: the free text may hold other characters that it would break a line at.
    for number, line in enumerate(read_text(path, ANNOTATIONS).split("\n"), start=1):
        if not line.strip():
            continue
        file, label, row = _parse(line, f"{path}:{number}")
        if image_stem(file) in left_out:
            prototypes += 1
            continue
        names.append(file)
        labels.append(label)
        flags.append(row)
    if not names:
        raise IntegrityError("there is no annotation in the file", where=str(path))
    stems = tuple(map(image_stem, names))
    check_unique(stems, str(path))
    return ImageNetX(
        names=tuple(names),
        stems=stems,
        labels=np.array(labels, dtype=np.int64),
        factors=np.array(flags, dtype=np.bool_),
        which=which,
        partition=partition,
        prototypes=prototypes,
    )


def load_metaclasses(place: str | Path) -> tuple[str, ...]:
    """(1000) metaclass of each ImageNet class by index; what is not in `METACLASSES` becomes "other".

    Args:
        place: The csv file, its folder, a checkout of the repository, or the data root.

    Raises:
        DataUnavailableError: The file is not there.
        IntegrityError: It does not have 1000 rows with a name.
    """
    path = find_file(place, (_METACLASSES,), _FOLDERS, "ImageNet-X", _HOMEPAGE, "imagenet-x")
    names = [row.get("name") for _, row in read_records(path, ANNOTATIONS)[1]]
    if len(names) != _CLASSES or not all(names):
        raise IntegrityError(
            "not a table of metaclasses", where=str(path), why=f"expected 1000 rows with a name, found {len(names):,}"
        )
    return tuple(name if name in METACLASSES else "other" for name in names if name)


def _prototypes(folder: Path) -> set[str]:
    """Stems of the validation images that are prototypes."""
    path = find_file(folder, (_PROTOTYPES,), _FOLDERS, "ImageNet-X", _HOMEPAGE, "imagenet-x")
    columns, rows = read_records(path, ANNOTATIONS)
    if "file_name" not in columns:
        raise IntegrityError("the list of prototypes has no column file_name", where=str(path))
    return {image_stem(row["file_name"]) for _, row in rows if row["file_name"]}


def _parse(line: str, where: str) -> tuple[str, int, list[bool]]:
    """File name, class index and flags of a line."""
    row = parse_json(line, "cannot read an annotation of ImageNet-X", where)
    try:
        file, label, flags = row["file_name"], row["class"], [row[name] for name in IMAGENET_X_FACTORS]
    except (TypeError, KeyError) as err:
        raise IntegrityError("cannot read an annotation of ImageNet-X", where=where, why=repr(err)) from err
    if not isinstance(file, str) or type(label) is not int or not 0 <= label < _CLASSES:
        raise IntegrityError("an annotation without a file name or a class below 1000", where=where)
    if any(flag not in (0, 1) for flag in flags):
        raise IntegrityError("a factor is neither 0 nor 1", where=where)
    return file, label, [bool(flag) for flag in flags]
