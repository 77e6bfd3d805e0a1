"""npy and npz, opened at one door: what an array takes is known, and bounded, before any of it is decoded."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError, ResourceError, UsageError

_FREE = 1 << 28  # bytes that any file may decode to
_RATIO = 64  # and per byte of the file; real logits hardly compress
_MOST_MEMBERS = 1024
_NPY = b"\x93NUMPY"
_DAMAGE = (
    ValueError, EOFError, KeyError, OverflowError, NotImplementedError, RuntimeError, SyntaxError, MemoryError,
    tokenize.TokenError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


class Arrays:
    """The arrays of a file by name (an npy holds one, called ""); each is decoded when it is asked for."""

    def __init__(self, path: Path) -> None:
        """Find the names of the arrays; nothing is decoded.

        Raises:
            IntegrityError: Neither a zip of arrays nor an array.
        """
        self.path, self.where = path, str(path)
        self._bytes = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(len(_NPY))
        self._zip = start[:2] == b"PK"
        if not self._zip and start != _NPY:
            raise IntegrityError(
                "the arrays cannot be read; nothing in them was run", where=self.where, why="no npy and no npz file"
            )
        self.names = self._members() if self._zip else {"": ""}

    def _members(self) -> dict[str, str]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                members = archive.namelist()
        except _DAMAGE as error:
            raise _damaged(self.where, error) from error
        names = [PurePosixPath(member).name.removesuffix(".npy") for member in members]
        if len(members) > _MOST_MEMBERS or len(set(names)) < len(names):
            raise IntegrityError(f"{len(members):,} arrays, or a name twice", where=self.where)
        return dict(zip(names, members, strict=True))

    def load(self, name: str) -> NDArray[Any]:
        """Decode an array.

        Raises:
            IntegrityError: It is damaged, or an array of objects; nothing in it was run.
            ResourceError: It would take far more memory than its file.
        """
        at = f"{self.where}: {name}" if name else self.where
        try:
            if not self._zip:
                with open(self.path, "rb") as file:
                    return self._decode(file, self._bytes, at)
            with zipfile.ZipFile(self.path) as archive:
                member = archive.getinfo(self.names[name])
                self._bound(member.file_size, at)
                with archive.open(member) as file:
                    return self._decode(file, member.file_size, at)
        except _DAMAGE as error:
            if isinstance(error, UsageError):
                raise
            raise _damaged(at, error) from error

    def _bound(self, size: int, where: str) -> None:
        most = max(_FREE, _RATIO * self._bytes)
        if size > most:
            raise ResourceError(
                f"an array of {size:,} bytes lies in a file of {self._bytes:,}",
                where=where,
                why=f"at most {most:,} are decoded of such a file",
                fix="save it without compression (numpy.savez), if it is what it says",
            )

    def _decode(self, file: IO[bytes], size: int, where: str) -> NDArray[Any]:
        """The array of an npy stream of `size` bytes; its header may claim no more than that."""
        version = np.lib.format.read_magic(file)
        header: Any = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in header:
            raise ValueError(f"npy format {version}")
        shape, fortran, dtype = header[version](file)
        if dtype.hasobject:
            raise ValueError("an array of Python objects")
        count = 1
        for length in shape:  # Python's integers do not overflow
            count *= int(length)
        if count < 0 or count * dtype.itemsize > size:
            raise ValueError(f"the header claims {count:,} values of {dtype}, the file holds {size:,} bytes")
        self._bound(count * dtype.itemsize, where)
        data = file.read(count * dtype.itemsize)
        if len(data) != count * dtype.itemsize:
            raise ValueError("it is cut short")
        array = np.frombuffer(data, dtype, count)
        return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def _damaged(where: str, error: BaseException) -> IntegrityError:
    why = str(error) or type(error).__name__
    return IntegrityError("the arrays cannot be read; nothing in them was run", where=where, why=why[:300])


def texts(array: NDArray[Any], where: str) -> list[str]:
    """(n) of an array of names, numbers among them.

    Raises:
        IntegrityError: Another shape or type.
    """
    if array.ndim != 1 or array.dtype.kind not in "iuUS":
        raise IntegrityError(f"an array of shape {array.shape} and dtype {array.dtype} holds no names", where=where)
    values: Iterable[Any] = array.tolist()
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]
