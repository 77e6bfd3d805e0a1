"""What actors write to their streams, kept on the driver: it outlives their nodes. Bounded, the last lines of each."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any

LINES = 200
"""Last lines that are kept of one process."""
WIDTH = 500
"""Characters that are kept of one line."""
PROCESSES = 1024
"""Processes of which lines are kept: those that wrote last."""


class Logs:
    """The last lines of each process of the run. Ray's thread writes, the driver's reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: OrderedDict[tuple[str, int], deque[str]] = OrderedDict()

    def take(self, data: dict[str, Any]) -> None:
        """Keep the lines that Ray brings, as it hands them to whoever prints them."""
        try:
            key = str(data["ip"]), int(data["pid"])
        except (KeyError, ValueError):  # of Ray itself, such as its autoscaler
            return
        with self._lock:
            kept = self._lines.setdefault(key, deque(maxlen=LINES))
            self._lines.move_to_end(key)
            kept.extend(str(line)[:WIDTH] for line in data.get("lines", ()))
            while len(self._lines) > PROCESSES:
                self._lines.popitem(last=False)

    def tail(self, node: str, pid: int) -> Sequence[str]:
        """The last lines of a process; none if it wrote nothing, or on a connection that does not bring them."""
        with self._lock:
            return tuple(self._lines.get((node, pid), ()))

    def clear(self) -> None:
        """Forget all lines."""
        with self._lock:
            self._lines.clear()


LOGS = Logs()
"""Of the Ray that this process is connected to: there is one at a time."""


def keep_logs() -> None:
    """Before Ray is joined or started: what its workers write, and what it says of them, is kept and not printed.

    Ray prints both to our standard output, where results go, and has no setting for the second.
    """
    from ray._private import worker

    LOGS.clear()
    worker.print_to_stdstream = _keep


def _keep(data: dict[str, Any], ignore_prefix: bool) -> None:
    """Stand in for Ray's printing."""
    LOGS.take(data)
