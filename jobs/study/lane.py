"""A process that runs steps of a study for the one that started it, see `lanes`.

It ends when the other side of its socket is gone. Interrupts of a terminal are not its own: whoever it works for ends
it, by a signal that unwinds the step.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NoReturn

from cvbench.jobs.running.messages import receive, send

if TYPE_CHECKING:
    from cvbench.jobs.running.progress import Event
    from cvbench.jobs.study.steps import Step

TERMINATED = 143


def main(control: int) -> NoReturn:
    """Serve the process at the other end of a socket.

    Args:
        control: Descriptor of the socket. Its first message is the study and the cores that are meant for this process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _unwind)
    parent = socket.socket(fileno=control)
    try:
        given, _ = receive(parent)
        if hasattr(os, "sched_setaffinity"):  # before torch and the BLAS, which count cores as they are loaded
            os.sched_setaffinity(0, given["cores"])
        asked: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_receive, args=(parent, asked), name="lane", daemon=True).start()
        steps = _steps(given["study"])
        while True:
            _run(steps[asked.get()], parent)
    except KeyboardInterrupt:
        os._exit(TERMINATED)


def _unwind(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what tidies up is not interrupted
    raise KeyboardInterrupt


def _receive(parent: socket.socket, asked: queue.SimpleQueue[str]) -> None:
    """Take the names of steps; and end the process, whatever it does, when nobody is there who wants it."""
    try:
        while True:
            message, _ = receive(parent)
            asked.put(message["step"])
    except (EOFError, OSError):
        os._exit(0)


def _steps(study: Mapping[str, Any]) -> dict[str, Step]:
    from cvbench.jobs.study.document import Document
    from cvbench.jobs.study.steps import steps_of
    from cvbench.jobs.study.study import make_study

    places = {tuple(at): where for at, where in study["places"]}
    made = make_study(Document(study["file"], study["value"], places))
    here = replace(made.hardware, address="none")  # "auto" could start a Ray, beside the others
    return {step.name: step for step in steps_of(replace(made, hardware=here))}


def _run(step: Step, parent: socket.socket) -> None:
    from cvbench.jobs.study.attempt import attempt

    def listen(event: Event) -> None:
        send(parent, {"event": type(event).__name__, "fields": asdict(event)})

    left, error = attempt(step, listen)
    send(parent, {"left": list(left), "error": error})


if __name__ == "__main__":
    main(int(sys.argv[1]))
