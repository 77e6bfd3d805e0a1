"""What the processes of a fine-tuning run on Ray say of it: lines of a file that all of them see, as they see the
checkpoint, and what the process that waits for them makes of these."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from cvbench.jobs.running.progress import Listener, Note
from cvbench.jobs.transfer.finetune_loop import Epoch
from cvbench.jobs.transfer.finetune_task import FinetuneTask

SAID_EVERY = 30.0
"""Seconds between two words of what is waited for."""
LOOK = 0.5
"""Seconds between two looks at the file."""
_FILE = "progress.jsonl"


def say_begun(task: FinetuneTask) -> None:
    """Say that the processes have their places; the process of rank 0 does."""
    _append(task, {"begun": True})


def say_epoch(task: FinetuneTask, row: Epoch) -> None:
    """Say what an epoch came to; the process of rank 0 does."""
    _append(task, {"epoch": row})


def say_ended(task: FinetuneTask, rank: int, error: Exception) -> None:
    """Say that a process ended early, lost or by an error; Ray Train's own process does."""
    said = str(error).strip().splitlines()
    _append(task, {"ended": rank, "why": said[0] if said else type(error).__name__})


def _append(task: FinetuneTask, line: dict[str, Any]) -> None:
    with task.file(_FILE).open("a") as file:
        file.write(json.dumps(line) + "\n")


class Following:
    """Passes on what the processes say, from a thread of its own, while the context lasts.

    Args:
        task: Whose file it is; gone at the end.
        on_epoch: Told of every epoch.
        listen: Told of processes that ended early, and of what is waited for as long as none has begun.
        waiting: The word of that.
    """

    def __init__(
        self, task: FinetuneTask, on_epoch: Callable[[Epoch], None], listen: Listener, waiting: Callable[[], str]
    ) -> None:
        self._path, self._on_epoch, self._listen, self._waiting = task.file(_FILE), on_epoch, listen, waiting
        self._stop = threading.Event()
        self._seen = 0
        self._begun = False
        self._since = time.monotonic()  # when the wait began, or was spoken of
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("")
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._pass_on()
        self._path.unlink(missing_ok=True)

    def _follow(self) -> None:
        while not self._stop.wait(LOOK):
            self._pass_on()
            if not self._begun and time.monotonic() - self._since > SAID_EVERY:
                self._since = time.monotonic()
                self._listen(Note(self._waiting()))

    def _pass_on(self) -> None:
        complete = self._path.read_text().split("\n")[:-1]  # the last may be half written
        for line in complete[self._seen :]:
            self._heard(json.loads(line))
        self._seen = len(complete)

    def _heard(self, line: dict[str, Any]) -> None:
        if "epoch" in line:
            self._on_epoch(line["epoch"])
        elif "begun" in line:
            self._begun = True
        else:
            self._begun, self._since = False, time.monotonic()
            self._listen(Note(f"process {line['ended']} ended early: {line['why']}"))
