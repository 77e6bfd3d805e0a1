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
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, TypeVar

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

    A function that itself calls `in_order` runs that one on its own thread.
    """
    threads, items = _threads.get(), iter(items)
    first = list(itertools.islice(items, 2))
    if threads == 1 or len(first) < 2:  # a single block is not worth a change of threads
        yield from map(function, itertools.chain(first, items))
        return
    pool, ahead = _pool(threads), deque[Future[R]]()
    try:
        for item in itertools.chain(first, items):
            ahead.append(pool.submit(function, item))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            future.cancel()


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
