"""Which epoch a pass over a data set of torch is, agreed on by all workers of the pass.

A worker learns of no pass but its own, and workers of one pass may begin at any time. What they have in common is the
seed that their loader drew for them, and how many passes they have made with it: workers that persist keep their seed.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import get_spawning_popen
from typing import Any

from torch.utils.data import get_worker_info

_KEPT = 64  # passes that are remembered: as many may be under way at once
_FIELDS = 4  # seed of the loader, passes with it from 1, epoch, start


class Passes:
    """The epoch and the start of the next pass, in memory that worker processes share however they are started.

    Args:
        epoch: Of the first pass.
        start: Items of it that are left out.
    """

    def __init__(self, epoch: int = 0, start: int = 0) -> None:
        context = multiprocessing.get_context("spawn")  # its lock is also inherited by a fork
        self._lock: Any = context.Lock()
        self._next: Any = context.RawArray("q", [epoch, start, 0])
        self._begun: Any = context.RawArray("q", _KEPT * _FIELDS)
        self._own = 0

    def choose(self, epoch: int, start: int) -> None:
        """Say which epoch the next pass is, and how many of its items are left out."""
        with self._lock:
            self._next[0], self._next[1] = epoch, start

    @property
    def following(self) -> int:
        """The epoch of the next pass."""
        with self._lock:
            return int(self._next[0])

    def begin(self, resumed: int | None = None) -> tuple[int, int]:
        """The epoch and the start of the pass that begins in this process; the pass after it is the next epoch.

        Args:
            resumed: The epoch, where a pass goes on that was interrupted.
        """
        worker = get_worker_info()
        self._own += 1
        key = None if worker is None else (worker.seed - worker.id, self._own)
        with self._lock:
            for at in range(0, _KEPT * _FIELDS, _FIELDS):
                if key == (self._begun[at], self._begun[at + 1]):
                    return self._begun[at + 2], self._begun[at + 3]
            epoch, start, number = self._next
            if resumed is not None:
                epoch, start = resumed, 0
            if key is not None:
                at = number % _KEPT * _FIELDS
                self._begun[at : at + _FIELDS] = [*key, epoch, start]
                self._next[2] = number + 1
            self._next[0], self._next[1] = epoch + 1, 0
            return epoch, start

    def __reduce__(self) -> tuple[Any, ...]:
        if get_spawning_popen() is None:  # a copy of its own, such as on another machine
            return Passes, (self._next[0], self._next[1])
        return _shared, (self._lock, self._next, self._begun, self._own)


def _shared(lock: Any, following: Any, begun: Any, own: int) -> Passes:
    passes = object.__new__(Passes)
    passes._lock, passes._next, passes._begun, passes._own = lock, following, begun, own
    return passes
