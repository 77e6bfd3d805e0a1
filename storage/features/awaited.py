"""Another process that is about to write a record, or was stopped before."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from cvbench.hints import command

T = TypeVar("T")

PATIENCE = 5.0  # seconds: between the objects of a table and its record
_TURN = 0.05


def tidy(url: str) -> str:
    """The command that removes what a run that was stopped has left, for error messages."""
    return f"{command('store gc', orphans=True, store=url)}  # then the same command again"


def awaited(look: Callable[[], T | None]) -> T | None:
    """Ask `look` again and again until it finds anything; None if it does not for a while."""
    begin = time.monotonic()
    while (found := look()) is None and time.monotonic() - begin < PATIENCE:
        time.sleep(_TURN)
    return found
