"""Arrays of MATLAB v5 files, against scipy; and files that are damaged or announce what they do not hold."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.formats.matarray import Wanted, load_arrays

WANTED = {"X": Wanted((4, 3, None), 1_000, "u1"), "y": Wanted((None, 1), 1_000)}


def arrays(n: int = 7, dtype: str = "f8") -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(n)
    return {
        "X": rng.integers(0, 256, (4, 3, n), dtype=np.uint8),
        "y": rng.integers(1, 11, (n, 1)).astype(dtype),
    }


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 1_000])
def test_agrees_with_scipy(tmp_path: Path, compressed: bool, dtype: str, n: int) -> None:
    path = tmp_path / "a.mat"
    given = arrays(n, dtype)
    savemat(path, {"other": "text", "cells": np.array([1, "b"], object), **given}, do_compression=compressed)
    found, theirs = load_arrays(path, WANTED), loadmat(path)
    for name, values in given.items():
        assert np.array_equal(found[name], values)
        assert np.array_equal(found[name], theirs[name])
        assert found[name].dtype == values.dtype


def element(kind: int, data: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def variable(
    name: str,
    shape: tuple[int, ...],
    kind: int,
    data: bytes,
    order: str = "<",
    cls: int = 9,
    announced: int | None = None,
) -> bytes:
    """A matrix as the format's description has it, written by hand."""
    size = len(data) if announced is None else announced
    body = element(6, struct.pack(f"{order}II", cls, 0), order)
    body += element(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
    body += element(1, name.encode(), order)
    body += struct.pack(f"{order}II", kind, size) + data + bytes(-len(data) % 8)
    return struct.pack(f"{order}II", 14, len(body)) + body


def header(order: str = "<", version: int = 0x0100) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}H", version) + (b"IM" if order == "<" else b"MI")


def packed(data: bytes) -> bytes:
    body = zlib.compress(data)
    return struct.pack("<II", 15, len(body)) + body


def y(order: str = "<", **other: Any) -> bytes:
    return variable("y", (3, 1), 4, struct.pack(f"{order}3H", 1, 2, 300), order, 6, **other)


@pytest.mark.parametrize("order", ["<", ">"])
def test_doubles_that_are_stored_as_short_integers(tmp_path: Path, order: str) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(header(order) + y(order))
    found = load_arrays(path, {"y": WANTED["y"]})["y"]
    assert found.dtype == np.float64
    assert found.tolist() == [[1.0], [2.0], [300.0]] == loadmat(path)["y"].tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no header"),
        (b"<!DOCTYPE html><html>" * 20, "no header"),
        (header(version=0x0200) + y(), "MATLAB 7.3"),
        (header(version=0x0300) + y(), "version 0x0300"),
        (header(), "there is no 'y' in it"),
        (header() + variable("z", (3, 1), 2, b"abc"), "found z"),
        (header() + y()[:-8], "ends early"),
        (header() + packed(y())[:-6], "ends early"),
        (header() + packed(y()[:-8]), "ends early"),
        (header() + packed(y() + bytes(100)), "not as long as it says"),
        (header() + packed(y())[:-1] + b"\0", "incorrect data check"),
        (header() + struct.pack("<II", 15, 40) + bytes(40), "damaged"),
        (header() + y(announced=2), "are no array of shape"),
        (header() + y(announced=1 << 31), "are no array of shape"),
        (header() + variable("y", (3, 1), 14, bytes(6)), "are no array of shape"),
        (header() + variable("y", (3, 2), 2, bytes(6)), "y is no array N x 1 of numbers"),
        (header() + variable("y", (0, 1), 2, b""), "y is no array N x 1"),
        (header() + variable("y", (-1, 1), 2, b""), "y is no array N x 1"),
        (header() + variable("y", (1_001, 1), 2, bytes(1_001)), "y is no array N x 1"),
        (header() + variable("y", (3, 1), 2, b"abc", cls=4), "class 4"),
        (header() + variable("y", (3, 1), 2, b"abc", cls=9 | 0x800), "y is no array"),
        (header() + variable("y" * 2_000, (3, 1), 2, b"abc"), "an element of 2,000 bytes"),
    ],
)
def test_what_is_damaged_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=message) as caught:
        load_arrays(path, {"y": WANTED["y"]})
    assert str(path) in str(caught.value)


def test_a_small_file_that_announces_a_large_array_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(header() + packed(variable("y", (1 << 30, 1), 2, bytes(64), announced=1 << 30)))
    tracemalloc.start()
    with pytest.raises(IntegrityError, match="more than it can hold"):
        load_arrays(path, {"y": Wanted((None, 1), 1 << 30)})
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match="cannot read"):
        load_arrays(tmp_path / "a.mat", WANTED)
