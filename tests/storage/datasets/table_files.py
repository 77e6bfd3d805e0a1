"""Tables of images in every form that is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.storage.datasets.dataset_suite import jpeg

ROWS: list[dict[str, Any]] = [
    {"path": f"images/{k}.jpg", "label": name, "split": split, "weather": sky, "age": age}
    for k, (name, split, sky, age) in enumerate(
        [
            ("wren", "train", "sun", 1.5),
            ("owl", "train", "rain, wind", 2),
            ("owl", "Training", "sun", None),
            ("wren", "validation", 'the "dry" one', 4),
            ("jay", "test", "two\nlines", 5),
            ("jay", "test", "žluť 鳥", 6),
        ]
    )
]


def images(folder: Path, rows: list[dict[str, Any]] = ROWS, column: str = "path") -> None:
    """The images of the rows, each another."""
    for k, row in enumerate(rows):
        path = folder / row[column]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(k))


def cell(value: Any, delimiter: str) -> str:
    """A value as a cell of text, in quotes where it needs them."""
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in f'{delimiter}"\n') else text


def csv_text(rows: list[dict[str, Any]], delimiter: str = ",", end: str = "\n") -> str:
    """The rows as text, a head of names first."""
    head = list(rows[0])
    lines = [head, *([row[name] for name in head] for row in rows)]
    return "".join(delimiter.join(cell(value, delimiter) for value in line) + end for line in lines)


def write(path: Path, form: str, rows: list[dict[str, Any]] = ROWS) -> Path:
    """The rows in one form of a table; returns its file."""
    texts = {
        "csv": (".csv", csv_text(rows).encode()),
        "bom": (".csv", b"\xef\xbb\xbf" + csv_text(rows).encode()),
        "crlf": (".csv", csv_text(rows, end="\r\n").encode()),
        "semicolon": (".csv", csv_text(rows, ";").encode()),
        "tabs": (".tsv", csv_text(rows, "\t").encode()),
        "tabs in csv": (".csv", csv_text(rows, "\t").encode()),
        "excel": (".csv", csv_text(rows, "\t", "\r\n").encode("utf-16")),
        "blank end": (".csv", (csv_text(rows) + "\n,,,,\n\n").encode()),
        "jsonl": (".jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()),
    }
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
        return path.with_suffix(".parquet")
    suffix, data = texts[form]
    path.with_suffix(suffix).write_bytes(data)
    return path.with_suffix(suffix)


FORMS = ("csv", "bom", "crlf", "semicolon", "tabs", "tabs in csv", "excel", "blank end", "jsonl", "parquet")
