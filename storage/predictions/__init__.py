"""Predictions that other tools have made: read from csv, json, jsonl, parquet, npy and npz, and written as csv.

A file holds, per sample, either a predicted class (with or without its probability), or a value for every class.
Samples are named, or in the order of the data set. The csv of ImageNet-X's reference code
(`file_name,predicted_class,predicted_probability`) is one of these, and the one that is written. What a file holds
beside what is read is handed over by name; what could be read in two ways is refused, or told by an option.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import CvbenchError, DataUnavailableError, IntegrityError, UsageError
from cvbench.storage.predictions.arrays import Arrays, texts
from cvbench.storage.predictions.base import Kind, Predictions, class_of, narrow, shown, wide
from cvbench.storage.predictions.columns import CLASS_COLUMNS, HEADER, VALUE_KEYS, Asked, find_columns
from cvbench.storage.predictions.names import match_names
from cvbench.storage.predictions.parquet import read_parquet
from cvbench.storage.predictions.records import read_json, read_jsonl
from cvbench.storage.predictions.table import read_csv
from cvbench.texts import csv_cell

__all__ = ["Asked", "Kind", "Predictions", "match_names", "read_predictions", "shown", "write_predictions"]

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".npy", ".npz")


def read_predictions(path: Path, values: str = "auto", asked: Asked | None = None) -> Predictions:
    """Read a file of predictions, by its suffix. Memory: all of them.

    Args:
        path: csv (or tsv) with a header, json (records, or an object of names or of columns), jsonl (a record a line),
            parquet, npy (n,) or (n, k), npz with `logits`, `probabilities` or `predicted_class`, and perhaps
            `file_name`.
        values: What a table of values holds: "logits", "probabilities", or "auto": probabilities if every row is
            non-negative and sums to 1 (within 0.001).
        asked: Columns that are named, rather than found.

    Raises:
        UsageError: Another suffix, nothing in it that is a prediction, or something ambiguous.
        DataUnavailableError: It cannot be read.
        IntegrityError: A value that is none; names its place.
        ResourceError: What would take far more memory than its file.
    """
    suffix, where, asked = path.suffix.lower(), str(path), asked or Asked()
    if suffix not in SUFFIXES:
        raise UsageError(f"cannot read predictions from {path.suffix!r} files", where=where, fix=", ".join(SUFFIXES))
    try:
        if not path.is_file():
            raise FileNotFoundError("there is no such file")
        if suffix in (".npy", ".npz"):
            found = _from_arrays(Arrays(path), values, asked)
        elif suffix == ".json":
            found = read_json(path, values, asked)
        elif suffix == ".parquet":
            found = read_parquet(path, values, asked)
        elif suffix == ".jsonl":
            found = read_jsonl(path, values, asked)
        else:
            with open(path, encoding="utf-8-sig", newline="") as handle:
                found = read_csv(handle, where, values, asked)
    except CvbenchError:
        raise
    except OSError as error:
        raise DataUnavailableError("the predictions cannot be read", where=where, why=str(error)) from error
    except UnicodeDecodeError as error:
        raise IntegrityError("the predictions are not UTF-8 text", where=where, why=str(error)) from error
    if not len(found):
        raise UsageError("the file holds no prediction", where=where)
    if found.names is not None and len(found.names) != len(found):
        raise IntegrityError(f"{len(found.names)} names for {len(found)} predictions", where=where)
    return found


def write_predictions(
    path: Path, ids: Sequence[str], predicted: NDArray[np.int64], probability: NDArray[np.float64]
) -> None:
    """Write what ImageNet-X's reference code reads: base name, predicted class, its probability. Folders are made."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    names = (csv_cell(PurePosixPath(name).name) for name in ids)
    writer.writerows(zip(names, predicted.tolist(), probability.tolist(), strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8")


def _from_arrays(arrays: Arrays, values: str, asked: Asked) -> Predictions:
    """An npy is values or classes; of an npz only the arrays that are needed are decoded."""
    where = arrays.where
    if "" in arrays.names:
        return _from_array(arrays.load(""), None, None, where, values)
    header = list(arrays.names)
    lists = [name for name in header if name.lower() in VALUE_KEYS]
    found = find_columns(header, asked, where, lists=lists, forms=", ".join((*VALUE_KEYS, CLASS_COLUMNS[0])))
    if found.values:
        raise UsageError("no array of predictions", where=where, why=f"it holds {', '.join(header[:6])}")
    names = None if found.name is None else texts(arrays.load(header[found.name]), where)
    if found.table is not None:
        key = header[found.table]
        read = _from_array(arrays.load(key), names, None, where, key.lower() if values == "auto" else values)
    else:
        known = None if found.probability is None else arrays.load(header[found.probability])
        read = _from_array(arrays.load(header[found.classes[0]]), names, known, where, values)
        others = [(header[i], arrays.load(header[i])) for i in found.classes[1:]]
        read = replace(
            read, others=tuple((name, tuple(class_of(v, where) for v in column.tolist())) for name, column in others)
        )
    unread = tuple(header[i] for i in found.unread)
    return replace(read, read=tuple(name for name in header if name not in unread), unread=unread)


def _from_array(
    array: NDArray[np.generic],
    names: list[str] | None,
    probability: NDArray[np.generic] | None,
    where: str,
    values: str,
) -> Predictions:
    if array.ndim == 2 and array.dtype.kind in "fiu" and array.shape[1]:
        with np.errstate(over="ignore"):
            return wide(names, array.astype(np.float32), values, where)
    if array.ndim == 1 and array.dtype.kind in "fiuU":
        if probability is not None and (probability.ndim != 1 or probability.dtype.kind not in "fiu"):
            raise UsageError(f"an array of {probability.dtype} {probability.shape} holds no probabilities", where=where)
        sure = None if probability is None else probability.tolist()
        return narrow(names, [class_of(value, where) for value in array.tolist()], sure, where)
    raise UsageError(f"an array of shape {array.shape} and dtype {array.dtype} holds no predictions", where=where)
