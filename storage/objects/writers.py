"""Who writes: a mark in the names of unfinished files, by which those of dead processes are told from live ones.

A process number alone says nothing on a shared disk, nor after the number was given away again. The mark names the boot
of the machine and the name space of process numbers, the number, and when that process began.
"""

from __future__ import annotations

import hashlib
import os
import re
from functools import cache
from pathlib import Path

_MARK = re.compile(r"(?P<place>[0-9a-f]{8})-(?P<process>\d+)-(?P<began>\d+)")


def mark() -> str:
    """The mark of this process: place, number, begin."""
    return _mark(os.getpid())


@cache
def _mark(process: int) -> str:  # of another process after a fork
    return f"{_place() or 'unknown'}-{process}-{_began(process) or 0}"


def is_dead(marked: str) -> bool:
    """Whether a name "<mark>-<12 hex digits>" is that of a process of this machine that has ended.

    >>> is_dead("1-abc"), is_dead(f"{mark()}-0123456789ab")
    (False, False)
    """
    return is_alive(marked.rpartition("-")[0]) is False


def is_alive(mark: str) -> bool | None:
    """Whether the process of a mark is there; None of another machine, or of a time before marks: only its owner knows.

    >>> is_alive(mark()), is_alive("1")
    (True, None)
    """
    match = _MARK.fullmatch(mark)
    if match is None or match["place"] != _place():
        return None
    process = int(match["process"])
    began = _began(process)
    return _exists(process) if began is None else began == int(match["began"])


@cache
def _place() -> str | None:
    """This boot of this machine, and this name space of process numbers; None where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return hashlib.sha256(f"{boot} {os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()[:8]
    except OSError:
        return None


def _began(process: int) -> int | None:
    """Read when a process began, in clock ticks since boot; -1: it has ended and waits to be reaped; None: unknown."""
    try:
        # The name in brackets may hold anything; behind it come the state, the parent, ...; the 22nd is the begin.
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
        return -1 if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
