"""Which of KITTI's training images belong to which video, and the split by videos that TensorFlow Datasets draws.

    mapping/train_rand.txt          image k -> a line of the other file, from 1; separated by commas
    mapping/train_mapping.txt       lines "<date> <drive> <frame>"

Both are in devkit_object.zip. The split is that of tensorflow_datasets/object_detection/kitti.py, version 3.1.0, which
VTAB uses: a tenth of the videos to test, a tenth to validate, drawn by NumPy's legacy generator with the seed 123.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.formats.lists import lines

MAPPING, ORDER = "mapping/train_mapping.txt", "mapping/train_rand.txt"
_SEED, _PERCENT = 123, 10


def images_of_videos(devkit: Path) -> dict[str, list[int]]:
    """Video -> numbers of its images, both in the order in which the images are numbered.

    Raises:
        DataUnavailableError: A file cannot be read.
        IntegrityError: A line has another form, or a number of the order leads to no line, or twice to one.
    """
    drives = []
    for place, text in lines(devkit / MAPPING):
        fields = text.split()
        if len(fields) != 3:
            raise IntegrityError(f"expected date, drive and frame, found {text[:80]!r}", where=place)
        drives.append(fields[1])
    found: dict[str, list[int]] = defaultdict(list)
    seen: set[int] = set()
    numbers = [number.strip() for _, text in lines(devkit / ORDER) for number in text.strip(",").split(",")]
    for image, number in enumerate(numbers):
        known = number.isascii() and number.isdecimal() and len(number) < 9
        if not known or not 1 <= int(number) <= len(drives) or int(number) in seen:
            what = (
                f"entry {image + 1}, {number[:20]!r}, is no line of {Path(MAPPING).name}, or one that was named before"
            )
            raise IntegrityError(what, where=str(devkit / ORDER), why=f"lines are 1 to {len(drives):,}")
        seen.add(int(number))
        found[drives[int(number) - 1]].append(image)
    if len(found) < 3:
        raise IntegrityError(f"{len(found)} videos are too few to split them", where=str(devkit / ORDER))
    return dict(found)


def split_by_video(videos: Mapping[str, list[int]]) -> dict[str, list[int]]:
    """Numbers of the images of train, val and test, ascending; no video is in two of them."""
    rng = np.random.RandomState(_SEED)  # the published split is of this generator, whose stream is frozen
    count = max(1, _PERCENT * len(videos) // 100)
    test = {str(name) for name in rng.choice(sorted(videos), count, replace=False)}
    val = {str(name) for name in rng.choice(sorted(videos.keys() - test), count, replace=False)}
    parts: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for name, images in videos.items():
        parts["test" if name in test else "val" if name in val else "train"] += images
    return {split: sorted(images) for split, images in parts.items()}
