"""Which columns of rows with images in them are what, by the metadata of Hugging Face's libraries or by their names."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError, UnknownNameError
from cvbench.storage.datasets.columns import pairs_text
from cvbench.storage.datasets.formats.roles import is_too_long, usual
from cvbench.storage.datasets.formats.shards import Shards
from cvbench.storage.datasets.labels import OTHER_COLUMN
from cvbench.storage.objects.keys import is_name
from cvbench.texts import parse_json

ROLES = ("image", "label")
LABELS = ("label", "labels", "fine_label")
MAX_WORD = 1_000
"""Characters of a label that is a class's name."""

_IMAGES = ("image", "img")
_TAKEN = {"id", "sample", "label"}  # columns of the sample table in a store


@dataclass(frozen=True)
class Chosen:
    """Columns by what they are.

    Attributes:
        image: Dotted path of the column of bytes, such as "image.bytes".
        label: The column of labels, if there is one.
        names: Column -> its class names.
        plain: Columns of text or numbers.
        others: Columns that are not read.
    """

    image: str
    label: str | None
    names: dict[str, tuple[str, ...]]
    plain: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The columns of labels and of class names."""
        return (*([self.label] if self.label else []), *(name for name in self.names if name != self.label))


def choose(schema: Any, features: Mapping[str, Any], asked: Mapping[str, str], where: str) -> Chosen:
    """Find the columns.

    Args:
        schema: Of Arrow.
        features: Column -> what Hugging Face's libraries know of it.
        asked: Role -> column as a person names it, "" for none.

    Raises:
        UnknownNameError: A column that was asked for is not there.
        IntegrityError: There is no column of images.
    """
    for column in filter(None, asked.values()):
        if column not in schema.names:
            raise UnknownNameError.among("column", column, schema.names, fix=f"there are {', '.join(schema.names)}")
    names = {
        column: tuple(map(str, feature["names"]))
        for column, feature in features.items()
        if feature.get("_type") == "ClassLabel" and _is_list(feature.get("names")) and column in schema.names
    }
    label = next((name for name in (*LABELS, *names) if name in schema.names), None)
    label = label or usual(schema.names, LABELS, "label", where)
    label = asked.get("label", label) or None
    image = _image_column(schema, features, asked.get("image", ""), where)
    known = {*names, *([label] if label else []), image.partition(".")[0]}
    rest = [name for name in schema.names if name not in known]
    plain = tuple(name for name in rest if _is_plain(schema.field(name).type) and is_name(name) and name not in _TAKEN)
    return Chosen(image, label, names, plain, tuple(name for name in rest if name not in plain))


def is_text(kind: Any) -> bool:
    """Whether a type is text."""
    import pyarrow.types as kinds

    return bool(kinds.is_string(kind) or kinds.is_large_string(kind))


def _is_plain(kind: Any) -> bool:
    import pyarrow.types as kinds

    return bool(is_text(kind) or kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind))


def plain_values(column: Any) -> NDArray[Any] | None:
    """(rows,) text, "" for null, or float64, NaN for null; None of a column with texts that are too long."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    if not kinds.is_dictionary(column.type) and not is_text(column.type):
        return np.asarray(column.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(), dtype=np.float64)
    for chunk in column.chunks:
        words = chunk.dictionary if kinds.is_dictionary(chunk.type) else chunk
        if is_too_long(pc.max(pc.utf8_length(words)).as_py() or 0, len(column)):
            return None
    plain = column.cast(column.type.value_type) if kinds.is_dictionary(column.type) else column
    return np.array(plain.fill_null("").to_pylist(), dtype=np.str_)


def _is_list(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str | int) for name in names)


def features_of(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Column -> what Hugging Face's libraries know of it; empty if they did not write the file."""
    try:
        found = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return _plain(found)


def described(shards: Shards) -> dict[str, Any]:
    """Column -> what `dataset_info.json` beside the files knows of it; empty without that file."""
    found = shards.beside("dataset_info.json")
    if found is None:
        return {}
    where, data = found
    content = parse_json(data, "dataset_info.json cannot be read", where)
    return _plain(content.get("features") if isinstance(content, dict) else None)


def _plain(features: object) -> dict[str, Any]:
    return {k: v for k, v in features.items() if isinstance(v, dict)} if isinstance(features, dict) else {}


def _image_column(schema: Any, features: Mapping[str, Any], asked: str, where: str) -> str:
    typed = [name for name, feature in features.items() if feature.get("_type") == "Image"]
    alike = usual(schema.names, _IMAGES, "image", where)
    for name in [asked] if asked else (*typed, *_IMAGES, *([alike] if alike else [])):
        if name in schema.names and (path := _bytes_path(name, schema.field(name).type)):
            return path
    able = [name for name in schema.names if _bytes_path(name, schema.field(name).type)]
    named = [pairs_text({"image": name})[1:] for name in able]
    raise IntegrityError(
        f"the column {asked} holds no images" if asked else "no column of images",
        where=where,
        why=f"expected image {{bytes, path}}, or bytes; the columns are {', '.join(schema.names)}",
        fix=" or ".join(f"--columns {shlex.quote(pairs)}" for pairs in named[:3])
        or "write the files with the images' bytes in a column, or name their paths in a table: table:FILE",
    )


def _bytes_path(name: str, kind: Any) -> str | None:
    """Dotted path of the bytes in a column of a type; None if it has none."""
    import pyarrow.types as kinds

    if kinds.is_binary(kind) or kinds.is_large_binary(kind):
        return name
    if kinds.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return f"{name}.bytes"
    return None


def values_of(column: Any, name: str, chosen: Chosen, where: str) -> NDArray[Any]:
    """(rows,) int64 of a column, -1 for null; or text, "" for null, of a column of labels without a list of names.

    Truth values are the names "false" and "true", as in a table.
    """
    import pyarrow as pa
    import pyarrow.types as kinds

    is_label, known = name == chosen.label, chosen.names.get(name, ())
    if kinds.is_dictionary(column.type):
        check_words(column, name, where)  # before each is written out as often as it stands there
        column = column.cast(column.type.value_type)
    if is_label and not known and (kinds.is_string(column.type) or kinds.is_large_string(column.type)):
        check_words(column, name, where)
        return np.array(column.fill_null("").to_pylist(), dtype=np.str_)
    if is_label and not known and kinds.is_boolean(column.type):
        return np.array(column.cast(pa.string()).fill_null("").to_pylist(), dtype=np.str_)
    if is_label and not known and kinds.is_floating(column.type):
        column = _whole(column, name, where)
    if not kinds.is_integer(column.type):
        raise IntegrityError(
            f"the column {name} holds {column.type}, expected integers",
            where=where,
            fix=OTHER_COLUMN if is_label else None,
        )
    try:
        values = np.asarray(column.cast(pa.int64()).fill_null(-1).to_numpy(), dtype=np.int64)
    except pa.ArrowInvalid as err:  # of uint64, beyond 2^63
        raise IntegrityError(f"the column {name} has values that are no class", where=where, why=str(err)) from err
    wrong = (values < -1) | (values >= len(known) if known else False)
    if wrong.any():
        row = int(wrong.argmax())
        raise IntegrityError(
            f"the column {name} has values that are no class, such as {values[row]}", where=f"{where}: row {row}"
        )
    return values


def check_words(column: Any, name: str, where: str) -> None:
    """Refuse a label of more than `MAX_WORD` characters; the column is of text, or a dictionary of anything."""
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    start = 0
    for chunk in column.chunks:
        words = chunk.dictionary if kinds.is_dictionary(chunk.type) else chunk
        if not (kinds.is_string(words.type) or kinds.is_large_string(words.type)):
            return
        lengths = pc.utf8_length(words)
        longest = pc.max(lengths).as_py() or 0
        if longest > MAX_WORD:
            at = pc.index(lengths, longest).as_py()
            row = start + (pc.index(chunk.indices, at).as_py() if words is not chunk else at)
            raise IntegrityError(
                f"the column {name} has a label of {longest:,} characters",
                where=f"{where}: row {row}",
                why=f"a class's name has {MAX_WORD:,} at most",
                fix="name the column that holds the classes, label=NAME, or shorten the names",
            )
        start += len(chunk)


def _whole(column: Any, name: str, where: str) -> Any:
    """Labels as pandas writes whole numbers among which some are missing: 1.0, null, NaN."""
    import pyarrow as pa

    numbers = np.asarray(column.cast(pa.float64()).fill_null(np.nan).to_numpy(), dtype=np.float64)
    missing = np.isnan(numbers)
    wrong = np.flatnonzero(~missing & ((numbers != np.floor(numbers)) | (np.abs(numbers) > 2**53)))
    if len(wrong):
        raise IntegrityError(
            f"the column {name} holds numbers that are no classes, such as {numbers[wrong[0]]}",
            where=f"{where}: row {wrong[0]}",
            fix=OTHER_COLUMN,
        )
    return pa.chunked_array([pa.array(np.where(missing, -1, numbers).astype(np.int64))])
