"""The labels of validation images that lie in one flat folder, by the number in the file's name.

    [ILSVRC2012_devkit_t12/][data/]ILSVRC2012_validation_ground_truth.txt   line NNNNN: ILSVRC2012_ID of image NNNNN
    ... and beside it meta.mat                                              ILSVRC2012_ID -> WordNet id -> class
    [imagenet_x/annotations/]filename_label.csv                             file_name,label     class from 0

ILSVRC2012_ID counts from 1 and in an order of its own; used as a class index it gives an accuracy near 0.1 %.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.readers.imagenet_classes import class_indices
from cvbench.storage.objects.folders import listing
from cvbench.texts import read_text

TRUTH = "ILSVRC2012_validation_ground_truth.txt"
META = "meta.mat"
TABLE = "filename_label.csv"

_DEVKIT = ("", "data", "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12/data")
_ANNOTATIONS = ("", "annotations", "imagenet_x/annotations", "imagenet-x", "imagenetx/imagenet_x/annotations")
_NUMBER = re.compile(r"ILSVRC2012_val_([0-9]{8})\.[A-Za-z]+")


def flat_labels(folder: Path, root: Path, numbers: NDArray[np.int64], info: DatasetInfo) -> NDArray[np.int64]:
    """(N,) int64 class indices of the images with these numbers (from 1).

    Raises:
        DataUnavailableError: Neither the development kit nor the table is beside the images or under the data root.
        IntegrityError: One of them is damaged, or lacks an image.
    """
    near = list(dict.fromkeys((folder, folder.parent, root, root / "imagenet")))
    for data in (top / below for top in near for below in _DEVKIT):
        if (data / TRUTH).is_file() and (data / META).is_file():
            path, labels = data / TRUTH, devkit_labels(data)
            break
    else:
        for path in (top / below / TABLE for top in near for below in _ANNOTATIONS):
            if path.is_file():
                labels = table_labels(path)
                break
        else:
            raise DataUnavailableError(
                "the validation images lie in one folder, and no file says their classes",
                where=str(folder),
                why=f"expected ILSVRC2012_devkit_t12/data/{{{TRUTH},{META}}} or {TABLE} beside it; "
                f"found {listing(folder.parent)}",
                fix=f"unpack ILSVRC2012_devkit_t12.tar.gz from {info.homepage} beside the folder",
            )
    missing = [int(number) for number in numbers if int(number) not in labels]
    if missing:
        raise IntegrityError(f"there is no label for image {missing[0]}", where=str(path))
    return np.array([labels[int(number)] for number in numbers], dtype=np.int64)


def devkit_labels(data: Path) -> dict[int, int]:
    """Image number -> class index, from the `data` folder of the development kit."""
    wnids = _devkit_wnids(data / META)
    index = class_indices()
    labels: dict[int, int] = {}
    for number, line in enumerate(_lines(data / TRUTH), start=1):
        wnid = wnids.get(int(line)) if line.strip().isdecimal() else None
        if wnid is None:
            raise IntegrityError(
                f"cannot read the line {line!r}",
                where=f"{data / TRUTH}:{number}",
                why=f"expected an ILSVRC2012_ID of {META}, one a line",
            )
        if wnid not in index:
            raise IntegrityError(f"{wnid} is no class of ImageNet-1k", where=str(data / META))
        labels[number] = index[wnid]
    return labels


def table_labels(path: Path) -> dict[int, int]:
    """Image number -> class index, from a table `file_name,label` with a header."""
    labels: dict[int, int] = {}
    rows = csv.DictReader(_lines(path))
    if not {"file_name", "label"} <= set(rows.fieldnames or ()):
        raise IntegrityError("the table has no columns file_name and label", where=str(path))
    for row in rows:
        match = _NUMBER.fullmatch((row["file_name"] or "").rpartition("/")[2])
        text = row["label"] or ""
        if not match or not text.isdecimal() or int(text) > 999:
            raise IntegrityError(
                f"cannot read the row of {row['file_name']!r}", where=f"{path}:{rows.line_num}", why=f"label {text!r}"
            )
        labels[int(match.group(1))] = int(text)
    return labels


def _devkit_wnids(path: Path) -> dict[int, str]:
    """ILSVRC2012_ID -> WordNet id of the leaves: the synsets without children (fields 0, 1 and 4 of each record)."""
    from scipy.io import loadmat

    try:
        synsets = loadmat(path, squeeze_me=True)["synsets"]
        return {int(record[0]): str(record[1]) for record in _records(synsets) if int(record[4]) == 0}
    except Exception as err:  # the parser raises whatever the damaged bytes lead it to
        raise IntegrityError(
            "the development kit's meta.mat cannot be read",
            where=str(path),
            why=f"expected the variable synsets: {type(err).__name__}: {err}",
            fix="unpack ILSVRC2012_devkit_t12.tar.gz again",
        ) from err


def _records(synsets: Any) -> Iterator[Any]:
    yield from np.atleast_1d(synsets).tolist()


def _lines(path: Path) -> list[str]:
    return read_text(path, "a file of labels", "utf-8").splitlines()
