"""Variables of MATLAB v5 files, one after the other: nothing is allocated before what is announced was checked.

The layout is that of "MAT-File Format", The MathWorks, Level 5: a header of 128 bytes, then elements of a type, a
number of bytes and these bytes, of which a matrix or a compressed matrix is a variable. scipy is not asked: it takes a
file's word for sizes and types, and a damaged one can end the process in it.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError

HEADER, MATRIX, COMPRESSED = 128, 14, 15
_BLOCK = 1 << 20
_INFLATES = 1_032
"""Most bytes that deflate makes of one."""
MOST_TEXT = 1_024
"""Bytes of a variable's name, or of its shape; real ones have some ten."""

_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""Class of an array of numbers -> its type."""
COMPLEX = 0x0800


class Damaged(Exception):
    """Content that is no such format."""


class Other(Exception):
    """A variable is another than is wanted."""


class Bytes(Protocol):
    def read(self, count: int) -> bytes:
        """The next bytes; fewer at the end."""


@dataclass
class Plain:
    """The bytes of an element."""

    handle: BinaryIO
    left: int

    def read(self, count: int) -> bytes:
        data = self.handle.read(min(count, self.left))
        self.left -= len(data)
        return data


class Inflated:
    """The bytes of a compressed element, unpacked."""

    def __init__(self, handle: BinaryIO, length: int) -> None:
        self.packed = Plain(handle, length)
        self.unpack = zlib.decompressobj()

    def read(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count > 0 and not self.unpack.eof:
            packed = self.unpack.unconsumed_tail or self.packed.read(1 << 16)
            part = self.unpack.decompress(packed, count)
            if not part and not packed:
                break
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def finish(self) -> None:
        """Come to the end, where the checksum stands."""
        for _ in range(3):
            self.read(8)
        if not self.unpack.eof:
            raise Damaged("a variable is not as long as it says")


@dataclass
class Variable:
    """A matrix whose first elements are read, and whose content is not.

    Attributes:
        source: What follows.
        order: Byte order, "<" or ">".
        flags: Its class, in the lowest byte, and whether it is complex.
        most: Bytes that can follow at most.
    """

    source: Bytes
    order: str
    flags: int
    shape: tuple[int, ...]
    name: str
    most: int

    @classmethod
    def begin(cls, source: Bytes, order: str, most: int) -> Variable:
        """Read flags, shape and name of a matrix.

        Raises:
            Damaged, struct.error: They cannot be read.
        """
        flags = struct.unpack(f"{order}II", element(source, order, MOST_TEXT)[1])[0]
        dims = element(source, order, MOST_TEXT)[1]
        shape = struct.unpack(f"{order}{len(dims) // 4}i", dims)
        name = element(source, order, MOST_TEXT)[1].decode("latin1")
        return cls(source, order, flags, shape, name, most)

    @property
    def kind(self) -> int:
        """Its class."""
        return self.flags & 0xFF

    def numbers(self) -> NDArray[np.generic]:
        """The array, of the type of its class, in column-major order as MATLAB has it.

        Raises:
            Damaged: It is no array of numbers, or is not as long as its shape says.
        """
        found = _numbers(self.source, self.order, self.shape, self.most).astype(CLASSES[self.kind], copy=False)
        self.finish()
        return found

    def finish(self) -> None:
        """Come to the end of a compressed one, where the checksum stands."""
        if isinstance(self.source, Inflated):
            self.source.finish()


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Say which file it is that cannot be read, or is damaged.

    Raises:
        DataUnavailableError, IntegrityError: That.
    """
    try:
        yield
    except OSError as err:
        raise DataUnavailableError("cannot read a file of the data set", where=str(path), why=str(err)) from err
    except (Damaged, struct.error, zlib.error) as err:
        fix = "get the file again"
        raise IntegrityError("not a MATLAB v5 file, or damaged", where=str(path), why=str(err), fix=fix) from err
    except Other as err:
        raise IntegrityError(str(err), where=str(path)) from err


def variables(handle: BinaryIO) -> Iterator[Variable]:
    """The variables of a file; each is to be read before the next is asked for.

    Raises:
        Damaged, struct.error, zlib.error: It is no such file, or is damaged.
    """
    size, order = os.fstat(handle.fileno()).st_size, _byte_order(handle)
    place = HEADER
    while place + 8 <= size:
        handle.seek(place)
        kind, length = struct.unpack(f"{order}II", handle.read(8))
        place += 8 + length
        if place > size:
            raise Damaged("it ends early")
        source: Bytes = Plain(handle, length)
        most = length
        if kind == COMPRESSED:
            source, most = Inflated(handle, length), length * _INFLATES
            kind, _ = struct.unpack(f"{order}II", source.read(8))
        if kind == MATRIX:
            yield Variable.begin(source, order, most)


def _byte_order(handle: BinaryIO) -> str:
    header = handle.read(HEADER)
    order = {b"IM": "<", b"MI": ">"}.get(header[-2:]) if len(header) == HEADER else None
    if order is None:
        raise Damaged("there is no header of such a file")
    (version,) = struct.unpack(f"{order}H", header[124:126])
    if version != 0x0100:
        raise Damaged("it is of MATLAB 7.3 (HDF5)" if version == 0x0200 else f"version {version:#06x}")
    return order


def element(source: Bytes, order: str, most: int) -> tuple[int, bytes]:
    """The type and the bytes of a small element.

    Raises:
        Damaged: It is cut short, or larger than `most`.
    """
    tag = source.read(8)
    first, second = struct.unpack(f"{order}II", tag)
    if first >> 16:  # up to four bytes, in the place of their number
        if first >> 16 > 4:
            raise Damaged(f"an element of {first >> 16} bytes where 4 have room")
        return first & 0xFFFF, tag[4 : 4 + (first >> 16)]
    if second > most:
        raise Damaged(f"an element of {second:,} bytes where a few are expected")
    data = source.read(-(-second // 8) * 8)
    if len(data) < second:
        raise Damaged("it ends early")
    return first, data[:second]


def _numbers(source: Bytes, order: str, shape: tuple[int, ...], most: int) -> NDArray[np.generic]:
    """The numbers of a matrix, in the type that they are stored in, which may be a smaller one than its class."""
    tag = source.read(8)
    first, size = struct.unpack(f"{order}II", tag)
    small = first >> 16
    if small > 4:
        raise Damaged(f"an element of {small} bytes where 4 have room")
    kind, size = (first & 0xFFFF, small) if small else (first, size)
    dtype = np.dtype(f"{order}{_TYPES[kind]}") if kind in _TYPES else None
    if dtype is None or size != math.prod(shape) * dtype.itemsize:
        raise Damaged(f"{size:,} bytes of type {kind} are no array of shape {shape}")
    if size > most:
        raise Damaged(f"it announces {size:,} bytes, more than it can hold")
    data = bytearray(tag[4 : 4 + small]) if small else bytearray(size)
    place = size if small else 0
    while place < size:
        part = source.read(min(_BLOCK, size - place))
        if not part:
            raise Damaged("it ends early")
        data[place : place + len(part)] = part
        place += len(part)
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F")
