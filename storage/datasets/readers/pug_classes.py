"""The labels of PUG: ImageNet and the ImageNet classes that each stands for (Bordes et al. 2023).

`class_to_imagenet_idx.json` maps 151 labels, as the folders are spelt ("Bycicle", "Kangarou"), to 176 ImageNet
indices; 13 labels have more than one. Index 841 belongs to both Shirt and Sweatshirt: the authors' evaluation inverts
the map, the later label wins, and so it scores every Shirt as wrong. `hits` offers both ways; they differ on images of
Shirt only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError, UnknownNameError, UsageError
from cvbench.texts import parse_json, read_text

PUG_FILE = "class_to_imagenet_idx.json"

PUG_GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "camera": ("Camera_Pitch", "Camera_Yaw", "Camera_Roll"),
        "orientation": ("Object_Pitch", "Object_Yaw", "Object_Roll"),
        "size": ("Object_Scale",),
        "texture": ("Object_Texture",),
        "background": ("Worlds",),
        "light": ("Scene_Light",),
    }
)
"""Six factors, and the subsets in which each of them varies."""

PUG_SUBSETS = (
    "Worlds",
    "Camera_Pitch",
    "Camera_Yaw",
    "Camera_Roll",
    "Object_Pitch",
    "Object_Yaw",
    "Object_Roll",
    "Object_Scale",
    "Object_Texture",
    "Scene_Light",
)
"""The ten folders of images; one thing varies in each."""

_COLUMNS = 1000


@dataclass(frozen=True)
class PugClasses:
    """ImageNet classes that each label counts as.

    Attributes:
        labels: Sorted; the rank is the class index of the reference.
        indices: For each label its ImageNet indices, ascending.
    """

    labels: tuple[str, ...]
    indices: tuple[tuple[int, ...], ...]

    def hits(
        self, mode: Literal["set", "reference"] = "set", classes: Sequence[str] | None = None
    ) -> NDArray[np.bool_]:
        """(classes, 1000) bool: whether predicting an ImageNet column is right for an image of a class.

        Args:
            mode: "set": any of the label's own indices is right. "reference": an index that two labels share is right
                for the later one only, as in the authors' evaluation.
            classes: The labels of the rows; else all.

        Raises:
            UsageError: An unknown mode.
            UnknownNameError: A class is not in the map.
        """
        if mode not in ("set", "reference"):
            raise UsageError(f"unknown label mode {mode!r}", fix="set or reference")
        table = np.zeros((len(self.labels), _COLUMNS), dtype=np.bool_)
        for row, columns in enumerate(self.indices):
            if mode == "reference":
                table[:row, list(columns)] = False
            table[row, list(columns)] = True
        if classes is None:
            return table
        rank = {label: row for row, label in enumerate(self.labels)}
        for name in classes:
            if name not in rank:
                raise UnknownNameError.among("label of PUG: ImageNet", name, self.labels)
        return table[[rank[name] for name in classes]]


def read_pug_classes(path: Path) -> PugClasses:
    """Read `class_to_imagenet_idx.json`.

    Raises:
        IntegrityError: It is no map of labels to lists of indices below 1000.
    """
    text = read_text(path, "the labels of PUG: ImageNet", "utf-8")
    content = parse_json(text, "the labels of PUG: ImageNet cannot be read", str(path))
    if not isinstance(content, dict) or not content:
        raise IntegrityError("expected a map of labels to ImageNet indices", where=str(path))
    for label, columns in content.items():
        if not isinstance(columns, list) or not columns or not all(_is_column(column) for column in columns):
            raise IntegrityError(
                f"the label {label!r} has no ImageNet indices", where=str(path), why=f"expected a list, got {columns!r}"
            )
    labels = tuple(sorted(content))
    return PugClasses(labels, tuple(tuple(sorted(set(content[label]))) for label in labels))


def _is_column(value: object) -> bool:
    return type(value) is int and 0 <= value < _COLUMNS
