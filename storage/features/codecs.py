"""Codec names of the command line, and what may be in a store that we open.

`none` | filters and at most one compressor joined by `+`, e.g. `zstd`, `blosc-lz4`, `bitround5+blosc-zstd`:
    bitroundN   keep N mantissa bits (numcodecs)      zstd[-LEVEL]        level 1 unless said
    quantizeN   keep N decimal digits (numcodecs)     blosc-zstd[-LEVEL]  byte shuffle, level 5
                                                      blosc-lz4[-LEVEL]   bit shuffle, level 5
Features lie channels-last, where shuffled bytes suit zstd (float16: 1.15 times smaller, with bitround5 1.7) and
shuffled bits suit lz4 (1.0 and 1.45); bench/store.py measures it.
crc32c always comes last: without it zstd and blosc hand back some damaged chunks without an error.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cvbench.errors import IntegrityError, UnknownNameError, UsageError
from cvbench.storage.features.parse import Fields
from cvbench.storage.objects.keys import REPAIR

NAMES = ("none", "zstd", "blosc-zstd", "blosc-lz4", "bitround5", "quantize3", "bitround5+zstd")
_PART = re.compile(r"(?P<kind>bitround|quantize|zstd|blosc-zstd|blosc-lz4)(?:-?(?P<number>\d{1,2}))?")
_LEVELS = {"zstd": 1, "blosc-zstd": 5, "blosc-lz4": 5}

_FILTERS = {"numcodecs.bitround", "numcodecs.quantize"}
_COMPRESSORS = {"zstd", "blosc"}  # those whose frames say what they decode to, see `frames`
_CODECS = _FILTERS | _COMPRESSORS | {"bytes", "crc32c"}
_DTYPES = {"float16": 2, "float32": 4, "float64": 8, "int8": 1, "int16": 2, "int32": 4, "int64": 8}
_DTYPES |= {"uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8, "bool": 1}
_MOST_ELEMENTS, _MOST_CHUNK_BYTES = 2**50, 2**30


def parse_codec(name: str, dtype: str) -> tuple[list[Any], list[Any]]:
    """zarr's filters and bytes-to-bytes codecs for a codec name, crc32c last.

    Raises:
        UnknownNameError: A part that is no codec.
        UsageError: A filter after a compressor, two compressors, or a number out of range.
    """
    from zarr.codecs import Crc32cCodec

    filters: list[Any] = []
    compressors: list[Any] = []
    for part in [] if name == "none" else name.split("+"):
        match = _PART.fullmatch(part)
        if match is None:
            raise UnknownNameError.among("codec", name, NAMES, fix=f"one of {', '.join(NAMES)}")
        kind, number = match["kind"], match["number"]
        if compressors:
            raise UsageError(
                f"codec {name!r}: {part} comes after a compressor", fix="filters first, e.g. bitround5+zstd"
            )
        if kind in _LEVELS:
            compressors.append(_compressor(kind, int(number or _LEVELS[kind]), dtype))
        else:
            filters.append(_filter(name, kind, number, dtype))
    return filters, [*compressors, Crc32cCodec()]


def _compressor(kind: str, level: int, dtype: str) -> Any:
    from zarr.codecs import BloscCodec, ZstdCodec

    if level > (22 if kind == "zstd" else 9):
        raise UsageError(f"codec {kind}: level {level} is too high")
    if kind == "zstd":
        return ZstdCodec(level=level, checksum=False)
    if kind == "blosc-zstd":
        return BloscCodec(cname="zstd", clevel=level, shuffle="shuffle")
    return BloscCodec(cname="lz4", clevel=level, shuffle="bitshuffle")


def _filter(name: str, kind: str, number: str | None, dtype: str) -> Any:
    from zarr.codecs import numcodecs

    most = {"float16": 10, "float32": 23, "float64": 52}[dtype] if kind == "bitround" else 12
    if number is None or not 1 <= int(number) <= most:
        raise UsageError(f"codec {name!r}: {kind} needs a number from 1 to {most}, e.g. {kind}5")
    with quiet():
        if kind == "bitround":
            return numcodecs.BitRound(keepbits=int(number))
        return numcodecs.Quantize(digits=int(number), dtype=dtype)


@contextmanager
def quiet() -> Iterator[None]:
    """Without zarr's notes that numcodecs' filters and fixed-length text are extensions of the format."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*(not in the Zarr version 3 specification|does not have a Zarr V3).*"
        )
        yield


@dataclass(frozen=True)
class Chain:
    """Codecs of the values of one chunk.

    Attributes:
        plain: No filter, little-endian: its bytes are those of the values.
        compressor: "zstd", "blosc" or None.
        checked: crc32c comes last.
    """

    plain: bool
    compressor: str | None
    checked: bool


@dataclass(frozen=True)
class ArrayForm:
    """Form of an array's objects, checked, from its `zarr.json`.

    Attributes:
        shape, chunk: Of the array and of one object.
        data_type: Name of a number's type, or "text".
        itemsize: Bytes of a value.
        chain: Of a chunk; where there are shards, of an inner chunk.
        inner: Shape of an inner chunk of a shard; None without shards.
        separator: Between the numbers of an object's key.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    data_type: str
    itemsize: int
    chain: Chain
    inner: tuple[int, ...] | None
    separator: str

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a decoded object."""
        return math.prod(self.chunk) * self.itemsize


def check_metadata(document: Any, where: str) -> ArrayForm:
    """Accept an array's `zarr.json` only if opening it can run no code and allocate no absurd memory.

    Raises:
        IntegrityError: Not a v3 array, a dtype or codec outside the list, or a shape or chunk beyond reason.
    """
    fields = Fields(document, where)
    if fields.integer("zarr_format") != 3 or fields.text("node_type") != "array":
        raise IntegrityError("not a regular Zarr v3 array", where=where, fix=REPAIR)
    grid, keys = fields.object("chunk_grid"), fields.object("chunk_key_encoding")
    shape, chunk = fields.integers("shape"), grid.object("configuration").integers("chunk_shape", least=1)
    if grid.text("name") != "regular" or len(shape) != len(chunk):
        raise IntegrityError("not a regular Zarr v3 array", where=where, fix=REPAIR)
    data_type, itemsize = _data_type(fields)
    chain, inner = _codecs(fields, chunk)
    if math.prod(shape) > _MOST_ELEMENTS:
        raise IntegrityError(f"shape {list(shape)} with chunks {list(chunk)} is not accepted", where=where, fix=REPAIR)
    if math.prod(chunk) * itemsize > _MOST_CHUNK_BYTES:
        raise IntegrityError(f"chunks of {math.prod(chunk) * itemsize} bytes are not accepted", where=where, fix=REPAIR)
    separator = keys.object("configuration").text("separator") if "configuration" in keys else "/"
    if keys.text("name") != "default" or separator not in ("/", "."):
        raise keys.wrong("separator", "not accepted")
    if "attributes" in fields:
        fields.object("attributes")
    return ArrayForm(shape, chunk, data_type, itemsize, chain, inner, separator)


def _data_type(fields: Fields) -> tuple[str, int]:
    value = fields.raw("data_type")
    if isinstance(value, str) and value in _DTYPES:
        return value, _DTYPES[value]
    if isinstance(value, dict) and value.get("name") == "fixed_length_utf32":
        size = fields.object("data_type").object("configuration").integer("length_bytes", most=_MOST_CHUNK_BYTES)
        if size and size % 4 == 0:
            return "text", size
    raise IntegrityError("a data type is not accepted", where=fields.where, why=repr(value)[:80], fix=REPAIR)


def _codecs(fields: Fields, chunk: tuple[int, ...]) -> tuple[Chain, tuple[int, ...] | None]:
    codecs = fields.objects("codecs")
    if [codec.text("name") for codec in codecs] != ["sharding_indexed"]:
        return _chain(codecs, fields), None
    shard = codecs[0].object("configuration")
    inner = shard.integers("chunk_shape", least=1)
    divides = len(inner) == len(chunk) and all(n % part == 0 for n, part in zip(chunk, inner, strict=True))
    index = _chain(shard.objects("index_codecs"), shard)
    at = shard.text("index_location") if "index_location" in shard else "end"
    if not divides or at != "end" or index != Chain(plain=True, compressor=None, checked=True):
        raise shard.wrong("", "shards of this form are not accepted")
    return _chain(shard.objects("codecs"), shard), inner


def _chain(codecs: list[Fields], fields: Fields) -> Chain:
    """Filters, then `bytes`, then at most one compressor, then crc32c or nothing: no other order has been written."""
    names = [codec.text("name") for codec in codecs]
    if set(names) - _CODECS:
        raise IntegrityError(f"codec {sorted(set(names) - _CODECS)} is not accepted", where=fields.where, fix=REPAIR)
    if names.count("bytes") != 1:
        raise fields.wrong("codecs", "expected one codec bytes")
    at = names.index("bytes")
    filters, after = names[:at], names[at + 1 :]
    checked = after[-1:] == ["crc32c"]
    compressors = after[:-1] if checked else after
    if set(filters) - _FILTERS or len(compressors) > 1 or set(compressors) - _COMPRESSORS:
        raise fields.wrong("codecs", f"codecs in the order {names} are not accepted")
    order = codecs[at].object("configuration") if "configuration" in codecs[at] else None
    little = order is None or "endian" not in order or order.text("endian") == "little"
    return Chain(not filters and little, compressors[0] if compressors else None, checked)
