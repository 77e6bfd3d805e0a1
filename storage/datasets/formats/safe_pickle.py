"""Read a pickle that holds plain data, and run nothing of what it asks for.

A pickle is a program: it may name any function and have it called. Here every name is looked up in a short table of
stand-ins that only take notes; no module is imported, numpy's own constructors included. What can come out is numbers,
strings, bytes, lists, tuples, sets, dicts, and uint8 arrays that are built here, with their size checked.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError
from cvbench.storage.datasets.formats.files import read_bounded

MAX_BYTES = 256 * 1024 * 1024
"""The largest pickle that is read; CIFAR's are 31 MB (CIFAR-100's 155 MB)."""


def load_plain(path: Path) -> object:
    """The plain data in a pickle file, strings of Python 2 as latin-1.

    Raises:
        IntegrityError: It is damaged, asks for anything but plain data, or is too large.
        DataUnavailableError: It cannot be read.
    """
    too_large = "{size} bytes are more than any file of this data set has"
    data = read_bounded(path, MAX_BYTES, what="a file of the data set", too_large=too_large)
    try:
        return _finish(_PlainUnpickler(io.BytesIO(data), encoding="latin1").load())
    except MemoryError:
        raise
    except Exception as err:  # a hostile or damaged pickle can end in any error
        raise IntegrityError(
            "the file is damaged, or is not plain data; nothing in it was run",
            where=str(path),
            why=str(err) or type(err).__name__,
            fix="get the archive again and compare its md5",
        ) from err


class _Dtype:
    """Stands in for numpy.dtype: only bytes are known."""

    __slots__ = ()

    def __init__(self, code: object, *flags: object) -> None:
        if code not in ("u1", "|u1", "uint8"):
            raise pickle.UnpicklingError(f"arrays of {code!r} are not expected, only uint8")

    def __setstate__(self, state: object) -> None:
        """A byte has no byte order or fields to restore."""


class _Array:
    """Stands in for numpy.ndarray: keeps shape and bytes until the pickle has been read."""

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array: NDArray[np.uint8] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, fortran, raw = state
        self.set(shape, dtype, "F" if fortran else "C", raw)

    def set(self, shape: object, dtype: object, order: str, raw: object) -> None:
        """Take the pixels, if their number fits the shape."""
        if isinstance(raw, str):
            raw = raw.encode("latin1")  # a byte string of Python 2
        if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray) or order not in ("C", "F"):
            raise pickle.UnpicklingError("not an array of bytes")
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError("an array without a shape")
        if math.prod(shape) != len(raw):
            raise pickle.UnpicklingError(f"an array of shape {shape} with {len(raw)} bytes")
        self.array = np.frombuffer(raw, dtype=np.uint8).reshape(shape, order="F" if order == "F" else "C")


class _Reconstruct:
    """Stands in for numpy's _reconstruct(ndarray, (0,), b"b")."""

    __slots__ = ()

    def __new__(cls, *args: object) -> Any:
        return _Array()


class _FromBuffer:
    """Stands in for numpy's _frombuffer(bytes, dtype, shape, order), of pickle protocol 5."""

    __slots__ = ()

    def __new__(cls, raw: object, dtype: object, shape: object, order: str) -> Any:
        array = _Array()
        array.set(shape, dtype, order, raw)
        return array


class _Encode:
    """Stands in for _codecs.encode, by which Python 3 writes bytes in protocol 2."""

    __slots__ = ()

    def __new__(cls, text: object, encoding: object = "latin1") -> Any:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"the encoding {encoding!r} is not expected")
        return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], type] = {("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Dtype}
for _core in ("numpy.core", "numpy._core"):
    _STAND_INS[f"{_core}.multiarray", "_reconstruct"] = _Reconstruct
    _STAND_INS[f"{_core}.numeric", "_frombuffer"] = _FromBuffer
_STAND_INS["_codecs", "encode"] = _Encode


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> type:
        try:
            return _STAND_INS[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}") from None

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError("it asks for an object outside of the file")


def _finish(content: object) -> object:
    """Put the arrays in the place of their stand-ins, at the top level or in the top dict."""
    if isinstance(content, dict):
        return {key: _finish_value(value) for key, value in content.items()}
    return _finish_value(content)


def _finish_value(value: object) -> object:
    return value.array if isinstance(value, _Array) else value
