"""Decoding by processes: this side of `nursery`."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cvbench.engine.pictures.geometry import MAX_PIXELS
from cvbench.engine.pictures.transforms import Transform
from cvbench.errors import ResourceError
from cvbench.jobs.extraction.decoding.fill import Payload, Refusal
from cvbench.jobs.extraction.decoding.ring import Ring
from cvbench.jobs.extraction.decoding.wire import packed, raised
from cvbench.jobs.running.messages import receive, send

ATTEMPTS = 2
"""How often a sample may end the process that decodes it."""
_GRACE = 5.0  # seconds that processes have to end by themselves
_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class Sample(NamedTuple):
    """A sample to decode: its row in the batch, its name, and what its data set has of it."""

    row: int
    name: str
    payload: Payload


MOST_BYTES = 2 << 30
"""Memory that a process may take to decode what it was sent: three times what the largest image needs."""


@dataclass(frozen=True)
class _Lane:
    """A decoder, and this side of its socket."""

    pid: int
    socket: socket.socket


class _Ended(Exception):
    """A decoder has ended; `code` as `subprocess` has it, None if nobody knows."""

    def __init__(self, code: int | None) -> None:
        self.code = code
        super().__init__(_said(code))


class Decoders:
    """So many processes that decode into the slots of a ring. Threads may share them.

    One that ends is replaced, and the samples it had are decoded again, one by one.

    Memory: of each process what it holds of one image (`ProcessRoom`), never more than `MOST_BYTES`; the modules they
    share.
    """

    def __init__(self, ring: Ring, transform: Transform | None, number: int, nursery: Nursery | None = None) -> None:
        self._ring = ring
        self._setting = {
            "layout": ring.layout.as_dict(),
            "transform": None if transform is None else [transform[0], dict(transform[1])],
            "pixels": 2 * MAX_PIXELS // number,
            "bytes": MOST_BYTES,
        }
        self._lock = threading.Lock()
        self._lanes: dict[int, socket.socket] = {}
        self._idle: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
        self._nursery = [nursery or Nursery()]  # one; a list, so that what ends all finds the latest
        self._end = weakref.finalize(self, _end, self._lanes, self._nursery)
        self._nursery[0].tell(ring.file, self._setting)
        for _ in range(number):
            self._idle.put(self._started())

    @property
    def pids(self) -> list[int]:
        """The decoders that are there."""
        return list(self._lanes)

    def close(self) -> None:
        """End all processes; what they were given is lost."""
        self._end()

    def decode(self, samples: Sequence[Sample], slot: int) -> dict[int, Refusal]:
        """Decode samples into their rows of a slot.

        Returns:
            Row -> why it is refused.

        Raises:
            ResourceError: A sample has ended every process that was to decode it; or none can be started.
            CvbenchError, MemoryError, RuntimeError: As a decoder raised it.
        """
        try:
            return self._exchanged(samples, slot)
        except _Ended as error:
            code = error.code
        refused: dict[int, Refusal] = {}
        for sample in samples:
            refused |= self._alone(sample, slot, 1 if len(samples) == 1 else 0, code)
        return refused

    def _alone(self, sample: Sample, slot: int, ended: int, code: int | None) -> dict[int, Refusal]:
        while ended < ATTEMPTS:
            try:
                return self._exchanged([sample], slot)
            except _Ended as error:
                ended, code = ended + 1, error.code
        raise ResourceError(
            f"{ATTEMPTS} decoding processes have ended with the same sample",
            where=sample.name,
            why=_said(code),
            fix="more memory, or --decode-in threads; the same command goes on from what is committed",
        )

    def _exchanged(self, samples: Sequence[Sample], slot: int) -> dict[int, Refusal]:
        lane = self._idle.get()
        pairs = [packed(sample.payload) for sample in samples]
        asked = {"slot": slot, "rows": [sample.row for sample in samples], "shapes": [shape for shape, _ in pairs]}
        try:
            send(lane.socket, asked, [data for _, data in pairs])
            answer, _ = receive(lane.socket)
        except (EOFError, OSError) as error:
            raise _Ended(self._replaced(lane)) from error
        self._idle.put(lane)
        if "error" in answer:
            raise raised(answer["error"])
        return {int(row): Refusal(*found) for row, found in answer["refused"].items()}

    def _replaced(self, lane: _Lane) -> int | None:
        """Start another decoder in the place of one that has ended; how that ended."""
        with self._lock:
            self._lanes.pop(lane.pid, None)
            lane.socket.close()
            try:
                code = self._nursery[0].ended(lane.pid)
            except (EOFError, OSError):
                code = None
        self._idle.put(self._started())
        return code

    def _started(self) -> _Lane:
        with self._lock:
            for last in (False, True):
                try:
                    lane = self._nursery[0].start()
                except (EOFError, OSError) as error:
                    code = self._nursery[0].close()
                    if last or not self._end.alive:
                        raise ResourceError(
                            "no decoding process can be started",
                            why=_said(code),
                            fix="--decode-in threads; the same command goes on from what is committed",
                        ) from error
                    self._nursery[0] = Nursery()
                    self._nursery[0].tell(self._ring.file, self._setting)
                else:
                    self._lanes[lane.pid] = lane.socket
                    return lane
        raise AssertionError("unreachable")


class Nursery:
    """The process that starts decoders. Its imports take some seconds: it is begun early, beside other work."""

    def __init__(self) -> None:
        self._control, far = socket.socketpair()
        with far:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cvbench.jobs.extraction.decoding.nursery", str(far.fileno())],
                env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(far.fileno(),),
            )

    def tell(self, memory: int, setting: Mapping[str, Any]) -> None:
        """Hand over the memory of the ring, and what decoders need to know."""
        with contextlib.suppress(OSError):  # that it has ended is found by whoever asks it for a decoder
            socket.send_fds(self._control, [b"m"], [memory])
            send(self._control, setting)

    def start(self) -> _Lane:
        """Start one decoder.

        Raises:
            EOFError, OSError: The nursery has ended.
        """
        near, far = socket.socketpair()
        with far:
            send(self._control, {"start": True})
            socket.send_fds(self._control, [b"l"], [far.fileno()])
            answer, _ = receive(self._control)
        return _Lane(answer["pid"], near)

    def ended(self, pid: int) -> int:
        """The exit code of a decoder whose socket has closed, negative for a signal.

        Raises:
            EOFError, OSError: The nursery has ended.
        """
        send(self._control, {"ended": pid})
        answer, _ = receive(self._control)
        return int(answer["code"])

    def close(self) -> int | None:
        """End it; its exit code."""
        self._control.close()
        try:
            return self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _end(lanes: dict[int, socket.socket], nurseries: list[Nursery]) -> None:
    for lane in list(lanes.values()):
        lane.close()
    for nursery in nurseries:
        nursery.close()


def _said(code: int | None) -> str:
    """Words for how a process ended.

    >>> _said(-9), _said(1)
    ('killed by SIGKILL', 'exit code 1')
    """
    if code is None:
        return "nobody knows how it ended"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
