"""Runs the steps of a study side by side, each in a process of its own with its share of the cores: this side.

A process is asked for one step after the other, so that it imports once. Nothing but the names of steps, what happens
meanwhile and how they ended goes between; the store is written by each process as by any other.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any

from cvbench.errors import ResourceError
from cvbench.jobs.running import progress
from cvbench.jobs.running.messages import receive, send
from cvbench.jobs.running.place import cores_here, shares
from cvbench.jobs.running.progress import Listener, silent
from cvbench.jobs.study.journal import Journal, described
from cvbench.jobs.study.outcomes import outcome_of
from cvbench.jobs.study.schedule import Schedule
from cvbench.jobs.study.steps import REPORT, Step
from cvbench.jobs.study.study import Study

GRACE = 10.0
"""Seconds that an interrupted process has to tidy up."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Lanes:
    """Processes that run steps. All end when this closes, and each when this process is gone, however that ends."""

    def __init__(
        self, study: Study, listening: Callable[[], AbstractContextManager[Listener]], journal: Journal
    ) -> None:
        self._journal = journal
        document = study.document
        told = {
            "file": document.file,
            "value": document.value,
            "places": [[list(at), where] for at, where in document.places.items()],
        }
        number = max(1, min(study.jobs, cores_here()))
        self._lanes = [_Lane(told, cores, listening) for cores in shares(number)]

    def __enter__(self) -> Lanes:
        return self

    def __exit__(self, *exc: object) -> None:
        for lane in self._lanes:
            lane.interrupt()
        for lane in self._lanes:
            lane.close()

    def run(self, schedule: Schedule) -> None:
        """Run all steps that can be run but the report."""
        while True:
            for lane in self._lanes:
                if lane.step is None and (step := schedule.ready()) is not None and step.name != REPORT:
                    schedule.begin(step)
                    lane.begin(step)
            busy = [lane for lane in self._lanes if lane.step is not None]
            if not busy:
                return
            for lane in select.select(busy, [], [])[0]:
                self._take(lane, schedule)

    def _take(self, lane: _Lane, schedule: Schedule) -> None:
        """Take one message of a process, or its end."""
        step, begun = lane.step, lane.begun
        assert step is not None
        ended = lane.take()
        if ended is not None:
            left, error = ended
            self._journal.note(step.command, error)
            schedule.end(outcome_of(step, time.monotonic() - begun, left, error))


class _Lane:
    """One process, which is started when there is a step for it.

    Attributes:
        step: What it runs; None: nothing.
        begun: Monotonic time of when that began.
    """

    def __init__(
        self, study: dict[str, Any], cores: Sequence[int], listening: Callable[[], AbstractContextManager[Listener]]
    ) -> None:
        self.step: Step | None = None
        self.begun = 0.0
        self._study, self._cores, self._listening = study, cores, listening
        self._listen: Listener = silent
        self._stack = ExitStack()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def fileno(self) -> int:
        """Descriptor that is readable when there is a message."""
        assert self._socket is not None
        return self._socket.fileno()

    def begin(self, step: Step) -> None:
        """Ask for a step."""
        self.step, self.begun = step, time.monotonic()
        self._listen = self._stack.enter_context(self._listening())
        if self._socket is None:
            self._socket = self._started()
        with suppress(OSError):  # that it has ended is found by whoever reads its answer
            send(self._socket, {"step": step.name})

    def take(self) -> tuple[list[str], dict[str, Any]] | None:
        """Take a message: give what the step has left and the fields of its error, once it has ended."""
        assert self._socket is not None
        try:
            message, _ = receive(self._socket)
        except (EOFError, OSError):
            message = {"left": [], "error": described(self._lost())}
        if "event" in message:
            self._listen(getattr(progress, message["event"])(**message["fields"]))
            return None
        self.step = None
        self._stack.close()
        return message["left"], message["error"]

    def interrupt(self) -> None:
        """Have the process end its step as at an interrupt."""
        if self._process is not None:
            self._process.terminate()

    def close(self) -> None:
        """End the process; what it had in hand is found and ended by the next run."""
        self._stack.close()
        if self._socket is not None:
            self._ended()

    def _lost(self) -> ResourceError:
        code = self._ended()
        said = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return ResourceError(
            f"the process that ran this step has ended {said}",
            why="it was killed, or the memory of this machine did not suffice" if code < 0 else "see what it printed",
            fix="the same command goes on from what is committed; `--set jobs=1` runs one step at a time",
        )

    def _ended(self) -> int:
        assert self._socket is not None
        assert self._process is not None
        try:  # the socket stays open: without it the process would end in the middle of what it tidies up
            code = self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._socket.close()
        self._socket = self._process = None
        return code

    def _started(self) -> socket.socket:
        near, far = socket.socketpair()
        threads = {name: os.environ.get(name, str(len(self._cores))) for name in _THREADS}
        path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with far:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cvbench.jobs.study.lane", str(far.fileno())],
                env={"OMP_WAIT_POLICY": "passive", **os.environ, **threads, **path},
                stdin=subprocess.DEVNULL,
                stdout=2,  # results are said by this side; what a package prints is no result
                pass_fds=(far.fileno(),),
            )
        send(near, {"study": self._study, "cores": list(self._cores)})
        return near
