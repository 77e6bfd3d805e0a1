"""Bounds of what images in decoding hold together, among the threads of a process or among processes."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Room(Protocol):
    """A place that an image takes while it is decoded."""

    def taken(self, pixels: int) -> AbstractContextManager[None]:
        """Wait until there is room for so many pixels, and hold it within the context."""
        ...


class ThreadRoom:
    """Lets in images while they have `most` pixels together at most; one alone always."""

    def __init__(self, most: int) -> None:
        self._most, self._inside, self._changed = most, 0, threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Take room as `Room` says, among the threads of this process."""
        with self._changed:
            self._changed.wait_for(lambda: not self._inside or self._inside + pixels <= self._most)
            self._inside += pixels
        try:
            yield
        finally:
            with self._changed:
                self._inside -= pixels
                self._changed.notify_all()


class ProcessRoom:
    """Lets in images of up to `each` pixels always, and of the larger ones one among all processes.

    Each process decodes one image at a time, so n of them hold n * `each` pixels and one large image at most. The lock
    is the system's, of a file that all have open; it ends with the process that holds it, however that ends.

    Args:
        file: Descriptor of the file.
        each: Pixels that any process may hold at any time.
    """

    def __init__(self, file: int, each: int) -> None:
        self._file, self._each = file, each

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Take room as `Room` says, among processes of one thread each."""
        if pixels <= self._each:
            yield
            return
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)
