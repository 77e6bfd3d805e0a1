"""Predictions in JSON: records, a record a line, columns, or names. Deep, large and doubled things are refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from cvbench.errors import IntegrityError, ResourceError, UsageError
from cvbench.storage.predictions.base import Predictions, shown
from cvbench.storage.predictions.columns import (
    CLASS_COLUMNS,
    NAME_COLUMNS,
    PROBABILITY_COLUMNS,
    VALUE_KEYS,
    Asked,
    find_columns,
)
from cvbench.storage.predictions.table import from_rows
from cvbench.texts import repeated

_MOST_LINE = 1 << 26  # bytes of a record
_MOST_BYTES = 4 << 30  # that Python needs for one document
_KNOWN = {*NAME_COLUMNS, *CLASS_COLUMNS, *PROBABILITY_COLUMNS, *VALUE_KEYS}


def read_json(path: Path, values: str, asked: Asked) -> Predictions:
    """Read a json file: records, an object of names, of columns, or what pandas writes in any of its orients.

    Raises:
        UsageError: No predictions in it, or ambiguous ones.
        IntegrityError: No JSON; a key twice; records that differ from the first.
        ResourceError: It would take more memory than `_MOST_BYTES`.
    """
    where = str(path)
    data = path.read_bytes()
    # What Python takes: a value and its places in two lists, an empty list, an object with a few keys.
    need = 2 * len(data) + 48 * data.count(b",") + 64 * data.count(b"[") + 256 * data.count(b"{")
    if need > _MOST_BYTES:
        raise ResourceError(
            f"to read the JSON takes about {need / 2**30:.0f} GiB of memory",
            where=where,
            fix="jsonl (a record a line), csv, or npz",
        )
    text = data.decode("utf-8-sig")
    try:
        content = _parse(text, where)
    except IntegrityError:
        lines = text.split("\n")
        if len(lines) < 2 or not lines[0].rstrip().endswith("}"):
            raise
        return _of_lines(enumerate(lines, 1), where, values, asked)  # pandas: orient="records", lines=True
    return _of_content(content, where, values, asked)


def read_jsonl(path: Path, values: str, asked: Asked) -> Predictions:
    """Read a record a line; memory is that of the numbers.

    Raises:
        UsageError, IntegrityError: As in `read_json`.
    """
    with open(path, encoding="utf-8-sig") as handle:
        return _of_lines(enumerate(_lines(handle, str(path)), 1), str(path), values, asked)


def _lines(handle: Any, where: str) -> Iterator[str]:
    while line := handle.readline(_MOST_LINE):
        if len(line) >= _MOST_LINE:
            raise IntegrityError(f"a record is longer than {_MOST_LINE:,} characters", where=where)
        yield line


def _of_lines(lines: Iterable[tuple[int, str]], where: str, values: str, asked: Asked) -> Predictions:
    records = ((f"{where}:{number}", _parse(line, f"{where}:{number}")) for number, line in lines if line.strip())
    return _of_records(records, where, values, asked)


def _of_content(content: Any, where: str, values: str, asked: Asked) -> Predictions:
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        if isinstance(content.get("columns"), list):  # pandas: orient="split"
            names = [str(cell) for cell in content["columns"]]
            records = [dict(zip(names, row, strict=False)) if isinstance(row, list) else row for row in content["data"]]
            if len(set(names)) < len(names) or any(isinstance(r, list) or len(r) != len(names) for r in records):
                raise IntegrityError("a row of `data` does not fit `columns`", where=where)
            content = records
        elif "schema" in content:  # pandas: orient="table"
            content = content["data"]
    if isinstance(content, dict) and content:
        content = _of_object(content, where)
    if not isinstance(content, list):
        raise UsageError("expected a list of records, or an object of names", where=where)
    numbered = ((f"{where}: record {i}", record) for i, record in enumerate(content))
    return _of_records(numbered, where, values, asked)


def _of_object(content: Mapping[str, Any], where: str) -> list[Any]:
    """Records of an object whose keys are columns or names of samples."""
    known = {key for key in content if key.strip().lower() in _KNOWN}
    columns = list(content.values())
    if known and all(isinstance(column, list) for column in columns):
        lengths = {len(column) for column in columns}
        if len(lengths) > 1:
            raise IntegrityError(
                "columns of different lengths",
                where=where,
                why=", ".join(f"{key}: {len(column):,}" for key, column in list(content.items())[:6]),
            )
        return [dict(zip(content, row, strict=True)) for row in zip(*columns, strict=True)]
    if known and all(isinstance(column, dict) for column in columns):  # pandas: orient="columns"
        if any(list(column) != list(columns[0]) for column in columns):
            raise IntegrityError("the columns have different rows", where=where)
        return [dict(zip(content, row, strict=True)) for row in zip(*(c.values() for c in columns), strict=True)]
    if all(isinstance(value, dict) for value in columns):  # pandas: orient="index"
        if any(NAME_COLUMNS[0] in value for value in columns):
            return columns
        return [{NAME_COLUMNS[0]: name, **value} for name, value in content.items()]
    key = VALUE_KEYS[0] if isinstance(columns[0], list) else CLASS_COLUMNS[0]
    return [{NAME_COLUMNS[0]: name, key: value} for name, value in content.items()]


def _of_records(records: Iterator[tuple[str, Any]], where: str, values: str, asked: Asked) -> Predictions:
    first = next(records, None)
    if first is None:
        raise UsageError("the file holds no prediction", where=where)
    if not isinstance(first[1], dict):
        raise UsageError("expected a list of records, or an object of names", where=where, why=shown(first[1]))
    header = [str(key) for key in first[1]]
    lists = [key for key, value in first[1].items() if isinstance(value, list)]
    found = find_columns(
        header, asked, where, lists=lists, forms=f"{CLASS_COLUMNS[0]}, or {' or '.join(VALUE_KEYS)} as a list"
    )
    rows = (_row(header, at, record) for at, record in chain([first], records))
    if found.table is not None and values == "auto" and header[found.table].strip().lower() == "probabilities":
        values = "probabilities"
    return from_rows(header, rows, where, values, asked, columns=found)


def _row(header: Sequence[str], at: str, record: Any) -> tuple[str, list[Any]]:
    if not isinstance(record, dict) or record.keys() != set(header):
        raise IntegrityError(
            "a record is not like the first", where=at, why=f"the first has {', '.join(header[:6])}; this is another"
        )
    return at, [record[key] for key in header]


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise IntegrityError("the JSON is nested too deep", where=where) from error
    except ValueError as error:
        raise IntegrityError("the predictions are no JSON", where=where, why=str(error)[:300]) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of a key that is there twice, JSON would keep the last without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"the key {shown(repeated(key for key, _ in pairs))} is there twice")
    return found
