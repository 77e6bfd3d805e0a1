"""The numbers of all results as one tidy table, in three formats that say the same. Same rows, same bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from cvbench.jobs.figures.base import write_whole
from cvbench.jobs.results.row import TidyRow
from cvbench.texts import csv_cell

COLUMNS = tuple(field.name for field in fields(TidyRow))
STEM = "results"
_TEXT = {"run", "dataset", "split", "backbone", "metric", "factor"}
_WHOLE = {"n", "n_failed"}


def write_tables(rows: Sequence[TidyRow], folder: Path) -> list[Path]:
    """Write `results.parquet`, `results.csv` and `results.json`.

    An undefined number is null in Parquet and JSON and empty in the CSV, whose floats are in their shortest exact form.
    In the CSV a text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    files = {"parquet": parquet_bytes(rows), "csv": csv_bytes(rows), "json": json_bytes(rows)}
    paths = []
    for suffix, data in files.items():
        path = folder / f"{STEM}.{suffix}"
        write_whole(path, data)
        paths.append(path)
    return paths


def parquet_bytes(rows: Sequence[TidyRow]) -> bytes:
    """As Parquet: text, float64 (nullable) and int64 columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {name: pa.string() if name in _TEXT else pa.int64() if name in _WHOLE else pa.float64() for name in COLUMNS}
    columns = {name: pa.array([getattr(row, name) for row in rows], kind) for name, kind in kinds.items()}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def csv_bytes(rows: Sequence[TidyRow]) -> bytes:
    """As CSV in UTF-8."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in asdict(row).items()} for row in rows)
    return text.getvalue().encode()


def json_bytes(rows: Sequence[TidyRow]) -> bytes:
    """As JSON: {"schema_version": 1, "rows": [{column: value}]}."""
    document = {"schema_version": 1, "rows": [asdict(row) for row in rows]}
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
