"""The numbers of results as JSON, CSV and Parquet: the one schema of all commands and of the report.

JSON: {"schema_version": 2, "rows": [{column: value}], "results": [what each `run` is and what is said of it]}. A
row has the columns of `Row`, undefined numbers are null. CSV and Parquet have the rows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from cvbench.engine.analyses.base import Result
from cvbench.jobs.results.row import COLUMNS, COUNTS, SCHEMA, TEXTS, Row, plain
from cvbench.texts import csv_cell

_TOLD = ("run", "dataset", "split", "view", "notes", "verdicts")
_IN_ROWS = ("differences", "summary", "options", "all_taps")
"""Attributes that the rows, or the report, say in their own way."""


def document(results: Sequence[tuple[Result, Sequence[str]]], rows: Iterable[Row]) -> dict[str, Any]:
    """The JSON form; arrays and numbers that are not finite stay what they are, see `cvbench.texts.json_value`.

    Args:
        results: With the names of the variables and coordinates of each that no row has: points, drawn images.
        rows: Of all of them.
    """
    described = [_described(result, arrays) for result, arrays in results]
    return {"schema_version": SCHEMA, "rows": [plain(row) for row in rows], "results": described}


def _described(result: Result, arrays: Sequence[str]) -> dict[str, Any]:
    attrs = result.attrs
    found: dict[str, Any] = {"analysis": result.name, **{key: attrs[key] for key in _TOLD if key in attrs}}
    found["attributes"] = {key: value for key, value in attrs.items() if key not in (*_TOLD, *_IN_ROWS)}
    there = [name for name in arrays if name in result.data]
    dims = {*arrays, *(dim for name in there for dim in result.data[name][0])}
    found["coordinates"] = {dim: labels for dim, labels in result.coords.items() if dim in dims}
    found["arrays"] = {
        name: {"dimensions": list(result.data[name][0]), "values": result.data[name][1]} for name in there
    }
    return found


def csv_text(rows: Iterable[Row]) -> str:
    """Write rows as CSV: floats in their shortest exact form, undefined ones empty.

    A text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in plain(row).items()} for row in rows)
    return text.getvalue()


def parquet_bytes(rows: Sequence[Row]) -> bytes:
    """Write rows as Parquet: text, float64 (nullable) and int64 columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {name: pa.string() if name in TEXTS else pa.int64() if name in COUNTS else pa.float64() for name in COLUMNS}
    columns = {name: pa.array([getattr(row, name) for row in rows], kind) for name, kind in kinds.items()}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()
