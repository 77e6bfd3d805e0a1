"""Arrays of numbers in a .npz file, read in blocks: never all at once, and never as a pickle."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.formats.shapes import Shape, fits, in_words

_HEADERS: Mapping[tuple[int, int], str] = MappingProxyType(
    {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}
)


class _Other(Exception):
    """The member holds another array than is expected."""


def read_blocks(
    path: Path, name: str, shape: Shape, dtype: str, most: int, block: int
) -> Iterator[NDArray[np.generic]]:
    """An array of a .npz file, `block` entries of its first dimension at a time. Memory: one block.

    Args:
        name: Of the array, without ".npy".
        shape: None stands for any length from 1 to `most`.
        dtype: The only type that is taken.

    Raises:
        DataUnavailableError: The file cannot be read.
        IntegrityError: It is no .npz file, is damaged, lacks the array, or has one of another shape or type.
    """
    try:
        with zipfile.ZipFile(path) as bundle:
            names = bundle.namelist()
            if f"{name}.npy" not in names:
                raise _Other(f"there is no {name!r} in it; found {', '.join(names[:8])}")
            info = bundle.getinfo(f"{name}.npy")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _Other(f"{name} is compressed by method {info.compress_type}, which numpy does not write")
            with bundle.open(info) as member:
                yield from _blocks(member, name, shape, dtype, most, block)
    except _Other as err:
        raise IntegrityError("the .npz file holds other arrays", where=str(path), why=str(err)) from err
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as err:
        fix = "get the file again"
        raise IntegrityError("not a .npz file, or damaged", where=str(path), why=str(err), fix=fix) from err
    except OSError as err:
        raise DataUnavailableError("cannot read a file of the data set", where=str(path), why=str(err)) from err


def _blocks(
    member: IO[bytes], name: str, shape: Shape, dtype: str, most: int, block: int
) -> Iterator[NDArray[np.generic]]:
    version = npy.read_magic(member)
    if version not in _HEADERS:
        raise _Other(f"{name} is an array of version {version}")
    found, fortran, kind = getattr(npy, _HEADERS[version])(member)
    if fortran or kind != np.dtype(dtype) or not fits(found, shape, most):
        order = " in the order of Fortran" if fortran else ""
        raise _Other(
            f"{name} is an array {found} of {kind}{order}, expected {in_words(shape)} of {dtype}, N up to {most:,}"
        )
    each = math.prod(found[1:]) * kind.itemsize
    for start in range(0, found[0], block):
        count = min(block, found[0] - start)
        data = member.read(count * each)
        if len(data) != count * each:
            raise EOFError(f"{name} ends early")
        yield np.frombuffer(data, dtype=kind).reshape(count, *found[1:])
    if member.read(1):  # also brings its checksum to be compared
        raise ValueError(f"more follows after {name}")
