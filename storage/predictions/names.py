"""Which prediction is of which sample, by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError, UsageError
from cvbench.storage.predictions.base import shown

_IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jfif"}


def _bare(name: str) -> str:
    """A name without the suffix of an image; any other dot belongs to it."""
    suffix = PurePosixPath(name).suffix
    return name[: -len(suffix)] if suffix.lower() in _IMAGES else name


_FORMS: tuple[Callable[[str], str], ...] = (
    str,
    _bare,
    lambda name: PurePosixPath(name).name,
    lambda name: _bare(PurePosixPath(name).name),
)


def match_names(ids: Sequence[str], names: Sequence[str], where: str) -> NDArray[np.int64]:
    """(len(ids),) int64, where in `names` each sample is; -1: nowhere.

    By the whole id, else without the suffix of an image, else by base name, else by base name without suffix: the
    first that finds any. A name that several samples or predictions share in this form is refused.

    Raises:
        IntegrityError: A name occurs twice.
        UsageError: No sample is found at all.
    """
    for form in _FORMS:
        ours, theirs = [form(name) for name in ids], [form(name) for name in names]
        place = {name: i for i, name in enumerate(theirs)}
        found = np.array([place.get(name, -1) for name in ours], dtype=np.int64)
        if (found >= 0).any():
            for known in (theirs, ours):
                if len(set(known)) < len(known):
                    twice = Counter(known).most_common(1)[0][0]
                    raise IntegrityError(f"{shown(twice)} is named twice", where=where)
            return found
    raise UsageError(
        "no prediction is of a sample of the data set",
        where=where,
        why=f"samples are called {shown(ids[0])}, predictions {shown(names[0])}",
        fix="name the samples by id or by file name, --name-column NAME, or --by-order",
    )
