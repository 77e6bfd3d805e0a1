"""A bound of the memory that a process may take, whatever a decoder of images is led to ask for."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def bounded(more: int) -> Iterator[None]:
    """Refuse this process, within the context, more memory than it has and `more` bytes: MemoryError.

    Where the system does not say how much it has, there is no bound.
    """
    try:
        with open("/proc/self/statm") as said:
            has = int(said.read().split()[0]) * resource.getpagesize()
    except OSError:
        yield
        return
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = has + more
    resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))
