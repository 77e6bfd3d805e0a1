"""Which runs write to a store now, as far as their logs tell."""

from __future__ import annotations

import datetime
import math
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from cvbench.errors import IntegrityError, UsageError
from cvbench.hints import command
from cvbench.storage.objects import writers
from cvbench.storage.objects.base import Objects
from cvbench.storage.runs.log import events, runs

SILENT = 3600.0
"""Seconds after which a run of another machine that has said nothing counts as stopped."""


def under_way(objects: Objects, now: float | None = None) -> list[str]:
    """Names of the runs whose logs have no end, without those that were killed.

    A run of this machine is under way while its process is there; one of another machine until it has been silent for
    `SILENT`. Clocks decide only that.

    Args:
        objects: Of the store.
        now: Seconds since 1970; None: the clock's.
    """
    now = datetime.datetime.now(datetime.UTC).timestamp() if now is None else now
    return [name for name, keys in runs(objects).items() if _is_under_way(objects, name, keys, now)]


def refuse_under_way(objects: Objects, known: Collection[str] | None = None) -> list[str]:
    """Refuse a store that a run writes to; the names of all its runs.

    Args:
        objects: Of the store.
        known: The runs that there were before: none may have begun since.

    Raises:
        UsageError: Naming the run.
    """
    found = list(runs(objects))
    busy = under_way(objects) or [name for name in found if known is not None and name not in known]
    if busy:
        raise UsageError(
            "a run writes to the store: what it has not committed yet looks like what a killed one left",
            where=f"{objects.url}, run {busy[0]}",
            why="its log has no end",
            fix=f"wait for it ({command('runs ls', store=objects.url)} lists it); --force if it was stopped",
        )
    return found


def _is_under_way(objects: Objects, name: str, keys: list[str], now: float) -> bool:
    told: list[dict[str, Any]] = []
    with suppress(IntegrityError):  # no log of ours
        told = list(events(objects, keys))
    if not told or any(event["event"] == "ended" for event in told):
        return False
    writer = next((event.get("writer") for event in told if event["event"] == "begun"), None)
    here = writers.is_alive(writer) if isinstance(writer, str) else None
    return now - _last(name, told) < SILENT if here is None else here


def _last(name: str, told: list[dict[str, Any]]) -> float:
    """Time of the last event, in seconds since 1970, by the clock of the machine that wrote it."""
    try:
        began = datetime.datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%S").replace(tzinfo=datetime.UTC)
    except ValueError:  # no name that we gave
        return -math.inf
    seconds = [event.get("t") for event in told]
    return began.timestamp() + max((t for t in seconds if isinstance(t, int | float) and math.isfinite(t)), default=0.0)
