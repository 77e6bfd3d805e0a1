"""Objects in memory that fail when told to."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from cvbench.errors import ResourceError
from cvbench.storage.objects.memory import MemoryObjects

if TYPE_CHECKING:
    from cvbench.storage.objects.base import Buffer

Fault = Literal["before", "after", "kill before", "kill after"]
_names = itertools.count()


class Killed(BaseException):
    """The process ended here: nothing may catch it and go on."""


class FaultyObjects(MemoryObjects):
    """Counts calls; the n-th fails before or after it took effect ("after" is a lost acknowledgement).

    With `hidden`, keys do not show in listings, as in an object store whose listing lags.
    """

    def __init__(self) -> None:
        super().__init__(f"faulty-{next(_names)}")
        self.calls = 0
        self.fail_at = 0
        self.fault: Fault = "before"
        self.hidden: set[str] = set()
        self._count_lock = threading.Lock()

    def fail(self, call: int, fault: Fault) -> None:
        """Let the `call`-th call from now fail; 0 for none."""
        self.calls, self.fail_at, self.fault = 0, call, fault

    def _next(self) -> bool:
        with self._count_lock:
            self.calls += 1
            return self.calls == self.fail_at

    def _raise(self, when: str) -> None:
        if self.fault == f"kill {when}":
            raise Killed
        if self.fault == when:
            raise ResourceError("injected")

    def get(self, key: str) -> bytes | None:
        if self._next():
            self._raise("before")
            self._raise("after")
        return super().get(key)

    def size(self, key: str) -> int | None:
        if self._next():
            self._raise("before")
            self._raise("after")
        return super().size(key)

    def create(self, key: str, *parts: Buffer) -> bool:
        failing = self._next()
        if failing:
            self._raise("before")
        created = super().create(key, *parts)
        if failing:
            self._raise("after")
        return created

    def delete(self, key: str) -> None:
        failing = self._next()
        if failing:
            self._raise("before")
        super().delete(key)
        if failing:
            self._raise("after")

    def list(self, prefix: str = "") -> Iterator[str]:
        if self._next():
            self._raise("before")
            self._raise("after")
        return (key for key in super().list(prefix) if key not in self.hidden)
