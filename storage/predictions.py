"""Predictions that other tools have made: read from csv, json, jsonl, npy and npz, and written as csv.

A file holds, per sample, either a predicted class (with or without its probability), or a value for every class.
Samples are named, or in the order of the data set. The csv of ImageNet-X's reference code
(`file_name,predicted_class,predicted_probability`) is one of these, and the one that is written.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError, UsageError

Kind = Literal["logits", "probabilities", "class", "class and probability"]

NAME_COLUMNS = ("file_name", "filename", "file", "path", "id", "image", "name")
CLASS_COLUMNS = ("predicted_class", "prediction", "pred", "index", "top1")
PROBABILITY_COLUMNS = ("predicted_probability", "probability", "prob", "confidence", "score")
VALUE_KEYS = ("logits", "probabilities")
SUFFIXES = (".csv", ".json", ".jsonl", ".npy", ".npz")
HEADER = ("file_name", "predicted_class", "predicted_probability")

_NUMBERED = re.compile(r"[A-Za-z_ ]*([0-9]+)")


_FORMS: tuple[Callable[[str], str], ...] = (
    str,
    lambda name: PurePosixPath(name).name,
    lambda name: PurePosixPath(name).stem,
)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a file says of n samples.

    Attributes:
        names: (n) names of the samples; None: they are in the order of the data set.
        classes: (n) predicted class, an index or a class name; None with `values`.
        probability: (n,) float64 of the predicted class, or None.
        values: (n, k) float32 logits or probabilities, or None.
        kind: Which of these it is.
    """

    names: tuple[str, ...] | None
    classes: tuple[int | str, ...] | None
    probability: NDArray[np.float64] | None
    values: NDArray[np.float32] | None
    kind: Kind

    def __len__(self) -> int:
        return len(self.values if self.values is not None else self.classes or ())


def read_predictions(path: Path, values: str = "auto") -> Predictions:
    """Read a file of predictions, by its suffix. Memory: all of them.

    Args:
        path: csv with a header, json (a list of records, or name -> class or list), jsonl (a record a line), npy (n,)
            or (n, k), npz with `logits`, `probabilities` or `predicted_class`, and perhaps `file_name`.
        values: What a table of values holds: "logits", "probabilities", or "auto": probabilities if every row is
            non-negative and sums to 1 (within 0.001).

    Raises:
        UsageError: Another suffix, or nothing in it that is a prediction.
        DataUnavailableError: It cannot be read.
        IntegrityError: A value that is none; names its place.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"cannot read predictions from {path.suffix!r} files", where=str(path), fix=", ".join(SUFFIXES)
        )
    try:
        if path.suffix.lower() in (".npy", ".npz"):
            found = _from_arrays(_arrays(path), str(path), values)
        else:
            text = path.read_text(encoding="utf-8-sig")
            found = _from_text(text, path, values)
    except OSError as error:
        raise DataUnavailableError("the predictions cannot be read", where=str(path), why=str(error)) from error
    except UnicodeDecodeError as error:
        raise IntegrityError("the predictions are not UTF-8 text", where=str(path), why=str(error)) from error
    if not len(found):
        raise UsageError("the file holds no prediction", where=str(path))
    return _checked(found, str(path))


def write_predictions(
    path: Path, ids: Sequence[str], predicted: NDArray[np.int64], probability: NDArray[np.float64]
) -> None:
    """Write what ImageNet-X's reference code reads: base name, predicted class, its probability. Folders are made."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    names = (PurePosixPath(name).name for name in ids)
    writer.writerows(zip(names, predicted.tolist(), probability.tolist(), strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8")


def match_names(ids: Sequence[str], names: Sequence[str], where: str) -> NDArray[np.int64]:
    """(len(ids),) int64, where in `names` each sample is; -1: nowhere.

    By the whole id, else by base name, else by base name without suffix: the first that finds any. A base name that
    several samples or predictions share is refused.

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
                    raise IntegrityError(f"{twice!r} is named twice", where=where)
            return found
    raise UsageError(
        "no prediction is of a sample of the data set",
        where=where,
        why=f"samples are called {ids[0]!r}, predictions {names[0]!r}",
        fix="name the samples by id or by file name, or give --by-order",
    )


def _from_text(text: str, path: Path, values: str) -> Predictions:
    where = str(path)
    if path.suffix.lower() == ".csv":
        return _from_csv(text, where, values)
    try:
        if path.suffix.lower() == ".jsonl":
            content: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            content = json.loads(text)
    except ValueError as error:
        raise IntegrityError("the predictions are no JSON", where=where, why=str(error)) from error
    if isinstance(content, dict):
        key = next((key for key in (*VALUE_KEYS, *CLASS_COLUMNS) if isinstance(content.get(key), list)), None)
        if key is not None:  # arrays by name, as in an npz
            return _from_arrays({name: np.array(value) for name, value in content.items()}, where, values)
        content = [{NAME_COLUMNS[0]: name, _key_of(value): value} for name, value in content.items()]
    if not isinstance(content, list) or not all(isinstance(record, dict) for record in content):
        raise UsageError("expected a list of records, or an object of names", where=where)
    return _from_records(content, where, values)


def _key_of(value: object) -> str:
    return VALUE_KEYS[0] if isinstance(value, list) else CLASS_COLUMNS[0]


def _from_csv(text: str, where: str, values: str) -> Predictions:
    rows = csv.reader(io.StringIO(text))
    header = [cell.strip() for cell in next(rows, [])]
    name, one, probability = (_column(header, known) for known in (NAME_COLUMNS, CLASS_COLUMNS, PROBABILITY_COLUMNS))
    wide = {} if one is not None else _numbered(header)
    if one is None and not wide:
        raise UsageError(
            "the table has no column of predictions",
            where=where,
            why=f"its header is {', '.join(header[:6])}",
            fix=f"{','.join(HEADER)}, or file_name,0,1,2,... with a value for every class",
        )
    order = [wide[i] for i in range(len(wide))]
    names: list[str] = []
    classes: list[int | str] = []
    numbers: list[float] = []
    table: list[NDArray[np.float32]] = []
    for row in rows:
        at = f"{where}:{rows.line_num}"
        if len(row) != len(header):
            raise IntegrityError(f"a row has {len(row)} cells, the header {len(header)}", where=at)
        if name is not None:
            names.append(row[name])
        if one is not None:
            classes.append(_class(row[one]))
            if probability is not None:
                numbers.append(_number(row[probability], at))
        else:
            table.append(_numeric([row[i] for i in order], at))
    if one is None:
        return _wide(names if name is not None else None, np.array(table, dtype=np.float32), values, where)
    return _narrow(names if name is not None else None, classes, numbers if probability is not None else None)


def _from_records(records: Sequence[Mapping[str, Any]], where: str, values: str) -> Predictions:
    first = list(records[0]) if records else []
    name, one, probability = (
        None if (at := _column(first, known)) is None else first[at]
        for known in (NAME_COLUMNS, CLASS_COLUMNS, PROBABILITY_COLUMNS)
    )
    key = next((key for key in VALUE_KEYS if key in first), None)
    try:
        names = None if name is None else [str(record[name]) for record in records]
        if key is not None:
            table = np.array([_numeric(record[key], where) for record in records], dtype=np.float32)
            return _wide(names, table, values if values != "auto" else _unless_logits(key), where)
        if one is not None:
            known = None if probability is None else [float(record[probability]) for record in records]
            return _narrow(names, [_class(record[one]) for record in records], known)
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError("a record is not like the first", where=where, why=str(error)) from error
    raise UsageError(
        "the records hold no prediction", where=where, fix=f"{CLASS_COLUMNS[0]}, or {' or '.join(VALUE_KEYS)} as a list"
    )


def _unless_logits(key: str) -> str:
    """What is called logits may still be probabilities, where nothing but its shape named it."""
    return key if key == "probabilities" else "auto"


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except ValueError as error:
        raise IntegrityError(
            "the arrays cannot be read; nothing in them was run", where=str(path), why=str(error)
        ) from error


def _from_arrays(arrays: Mapping[str, NDArray[Any]], where: str, values: str) -> Predictions:
    name = next((key for key in NAME_COLUMNS if key in arrays), None)
    names = None if name is None else [str(value) for value in arrays[name].tolist()]
    key = next((key for key in (*VALUE_KEYS, *CLASS_COLUMNS, "") if key in arrays), None)
    if key is None:
        raise UsageError(
            "no array of predictions", where=where, why=f"it holds {', '.join(arrays)}", fix=", ".join(VALUE_KEYS)
        )
    array = arrays[key]
    if array.ndim == 2 and array.dtype.kind in "fiu":
        return _wide(names, array.astype(np.float32), values if values != "auto" or not key else key, where)
    if array.ndim == 1 and array.dtype.kind in "iuU":
        probability = next((arrays[known] for known in PROBABILITY_COLUMNS if known in arrays), None)
        return _narrow(names, array.tolist(), None if probability is None else probability.tolist())
    raise UsageError(f"an array of shape {array.shape} and dtype {array.dtype} holds no predictions", where=where)


def _wide(names: list[str] | None, table: NDArray[np.float32], values: str, where: str) -> Predictions:
    if table.ndim != 2:
        raise IntegrityError("rows have different numbers of values", where=where)
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise IntegrityError(f"{len(bad)} samples have values that are not finite", where=f"{where}: row {bad[0]}")
    unit = bool((table >= 0).all() and (np.abs(table.sum(axis=1, dtype=np.float64) - 1) <= 1e-3).all())
    if values == "probabilities" and not unit:
        raise IntegrityError("the probabilities of a sample are negative or do not sum to 1", where=where)
    kind: Kind = "probabilities" if values == "probabilities" or (values == "auto" and unit) else "logits"
    return Predictions(None if names is None else tuple(names), None, None, table, kind)


def _narrow(names: list[str] | None, classes: Sequence[int | str], probability: list[float] | None) -> Predictions:
    numbers = None if probability is None else np.array(probability, dtype=np.float64)
    kind: Kind = "class" if numbers is None else "class and probability"
    return Predictions(None if names is None else tuple(names), tuple(classes), numbers, None, kind)


def _checked(found: Predictions, where: str) -> Predictions:
    if found.names is not None and len(found.names) != len(found):
        raise IntegrityError(f"{len(found.names)} names for {len(found)} predictions", where=where)
    p = found.probability
    if p is not None and (len(p) != len(found) or not ((p > 0) & (p <= 1)).all()):
        raise IntegrityError("a probability is not in (0, 1]", where=where, why="fractions are expected, not percent")
    return found


def _column(header: Sequence[str], known: Iterable[str]) -> int | None:
    lower = [cell.lower() for cell in header]
    return next((lower.index(name) for name in known if name in lower), None)


def _numbered(header: Sequence[str]) -> dict[int, int]:
    """Class -> column, if the columns that end in a number are 0 .. k-1."""
    found = {int(match.group(1)): i for i, cell in enumerate(header) if (match := _NUMBERED.fullmatch(cell))}
    return found if len(found) > 1 and sorted(found) == list(range(len(found))) else {}


def _class(value: object) -> int | str:
    text = str(value).strip()
    return int(text) if text.isdigit() else text


def _number(cell: str, where: str) -> float:
    try:
        return float(cell)
    except ValueError as error:
        raise IntegrityError("a value is not a number", where=where, why=str(error)) from error


def _numeric(cells: Iterable[Any], where: str) -> NDArray[np.float32]:
    try:
        return np.array(list(cells), dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise IntegrityError("a value is not a number", where=where, why=str(error)) from error
