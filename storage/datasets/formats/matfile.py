"""MATLAB v5 files: what they hold is known, and bounded, before any of it is loaded."""

from __future__ import annotations

import io
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.formats.files import read_bounded

MAX_BYTES = 16 * 1024 * 1024
MAX_INFLATED = 64 * 1024 * 1024
MAX_ELEMENTS = 1_000_000
_HEADER, _COMPRESSED = 128, 15
_NUMBERS = {"double", "single", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}


def load_integers(path: Path, *names: str) -> dict[str, NDArray[np.int64]]:
    """Variables of a .mat file, each flattened to (N,) int64: such files hold lists as (1, N) or (N, 1) doubles.

    Only numeric variables of a sane size are ever loaded, never cells, structures, functions or objects.

    Raises:
        DataUnavailableError: The file cannot be read.
        IntegrityError: It is no MATLAB v5 file, lacks a variable, or a variable is no list of whole numbers.
    """
    content = load_variables(path, _NUMBERS, *names)
    return {name: _integers(path, name, content[name]) for name in names}


def load_variables(path: Path, kinds: set[str], *names: str, squeeze: bool = False) -> dict[str, Any]:
    """Load variables that are lists of some kinds, as `scipy.io.loadmat` gives them.

    Args:
        kinds: MATLAB's classes that are taken, such as "double" and "struct".
        squeeze: Leave out axes of length 1.

    Raises:
        DataUnavailableError: The file cannot be read.
        IntegrityError: It is no MATLAB v5 file, has more than any list of a data set (`MAX_BYTES`, unpacked
            `MAX_INFLATED`), lacks a variable, or a variable is of another kind.
    """
    from scipy.io import loadmat, whosmat

    too_large = "the file is larger than any list of this data set"
    data = read_bounded(path, MAX_BYTES, what="a file of the data set", too_large=too_large)
    if _inflated(data) > MAX_INFLATED:
        raise IntegrityError(too_large, where=str(path), why=f"unpacked it has more than {MAX_INFLATED:,} bytes")
    try:
        known = {name: (shape, kind) for name, shape, kind in whosmat(io.BytesIO(data), appendmat=False)}
        for name in names:
            _check_header(path, name, known, kinds)
        content = loadmat(io.BytesIO(data), appendmat=False, variable_names=list(names), squeeze_me=squeeze)
        return {name: content[name] for name in names}
    except (IntegrityError, MemoryError):
        raise
    except Exception as err:  # a damaged file ends in any error, v7.3 (HDF5) in NotImplementedError
        raise IntegrityError(
            "not a MATLAB v5 file, or damaged", where=str(path), why=str(err), fix="get the file again"
        ) from err


def _inflated(data: bytes) -> int:
    """Bytes of the compressed variables of a file, unpacked; counted up to `MAX_INFLATED`, little is held of them."""
    order = "<" if data[_HEADER - 2 : _HEADER] == b"IM" else ">"
    at, total = _HEADER, 0
    while at + 8 <= len(data) and total <= MAX_INFLATED:
        kind, size = struct.unpack_from(f"{order}II", data, at)
        at += 8
        if kind == _COMPRESSED:
            unpack, rest = zlib.decompressobj(), data[at : at + size]
            while rest and total <= MAX_INFLATED:
                try:
                    total += len(unpack.decompress(rest, 1 << 20))
                except zlib.error:  # damaged: scipy says so
                    break
                rest = unpack.unconsumed_tail
        at += size
    return total


def _check_header(path: Path, name: str, known: dict[str, tuple[tuple[int, ...], str]], kinds: set[str]) -> None:
    if name not in known:
        raise IntegrityError(
            f"there is no {name!r} in it", where=str(path), why=f"found {', '.join(known) or 'nothing'}"
        )
    shape, kind = known[name]
    if kind not in kinds or math.prod(shape) > MAX_ELEMENTS or sum(n != 1 for n in shape) > 1:
        what = "numbers" if kinds == _NUMBERS else "/".join(sorted(kinds))
        raise IntegrityError(f"{name} is no list of {what}: {kind} of shape {shape}", where=str(path))


def _integers(path: Path, name: str, values: NDArray[np.generic]) -> NDArray[np.int64]:
    flat = np.asarray(values).reshape(-1)
    if not np.isfinite(flat).all() or (flat != np.floor(flat)).any():
        raise IntegrityError(f"{name} has values that are no whole numbers", where=str(path))
    return flat.astype(np.int64)
