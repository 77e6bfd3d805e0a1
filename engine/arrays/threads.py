"""Threads of the kernels on the host: whole blocks side by side, each on one core.

NumPy's BLAS has threads of its own, but all else in a kernel (logarithms, sums, copies) has one; and BLAS threads that
wait spin on the cores that torch needs. So within `host_threads(n)` BLAS keeps to one thread, and a kernel hands its
blocks to n threads by `in_order`. What a block holds does not depend on n, and results are added up in the blocks'
order: any number of threads gives the same bits.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_threads: ContextVar[int] = ContextVar("threads", default=1)


@contextlib.contextmanager
def host_threads(threads: int) -> Iterator[None]:
    """Let kernels use this many cores, in this thread and until the block ends; 1 for arrays on a GPU.

    The limit of BLAS holds for the whole process, until the last such block ends. Outside of any kernels run on the
    calling thread alone, and BLAS has as many threads as it likes.
    """
    token = _threads.set(threads)
    try:
        with _one_blas_thread:
            yield
    finally:
        _threads.reset(token)


class _OneBlasThread:
    """Entered by any number of threads: the first sets the limit, the last lifts it."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._limit: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                _take_control()
                self._limit = _blas().limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                _take_control()
                self._limit.restore_original_limits()
                _take_control()


_one_blas_thread = _OneBlasThread()


def in_order(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`map`, on the threads of `host_threads`, few results ahead of the reader; what `function` raises is raised.

    The calling thread is one of them: it works where it would wait. A function that itself calls `in_order` runs that
    one on its own thread.
    """
    threads, items = _threads.get(), iter(items)
    first = list(itertools.islice(items, 2))
    items = itertools.chain(first, items)
    if threads == 1 or len(first) < 2:  # a single block is not worth a change of threads
        yield from map(function, items)
        return
    shared = _Shared(function, items, threads)
    try:
        yield from shared.results()
    finally:
        shared.stop()


class _Shared(Generic[T, R]):
    """Items that threads take one by one; cheaper than a future for each, as blocks may last 0.1 ms only.

    Helpers never wait: one that may not take an item leaves, and is called again when results were read.

    Args:
        function: Of one item.
        items: Advanced by one thread at a time.
        threads: The calling one and its helpers.
    """

    def __init__(self, function: Callable[[T], R], items: Iterator[T], threads: int) -> None:
        self._function, self._items = function, items
        self._pool, self._idle, self._limit = _pool(threads - 1), threads - 1, 2 * threads
        self._changed = threading.Condition()
        self._done: dict[int, Future[R]] = {}
        self._taken = self._read = 0
        self._ended = False

    def results(self) -> Iterator[R]:
        """In the items' order, worked on by the calling thread too."""
        while True:
            self._call_helpers()
            with self._changed:
                while self._read not in self._done and not self._may_take() and not self._all_read():
                    self._changed.wait()
                found = self._done.pop(self._read, None)
                self._read += found is not None
                taken = self._take() if found is None else None
            if found is not None:
                yield found.result()
            elif taken is not None:
                self._do(*taken)
            elif self._all_read():
                return

    def _call_helpers(self) -> None:
        with self._changed:
            called = self._idle if self._may_take() else 0
            self._idle -= called
        for _ in range(called):
            self._pool.submit(self._help)

    def _help(self) -> None:
        while True:
            with self._changed:
                taken = self._take()
                if taken is None:
                    self._idle += 1
                    return
            self._do(*taken)

    def stop(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _all_read(self) -> bool:
        return self._ended and self._read == self._taken

    def _may_take(self) -> bool:
        return not self._ended and self._taken - self._read < self._limit

    def _take(self) -> tuple[int, T] | None:
        if not self._may_take():
            return None
        try:
            item = next(self._items)
        except StopIteration:
            self.stop()
            return None
        except Exception as error:
            self._done[self._taken] = Future()
            self._done[self._taken].set_exception(error)
            self._taken += 1
            self.stop()
            return None
        self._taken += 1
        return self._taken - 1, item

    def _do(self, index: int, item: T) -> None:
        result, token = Future[R](), _threads.set(1)
        try:
            result.set_result(self._function(item))
        except BaseException as error:  # whatever it is, the reader waits for it
            result.set_exception(error)
        finally:
            _threads.reset(token)
        with self._changed:
            self._done[index] = result
            self._changed.notify_all()


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kernel")


def _take_control() -> None:
    """Newer threadpoolctl listens to one thread only, the first that set a limit; here a lock sees to that."""
    for library in _blas().lib_controllers:
        clear = getattr(library, "clear_controlling_thread", None)
        if clear is not None:
            clear(force=True)


@lru_cache(maxsize=1)
def _blas() -> Any:
    """Found once: looking through the loaded libraries takes 3 ms, which is too much for every layer of every batch."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
