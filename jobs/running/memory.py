"""Memory of this machine, and what of it this process may still take."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")


def machine_memory() -> tuple[int | None, int | None]:
    """Bytes in all, and free; None where the system does not say."""
    with suppress(OSError, ValueError, IndexError, KeyError):
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        total, free = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
        return total, free
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    return None, None


def memory_left() -> int | None:
    """Bytes that this process may take at most: free ones, within its limit and its container's; None: nobody knows."""
    return min((*_free(), *_of_limit(), *_of_group()), default=None)


def _free() -> Iterator[int]:
    free = machine_memory()[1]
    if free is not None:
        yield free


def _of_limit() -> Iterator[int]:
    """Bytes that RLIMIT_AS leaves."""
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    with suppress(OSError, ValueError, IndexError):
        if most != resource.RLIM_INFINITY:
            has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            yield max(most - has, 0)


def _of_group() -> Iterator[int]:
    """Bytes that the container's limit leaves (cgroup v2); what is cached counts as free."""
    with suppress(OSError, ValueError, KeyError):
        most, has = (int((_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        yield max(most - has + int(cached["inactive_file"]), 0)
