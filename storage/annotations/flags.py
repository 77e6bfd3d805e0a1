"""Factors of ImageNet-X in a data set's own sample table: boolean columns `x_<factor>`, and `x_top`, the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.storage.annotations.imagenet_x import IMAGENET_X_FACTORS, ImageNetX
from cvbench.storage.datasets.readers.class_tree import image_stem
from cvbench.storage.datasets.scenes.columns import FLAG

_TOP = f"{FLAG}top"


def flags_in_table(
    ids: Sequence[str], labels: NDArray[np.int64], factors: Mapping[str, NDArray[Any]], which: str
) -> ImageNetX | None:
    """The annotations of every sample that has a label; None if the table has no such column.

    A factor without a column is in no image.

    Args:
        ids: (N) of the samples.
        labels: (N,) int64.
        factors: The columns, each (N,).
        which: "top": the first factor alone; "multi": all.
    """
    if _TOP not in factors:
        return None
    known = np.flatnonzero(labels >= 0)
    names = tuple(str(ids[row]) for row in known.tolist())
    if which == "top":
        columns = [factors[_TOP][known] == name for name in IMAGENET_X_FACTORS]
    else:
        columns = [factors.get(f"{FLAG}{name}", np.zeros(len(ids), np.bool_))[known] for name in IMAGENET_X_FACTORS]
    flags = np.stack([np.asarray(column, dtype=np.bool_) for column in columns], axis=1)
    stems = tuple(map(image_stem, names))
    return ImageNetX(names, stems, labels[known], flags, which, "table", prototypes=0)
