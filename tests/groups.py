"""How the tests are shared among processes (`-n 2 --dist loadgroup`): what is dear to make is made in one of them.

pytest-xdist tells its processes of a group by a suffix of the test's name, which pytest 9.2 no longer lets it write:
tests are then dealt out one by one, and every store, Ray and server is made in each process, without a word. So the
groups are given here, by the way that xdist offers for it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parents[1]

TOGETHER = {"ray_here": r"\bray_here\b"}
"""Fixture that is made once a run -> how a file asks for it: all such files are one group."""

FIRST = ("ray_here", "tests/cluster/test_kills.py")
"""The groups that take longest, begun first, so that at the end no process waits for one."""


def group_of(nodeid: str) -> str:
    """The group of a test: its file, for what a file makes once, or a dear fixture."""
    return _group_of_file(nodeid.partition("::")[0])


@cache
def _group_of_file(file: str) -> str:
    text = (ROOT / file).read_text(encoding="utf-8")
    return next((name for name, asks in TOGETHER.items() if re.search(asks, text)), file)


def rank(group: str) -> int:
    """Order of a group: the longest first, then the files as they come."""
    return FIRST.index(group) if group in FIRST else len(FIRST)


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands whole groups to the processes, each the next when it has almost done its last."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
