"""Structures in MATLAB v5 files: an array of records whose fields are single numbers and texts."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Sequence
from pathlib import Path

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.formats.matparse import (
    CLASSES,
    COMPLEX,
    MATRIX,
    MOST_TEXT,
    Bytes,
    Damaged,
    Other,
    Variable,
    damage_named,
    element,
    variables,
)

MAX_RECORDS = 100_000
MAX_FIELDS = 64
MAX_FIELD = 64 * 1024
"""Bytes of a field of a record."""
MAX_BYTES = 64 * 1024 * 1024
"""Bytes of all records together."""
_STRUCTURE, _CHARACTERS = 2, 4
_ENCODINGS = {1: "latin1", 2: "latin1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}
"""Type of an element of letters -> their encoding, of numbers as long as they are."""

Field = float | str | None


def load_records(path: Path, name: str, fields: Sequence[str]) -> list[dict[str, Field]]:
    """Load an array of records.

    Args:
        name: Of the variable.
        fields: Those that are read. A field that is no single number and no text is None.

    Raises:
        DataUnavailableError: The file cannot be read.
        IntegrityError: It is no MATLAB v5 file, is damaged, lacks the variable or a field, or has more than any list of
            a data set: `MAX_RECORDS`, `MAX_FIELDS`, `MAX_FIELD`, `MAX_BYTES`.
    """
    seen = []
    with damage_named(path), open(path, "rb") as handle:
        for variable in variables(handle):
            seen.append(variable.name)
            if variable.name == name:
                found = _records(variable, fields)
                variable.finish()
                return found
    raise IntegrityError(f"there is no {name!r} in it", where=str(path), why=f"found {', '.join(seen) or 'nothing'}")


def _records(variable: Variable, fields: Sequence[str]) -> list[dict[str, Field]]:
    count = math.prod(variable.shape)
    if variable.kind != _STRUCTURE or not 0 <= count <= MAX_RECORDS or min(variable.shape, default=0) < 0:
        raise Other(f"{variable.name} is no list of records: shape {variable.shape}, class {variable.kind}")
    names = _names(variable)
    if lacking := [field for field in fields if field not in names]:
        raise Other(f"{variable.name} has no field {lacking[0]!r}: it has {', '.join(names)}")
    found: list[dict[str, Field]] = []
    left = MAX_BYTES
    for _ in range(count):
        record: dict[str, Field] = {}
        for name in names:
            kind, size = struct.unpack(f"{variable.order}II", variable.source.read(8))
            left -= size
            if kind != MATRIX:
                raise Damaged(f"a field of type {kind}")
            if size > MAX_FIELD or left < 0:
                raise Damaged(f"a field of {size:,} bytes: it is larger than any list of a data set")
            data = variable.source.read(size)
            if len(data) < size:
                raise Damaged("it ends early")
            if name in fields:
                record[name] = _field(data, variable.order)
        found.append(record)
    return found


def _names(variable: Variable) -> list[str]:
    """Names of the fields, each in as many bytes."""
    (width,) = struct.unpack(f"{variable.order}i", element(variable.source, variable.order, MOST_TEXT)[1])
    names = element(variable.source, variable.order, MAX_FIELDS * MOST_TEXT)[1]
    if not 0 < width <= MOST_TEXT or not names or len(names) % width or len(names) // width > MAX_FIELDS:
        raise Damaged(f"names of fields in {len(names)} bytes, of {width} each")
    return [names[at : at + width].partition(b"\0")[0].decode("latin1") for at in range(0, len(names), width)]


def _field(data: bytes, order: str) -> Field:
    if not data:  # an empty array, without so much as a shape
        return None
    source: Bytes = io.BytesIO(data)
    own = Variable.begin(source, order, len(data))
    if own.kind == _CHARACTERS and math.prod(own.shape) == max(own.shape, default=0):
        kind, letters = element(source, order, MAX_FIELD)
        encoding = _ENCODINGS.get(kind)
        if encoding is None:
            raise Damaged(f"letters of type {kind}")
        wide = {"<": "utf-16-le", ">": "utf-16-be"}[order] if encoding == "utf-16" else encoding
        return letters.decode(wide, errors="replace")
    if own.kind in CLASSES and not own.flags & COMPLEX and own.shape and set(own.shape) == {1}:
        return float(own.numbers().item())
    return None
