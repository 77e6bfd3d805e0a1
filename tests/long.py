"""The long runs of `slow.txt`, beside those that are marked where they stand: left out of `make test`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

LIST = Path(__file__).with_name("slow.txt")


@cache
def listed() -> tuple[str, ...]:
    """The lines of the list without its comments."""
    return tuple(line for line in LIST.read_text().splitlines() if line and not line.startswith("#"))


def is_named(nodeid: str, line: str) -> bool:
    """Whether a line names a test: by its whole id, as one with any parameters, or by a beginning.

    >>> [is_named("t.py::a[1]", line) for line in ("t.py::a[1]", "t.py::a", "t.py::a[*", "t.py::ab", "t.py::a[11]")]
    [True, True, True, False, False]
    """
    if line.endswith("*"):
        return nodeid.startswith(line[:-1])
    return nodeid == line or nodeid.startswith(f"{line}[")


@cache
def listed_of(file: str) -> tuple[str, ...]:
    """The lines of a file's tests."""
    return tuple(line for line in listed() if line.startswith(f"{file}::"))


def is_long(nodeid: str) -> bool:
    """Whether the list names a test."""
    return any(is_named(nodeid, line) for line in listed_of(nodeid.partition("::")[0]))


def unknown(nodeids: Iterable[str]) -> list[str]:
    """Lines that name none of these tests."""
    every = list(nodeids)
    return [line for line in listed() if not any(is_named(nodeid, line) for nodeid in every)]
