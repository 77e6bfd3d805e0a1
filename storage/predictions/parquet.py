"""Tables of predictions in Parquet, as pandas and timm write them: a row a sample, read in parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cvbench.errors import CvbenchError, IntegrityError, ResourceError, raise_if_lacking
from cvbench.storage.predictions.base import Predictions
from cvbench.storage.predictions.columns import VALUE_KEYS, Asked, find_columns
from cvbench.storage.predictions.table import from_rows

_ROWS = 4_096  # read at once
_MOST_CELLS = 64
"""Cells that a file may have for each of its bytes: runs of equal ones take hardly any."""


def read_parquet(path: Path, values: str, asked: Asked) -> Predictions:
    """Read a file whose columns are those of a csv, or with the values of all classes as a list.

    Raises:
        UsageError: No column of predictions, or an ambiguous one.
        IntegrityError: It is no Parquet file, or damaged; or a cell that is none.
        ResourceError: It would take far more memory than its bytes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    import pyarrow.types as kinds

    where = str(path)
    try:
        with pq.ParquetFile(path) as file:
            schema, footer = file.schema_arrow, file.metadata
            if footer.num_rows * max(len(schema.names), 1) > _MOST_CELLS * path.stat().st_size:
                raise ResourceError(
                    f"{footer.num_rows:,} rows of {len(schema.names):,} columns in {path.stat().st_size:,} bytes",
                    where=where,
                    fix="a csv, or an npy of the values",
                )
            header = list(schema.names)
            lists = [field.name for field in schema if kinds.is_list(field.type) or kinds.is_large_list(field.type)]
            forms = f"predicted_class, or {' or '.join(VALUE_KEYS)} as a list"
            found = find_columns(header, asked, where, lists=lists, forms=forms)
            if found.table is not None and values == "auto" and header[found.table].lower() == "probabilities":
                values = "probabilities"
            texts = [field.name for field in schema if kinds.is_string(field.type) or kinds.is_large_string(field.type)]
        with pq.ParquetFile(path, read_dictionary=texts) as file:  # a word that stands in many rows may be long
            return from_rows(header, _rows(file, where), where, values, asked, columns=found)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, CvbenchError):
            raise
        raise_if_lacking(error)
        raise IntegrityError("the predictions are no Parquet file, or damaged", where=where, why=str(error)) from error


def _rows(file: Any, where: str) -> Iterator[tuple[str, list[Any]]]:
    """(place, cells) of every row, its number from 0."""
    number = 0
    for batch in file.iter_batches(batch_size=_ROWS, use_threads=False):
        for cells in zip(*map(_cells, batch.columns), strict=True):
            yield f"{where}: row {number}", list(cells)
            number += 1


def _cells(column: Any) -> list[Any]:
    """The values of a column; equal words are one object."""
    import pyarrow.types as kinds

    if not kinds.is_dictionary(column.type):
        return list(column.to_pylist())
    words = column.dictionary.to_pylist()
    return [None if at is None else words[at] for at in column.indices.to_pylist()]
