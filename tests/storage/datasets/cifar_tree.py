"""Write small CIFAR files as the archives have them: pickles of Python 2 with byte strings, protocol 2."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PER_FILE = 6


def images(name: str, n: int = PER_FILE) -> NDArray[np.uint8]:
    """(n, 3072) uint8, other pixels for each file."""
    rng = np.random.default_rng(list(name.encode()))
    return rng.integers(0, 256, (n, 3072), dtype=np.uint8)


def labels(name: str, n: int = PER_FILE) -> list[int]:
    """n labels."""
    return [(len(name) + int(name[-1] if name[-1].isdigit() else 0) + 3 * i) % 10 for i in range(n)]


def write_cifar(folder: Path) -> None:
    """`folder` becomes what the archive calls cifar-10-batches-py."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "batches.meta").write_bytes(python2_pickle({"num_cases_per_batch": PER_FILE, "label_names": NAMES}))
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        write_batch(folder / name, images(name), labels(name))


FINE = [f"fine_{i:02d}" for i in range(100)]
COARSE = [f"coarse_{i:02d}" for i in range(20)]


def write_cifar100(folder: Path) -> None:
    """`folder` becomes what the archive calls cifar-100-python."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta").write_bytes(python2_pickle({"fine_label_names": FINE, "coarse_label_names": COARSE}))
    for name in ("train", "test"):
        write_batch100(folder / name, images(name), fine_labels(name))


def fine_labels(name: str, n: int = PER_FILE) -> list[int]:
    """n fine labels; the coarse one of class k is k // 5 here."""
    return [(7 * len(name) + 31 * i) % 100 for i in range(n)]


def write_batch100(path: Path, data: NDArray[np.uint8], fine: list[int]) -> None:
    """One file of CIFAR-100."""
    path.write_bytes(
        python2_pickle(
            {
                "data": data,
                "fine_labels": fine,
                "coarse_labels": [label // 5 for label in fine],
                "batch_label": "a batch",
                "filenames": [f"{i}.png" for i in range(len(data))],
            }
        )
    )


def write_batch(path: Path, data: NDArray[np.uint8], classes: list[int]) -> None:
    """One batch file."""
    path.write_bytes(
        python2_pickle(
            {
                "data": data,
                "labels": classes,
                "batch_label": "a batch",
                "filenames": [f"{i}.png" for i in range(len(data))],
            }
        )
    )


def python2_pickle(value: Any) -> bytes:
    """What Python 2's cPickle writes in protocol 2 for plain data; `str` here is its byte string."""
    return b"\x80\x02" + _emit(value) + b"."


def _emit(value: Any) -> bytes:
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, str):
        value = value.encode("latin1")
    if isinstance(value, bytes):  # SHORT_BINSTRING, BINSTRING
        short = len(value) < 256
        return (b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))) + value
    if isinstance(value, list):
        return b"](" + b"".join(map(_emit, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_emit(part) for item in value.items() for part in item) + b"u"
    if isinstance(value, np.ndarray):
        start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
        dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        shape = b"".join(map(_emit, value.shape)) + {1: b"\x85", 2: b"\x86"}[value.ndim]
        return start + b"(K\x01" + shape + dtype + b"\x89" + _emit(value.tobytes()) + b"tb"
    raise TypeError(type(value))
