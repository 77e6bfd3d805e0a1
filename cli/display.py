"""How a running job looks: a bar on a terminal, one JSON line per interval elsewhere. Everything goes to stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cvbench.texts import printable

if TYPE_CHECKING:
    from cvbench.jobs.running.progress import Event, Listener

INTERVAL = 10.0  # seconds between JSON lines
NARROW = 100  # columns; on fewer there is no room for a bar


@contextmanager
def progress() -> Iterator[Listener]:
    """A listener for the duration of a job; bars of several jobs at a time stand below each other."""
    if not sys.stderr.isatty():
        yield _JsonLines()
        return
    _BARS.append(_BARS[-1] if _BARS else _started())
    try:
        yield _Bar(_BARS[-1])
    finally:
        bars = _BARS.pop()
        if not _BARS:
            bars.stop()


_BARS: list[Any] = []
"""The terminal's bars, once for each job that shows itself in them; of the main thread alone."""


def _started() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Left(ProgressColumn):
        max_refresh = 0.5  # seconds: it is to be read

        def render(self, task: Task) -> Text:
            return Text(time_left(task), style="progress.remaining")

    console = Console(stderr=True)
    # A line a job at any width: of a long name its beginning, and what is said twice not on a narrow terminal.
    name = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))
    counts = MofNCompleteColumn(table_column=Column(no_wrap=True)), Left(table_column=Column(no_wrap=True))
    wide = BarColumn(24), counts[0], TextColumn("{task.fields[rate]}"), counts[1]
    # Results that are printed meanwhile go above the bars, but only where both are on the terminal.
    redirect = sys.stdout.isatty()
    columns = counts if console.width < NARROW else wide
    bars = Progress(name, *columns, console=console, redirect_stdout=redirect, expand=True)
    bars.start()
    return bars


def time_left(task: Any) -> str:
    """Time until a task of the bars ends: by its speed of late, after its first step by that of all so far.

    Before that, and once it is over, the time that it has taken.
    """
    from cvbench.jobs.running.sizes import duration

    elapsed = task.elapsed or 0.0
    if task.finished:
        return f"in {duration(elapsed / 3600)}"
    left = task.time_remaining
    done = task.completed - task.fields["skipped"]
    if left is None and done > 0 and task.total:
        left = elapsed * (task.total - task.completed) / done
    return f"{duration(elapsed / 3600)} so far" if left is None else f"{duration(left / 3600)} left"


class _Rate:
    """Samples per second since the job began."""

    def __init__(self) -> None:
        self.begin = time.monotonic()
        self.samples = 0

    def add(self, samples: int) -> float:
        self.samples += samples
        return self.samples / max(time.monotonic() - self.begin, 1e-9)


class _Bar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task: Any = None
        self._rate = _Rate()

    def __call__(self, event: Event) -> None:
        from cvbench.jobs.running.progress import Advanced, Note, Started

        if isinstance(event, Started):
            self._rate = _Rate()
            self._task = self._bar.add_task(
                printable(f"{event.job} {event.title}"),
                total=event.total,
                completed=event.skipped,
                rate="",
                skipped=event.skipped,
            )
        elif isinstance(event, Advanced):
            rate = self._rate.add(event.samples)
            self._bar.update(self._task, advance=event.samples, rate=f"{rate:,.0f} samples/s")
        elif isinstance(event, Note):
            self._bar.console.print(printable(event.text, keep="\n"), highlight=False, markup=False)


class _JsonLines:
    def __init__(self) -> None:
        self._rate = _Rate()
        self._last = 0.0
        self._state: dict[str, Any] = {}

    def __call__(self, event: Event) -> None:
        from cvbench.jobs.running.progress import Advanced, Ended, Failed, Note, Started

        if isinstance(event, Note):
            self._print({"event": "note", "text": event.text})
        elif isinstance(event, Started):
            self._rate = _Rate()
            self._state = {"job": event.job, "title": event.title, "samples": event.skipped, "total": event.total}
            self._print({"event": "started", **self._state, "units": event.units})
        elif isinstance(event, Advanced):
            rate = self._rate.add(event.samples)
            self._state["samples"] += event.samples
            if time.monotonic() - self._last >= INTERVAL:
                self._last = time.monotonic()
                left = round((self._state["total"] - self._state["samples"]) / rate) if rate > 0 else None
                said = {"samples_per_s": round(rate, 1), "seconds_left": left}
                self._print({"event": "progress", **self._state, **said})
        elif isinstance(event, Failed):
            self._print({"event": "failure", "what": event.what, "node": event.node, "units": event.units})
        elif isinstance(event, Ended):
            self._print({"event": "ended", **self._state})

    @staticmethod
    def _print(line: dict[str, Any]) -> None:
        print(json.dumps(line), file=sys.stderr, flush=True)
