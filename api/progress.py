"""How far a job is, for a script or a notebook: nothing, or lines on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cvbench.texts import printable

if TYPE_CHECKING:
    from cvbench.jobs.running.progress import Event, Listener

SECONDS = 2.0
"""Between two lines of the same job."""


@contextmanager
def listening(shows: bool) -> Iterator[Listener]:
    """A listener for the time of one job; it says nothing unless `shows`."""
    from cvbench.jobs.running.progress import silent

    yield Lines() if shows else silent


class Lines:
    """Prints a line when a job begins and ends, one every few seconds between, and every note."""

    def __init__(self, write: Callable[[str], object] | None = None) -> None:
        self._write = write or _to_stderr
        self._title, self._total, self._done, self._skipped = "", 0, 0, 0
        self._begin = self._last = 0.0

    def __call__(self, event: Event) -> None:
        """Take an event of a job."""
        from cvbench.jobs.running.progress import Advanced, Ended, Note, Started

        now = time.monotonic()
        if isinstance(event, Note):
            self._write(f"note: {event.text}")
        elif isinstance(event, Started):
            self._title, self._total = f"{event.job} {event.title}", event.total
            self._done = self._skipped = event.skipped
            self._begin = self._last = now
            self._write(f"{self._title}: {event.total - event.skipped:,} of {event.total:,} samples to do")
        elif isinstance(event, Advanced):
            self._done += event.samples
            if now - self._last >= SECONDS:
                self._last = now
                self._write(self._line(now))
        elif isinstance(event, Ended):
            self._write(f"{self._title}: done in {now - self._begin:.1f} s")

    def _line(self, now: float) -> str:
        rate = (self._done - self._skipped) / max(now - self._begin, 1e-9)
        left = (self._total - self._done) / rate if rate else 0.0
        return f"{self._title}: {self._done:,} of {self._total:,} samples, {rate:,.0f} a second, {left:.0f} s left"


def _to_stderr(line: str) -> None:
    print(printable(line, keep="\n"), file=sys.stderr, flush=True)
