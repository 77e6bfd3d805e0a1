"""Encoded images on local disk: written once, group by group, then read one by one in any order.

Formats that are read in groups (Parquet's row groups) make an image in random order cost its whole group. Here each
group is taken apart when the first of its images is asked for; all others of it are then one short read. The file has
no name: it lies in the system's folder for temporary files (TMPDIR) and is gone with its process, however that ends.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Blocks = Iterable[tuple[Any, NDArray[np.int64], NDArray[np.bool_]]]
"""Parts of a group: a buffer, (n + 1,) int64 where its items begin and end, and (n,) which of them are null."""

AT_ONCE = 2
"""Groups that are taken apart at the same time, whatever the number of threads that wait for them."""

RESERVE = 0.1
"""Of the disk: what is left free for others. Groups that would go below it are not kept."""

_NULL = -1
_ABSENT = -2


class Spool:
    """Items of groups by number; threads may share it, and another process starts an empty one.

    Args:
        starts: (G + 1,) int64, the item that each group starts with.
        sizes: (G,) int64, bytes of each group.
    """

    def __init__(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        self._starts = starts
        self._bytes = sizes
        self._at: NDArray[np.int64] | None = None  # (N,) where an item begins in the file
        self._sizes: NDArray[np.int64] | None = None  # (N,) its bytes, or _NULL or _ABSENT
        self._file: Any = None
        self._end = 0
        self._lock = threading.Lock()
        self._turns = [threading.Lock() for _ in range(64)]
        self._slots = threading.BoundedSemaphore(AT_ONCE)

    def __reduce__(self) -> tuple[Any, ...]:
        return Spool, (self._starts, self._bytes)

    def read(self, item: int, group: int, load: Callable[[], Blocks]) -> bytes | None:
        """An item's bytes, None if it is null. `load` reads its group, if none of its items was asked for before.

        Raises:
            OSError: The disk has no room for the group, or fails; nothing of the group is kept.
        """
        sizes, at = self._tables()
        if sizes[item] == _ABSENT:
            with self._turns[group % len(self._turns)]:
                if sizes[item] == _ABSENT:
                    with self._slots:
                        self._keep(group, load)
        if sizes[item] == _NULL:
            return None
        data = os.pread(self._file.fileno(), int(sizes[item]), int(at[item]))
        if len(data) != sizes[item]:
            raise OSError(errno.EIO, os.strerror(errno.EIO), tempfile.gettempdir())
        return data

    def _tables(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        with self._lock:
            if self._sizes is None or self._at is None:
                self._file = tempfile.TemporaryFile(prefix="cvbench-")  # noqa: SIM115 - lives as long as the spool
                weakref.finalize(self, self._file.close)
                count = int(self._starts[-1])
                self._sizes, self._at = np.full(count, _ABSENT, np.int64), np.zeros(count, np.int64)
            return self._sizes, self._at

    def _keep(self, group: int, load: Callable[[], Blocks]) -> None:
        sizes, at = self._tables()
        item, last = int(self._starts[group]), int(self._starts[group + 1])
        if not has_room(int(self._bytes[group])):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), tempfile.gettempdir())
        found_at, found_sizes = [], []
        for buffer, bounds, null in load():
            data = memoryview(buffer)[int(bounds[0]) : int(bounds[-1])] if len(bounds) > 1 else memoryview(b"")
            with self._lock:
                start, self._end = self._end, self._end + len(data)
            _write(self._file.fileno(), data, start)
            found_at.append(bounds[:-1] - bounds[0] + start)
            found_sizes.append(np.where(null, _NULL, np.diff(bounds)))
        at[item:last] = np.concatenate(found_at)
        sizes[item:last] = np.concatenate(found_sizes)  # last: from here on other threads read


def has_room(size: int) -> bool:
    """Whether `size` more bytes leave enough free where temporary files lie."""
    disk = os.statvfs(tempfile.gettempdir())
    return disk.f_bavail * disk.f_frsize - size >= RESERVE * disk.f_blocks * disk.f_frsize


def _write(descriptor: int, data: memoryview, start: int) -> None:
    while len(data):
        done = os.pwrite(descriptor, data, start)
        data, start = data[done:], start + done
