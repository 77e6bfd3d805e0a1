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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cvbench.errors import IntegrityError, UnknownNameError, UsageError

NAMES = ("none", "zstd", "blosc-zstd", "blosc-lz4", "bitround5", "quantize3", "bitround5+zstd")
_PART = re.compile(r"(?P<kind>bitround|quantize|zstd|blosc-zstd|blosc-lz4)(?:-?(?P<number>\d{1,2}))?")
_LEVELS = {"zstd": 1, "blosc-zstd": 5, "blosc-lz4": 5}

_CODECS = {"bytes", "crc32c", "zstd", "blosc", "gzip", "sharding_indexed", "numcodecs.bitround", "numcodecs.quantize"}
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


def check_metadata(document: Mapping[str, Any], where: str) -> None:
    """Accept an array's `zarr.json` only if opening it can run no code and allocate no absurd memory.

    Raises:
        IntegrityError: Not a v3 array, a dtype or codec outside the list, or a shape or chunk beyond reason.
    """
    try:
        shape = [int(n) for n in document["shape"]]
        chunk = [int(n) for n in document["chunk_grid"]["configuration"]["chunk_shape"]]
        regular = document["zarr_format"] == 3 and document["node_type"] == "array"
        regular &= document["chunk_grid"]["name"] == "regular" and len(shape) == len(chunk)
        codecs = set(_codec_names(document["codecs"]))
        itemsize = _itemsize(document["data_type"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError("the metadata of an array cannot be understood", where=where, why=repr(error)) from error
    if not regular:
        raise IntegrityError("not a regular Zarr v3 array", where=where)
    if itemsize is None:
        raise IntegrityError(f"data type {document['data_type']!r} is not accepted", where=where)
    if codecs - _CODECS:
        raise IntegrityError(f"codec {sorted(codecs - _CODECS)} is not accepted", where=where)
    if min([0, *shape]) < 0 or min([1, *chunk]) < 1 or math.prod(shape) > _MOST_ELEMENTS:
        raise IntegrityError(f"shape {shape} with chunks {chunk} is not accepted", where=where)
    if math.prod(chunk) * itemsize > _MOST_CHUNK_BYTES:
        raise IntegrityError(f"chunks of {math.prod(chunk) * itemsize} bytes are not accepted", where=where)


def _itemsize(data_type: Any) -> int | None:
    if isinstance(data_type, str):
        return _DTYPES.get(data_type)
    if data_type.get("name") == "fixed_length_utf32":
        return int(data_type["configuration"]["length_bytes"])
    return None


def _codec_names(codecs: Any) -> Iterator[str]:
    for codec in codecs:
        yield str(codec["name"])
        for nested in ("codecs", "index_codecs"):
            yield from _codec_names(codec.get("configuration", {}).get(nested, []))
