"""The labels of validation images that lie in one flat folder, by the number in the file's name.

    [ILSVRC2012_devkit_t12/][data/]ILSVRC2012_validation_ground_truth.txt   line NNNNN: ILSVRC2012_ID of image NNNNN
    ... and beside it meta.mat                                              ILSVRC2012_ID -> WordNet id -> class
    [imagenet_x/annotations/]filename_label.csv                             file_name,label     class from 0
    LOC_val_solution.csv, of Kaggle                                         ImageId,PredictionString: the WordNet id,
                                                                            then a box; again for each box
    ILSVRC2012_val_NNNNNNNN_<WordNet id>.JPEG                               the image's own name

ILSVRC2012_ID counts from 1 and in an order of its own; used as a class index it gives an accuracy near 0.1 %.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.matrecords import load_records
from cvbench.storage.datasets.readers.imagenet_classes import class_indices
from cvbench.storage.objects.folders import listing
from cvbench.texts import read_records, read_text

TRUTH = "ILSVRC2012_validation_ground_truth.txt"
META = "meta.mat"
TABLE = "filename_label.csv"
KAGGLE = "LOC_val_solution.csv"

_DEVKIT = ("", "data", "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12/data")
_ANNOTATIONS = ("", "annotations", "imagenet_x/annotations", "imagenet-x", "imagenetx/imagenet_x/annotations")
_WHAT = "a file of labels"
_LABEL, _ID = re.compile(r"0*[0-9]{1,3}", re.ASCII), re.compile(r"[0-9]{1,6}", re.ASCII)
_NUMBER = re.compile(r"ILSVRC2012_val_([0-9]{8})\.[A-Za-z]+")
_NAMED = re.compile(r"ILSVRC2012_val_[0-9]{8}_(n[0-9]{8})\.[A-Za-z]+")
_KAGGLE_ID = re.compile(r"ILSVRC2012_val_([0-9]{8})")


def named_labels(folder: Path, names: Sequence[str]) -> NDArray[np.int64] | None:
    """(N,) int64 class indices of images that have the WordNet id in their names; None if none has.

    Raises:
        IntegrityError: Some have it and others not, or it is of no class.
    """
    found = [_NAMED.fullmatch(name) for name in names]
    if not any(found):
        return None
    index = class_indices()
    for name, match in zip(names, found, strict=True):
        if match is None or match[1] not in index:
            raise IntegrityError(
                "the name has no WordNet id, though others have one" if match is None else f"{match[1]} is no class",
                where=str(folder / name),
            )
    return np.array([index[match[1]] for match in found if match is not None], dtype=np.int64)


def flat_labels(folder: Path, root: Path, numbers: NDArray[np.int64], info: DatasetInfo) -> NDArray[np.int64]:
    """(N,) int64 class indices of the images with these numbers (from 1).

    Raises:
        DataUnavailableError: Neither the development kit nor the table is beside the images or under the data root.
        IntegrityError: One of them is damaged, or lacks an image.
    """
    above = [one for one in folder.parents if one == root or root in one.parents]
    near = list(dict.fromkeys((folder, folder.parent, *above, root, root / "imagenet")))
    for data in (top / below for top in near for below in _DEVKIT):
        if (data / TRUTH).is_file() and (data / META).is_file():
            path, labels = data / TRUTH, devkit_labels(data)
            break
    else:
        tables = [(top / KAGGLE, kaggle_labels) for top in near]
        tables += [(top / below / TABLE, table_labels) for top in near for below in _ANNOTATIONS]
        for path, read in tables:
            if path.is_file():
                labels = read(path)
                break
        else:
            raise DataUnavailableError(
                "the validation images lie in one folder, and no file says their classes",
                where=str(folder),
                why=f"expected ILSVRC2012_devkit_t12/data/{{{TRUTH},{META}}}, {TABLE} or {KAGGLE} beside it; "
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
        wnid = wnids.get(int(line)) if _ID.fullmatch(line.strip()) else None
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
    columns, rows = read_records(path, _WHAT)
    if not {"file_name", "label"} <= set(columns):
        raise IntegrityError("the table has no columns file_name and label", where=str(path))
    for where, row in rows:
        match, text = _NUMBER.fullmatch(row["file_name"].rpartition("/")[2]), row["label"]
        if not match or not _LABEL.fullmatch(text):
            raise IntegrityError(
                f"cannot read the row of {row['file_name'][:80]!r}", where=where, why=f"label {text[:80]!r}"
            )
        labels[int(match.group(1))] = int(text)
    return labels


def kaggle_labels(path: Path) -> dict[int, int]:
    """Image number -> class index, from Kaggle's table, whose PredictionString is WordNet id, x0, y0, x1, y1, again."""
    index = class_indices()
    labels: dict[int, int] = {}
    columns, rows = read_records(path, _WHAT)
    if not {"ImageId", "PredictionString"} <= set(columns):
        raise IntegrityError("the table has no columns ImageId and PredictionString", where=str(path))
    for where, row in rows:
        match, words = _KAGGLE_ID.fullmatch(row["ImageId"]), row["PredictionString"].split()
        named = {index.get(word, -1) for word in words[::5]}
        if match is None or len(named) != 1 or -1 in named or len(words) % 5:
            raise IntegrityError(
                f"cannot read the row of {row['ImageId'][:80]!r}", where=where, why=" ".join(words[:6])[:80]
            )
        labels[int(match[1])] = named.pop()
    return labels


def _devkit_wnids(path: Path) -> dict[int, str]:
    """ILSVRC2012_ID -> WordNet id of the leaves: the synsets without children."""
    number, children = "ILSVRC2012_ID", "num_children"
    try:
        found = {}
        for record in load_records(path, "synsets", (number, "WNID", children)):
            own, leaf = record[number], record[children]
            if not isinstance(own, float) or not isinstance(leaf, float):
                raise IntegrityError(f"{number} or {children} is no number")
            if leaf == 0:
                found[int(own)] = str(record["WNID"])
        return found
    except (IntegrityError, ValueError, OverflowError) as err:  # NaN and infinity are no numbers of a class
        raise IntegrityError(
            "the development kit's meta.mat cannot be read",
            where=str(path),
            why=f"expected the variable synsets: {_reason(err)}",
            fix="unpack ILSVRC2012_devkit_t12.tar.gz again",
        ) from err


def _reason(err: Exception) -> str:
    if isinstance(err, IntegrityError):
        return f"{err.what}: {err.why}" if err.why else err.what
    return f"{type(err).__name__}: {err}"


def _lines(path: Path) -> list[str]:
    return read_text(path, _WHAT, "utf-8").splitlines()
