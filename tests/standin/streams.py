"""Streams of the stand-in: what each knows of the others, races between them, and copies to the host under way.

Every stream counts what it is told, and knows up to which count the others had come when it last waited for them (a
vector clock, as in the sanitizers of threads and of CUDA). Memory remembers who wrote and who read it. What is told to
a stream that does not know of the last write is refused; so is memory that is given back while another stream may
still use it. Nothing runs later in truth but copies to the host: they arrive when the host waits for them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

HOST = -1
"""The number under which the host's knowledge is kept: what it waited for is done before all that it tells."""
DEFAULT = 0
"""The number of the stream that computes."""

Clock = Mapping[int, int]


class Streams:
    """The streams of the one device. Threads may share it."""

    def __init__(self) -> None:
        self._known: dict[int, dict[int, int]] = {}
        self._lock = threading.RLock()
        self._arriving: list[tuple[int, int, Callable[[], None]]] = []
        self._made = DEFAULT
        self.races: list[str] = []

    def make(self) -> int:
        """The number of a new stream."""
        with self._lock:
            self._made += 1
            return self._made

    def tell(self, stream: int) -> int:
        """Tell a stream something; its count."""
        with self._lock:
            self.join(stream, self._known.get(HOST, {}))
            known = self._known.setdefault(stream, {})
            known[stream] = known.get(stream, 0) + 1
            return known[stream]

    def clock(self, stream: int) -> Clock:
        """What a stream knows now."""
        with self._lock:
            return dict(self._known.get(stream, {}))

    def join(self, stream: int, clock: Clock) -> None:
        """A stream, or the host, waits for what a clock says."""
        with self._lock:
            known = self._known.setdefault(stream, {})
            for other, count in clock.items():
                known[other] = max(known.get(other, 0), count)
            if stream == HOST:
                self._arrive(known)

    def later(self, stream: int, arrive: Callable[[], None]) -> None:
        """A copy to the host, which arrives when the host waits for it."""
        with self._lock:
            self._arriving.append((stream, self.tell(stream), arrive))

    def wait_for_all(self) -> None:
        """The host waits for everything."""
        with self._lock:
            for stream in [*self._known]:
                self.join(HOST, self.clock(stream))

    def _arrive(self, known: Clock) -> None:
        there = [one for one in self._arriving if one[1] <= known.get(one[0], 0)]
        self._arriving = [one for one in self._arriving if one[1] > known.get(one[0], 0)]
        for _, _, arrive in there:
            arrive()


STREAMS = Streams()


class Current(threading.local):
    """The stream that a thread tells, and the number of its device; torch has one and CuPy has another."""

    stream = DEFAULT
    device = 0


TORCH, CUPY = Current(), Current()


@dataclass
class Use:
    """Who used one piece of the device's memory, as stream -> count.

    Attributes:
        owner: The stream on which it was taken; when it is given back, that stream may have it again at once.
        written: The last write.
        read: Reads since.
        recorded: Streams whose use is waited for before it is given back.
    """

    owner: int
    written: tuple[int, int]
    read: dict[int, int] = field(default_factory=dict)
    recorded: set[int] = field(default_factory=set)

    def reading(self, stream: int, count: int, what: str) -> None:
        """Raises RuntimeError if the stream does not know of the last write."""
        writer, at = self.written
        if STREAMS.clock(stream).get(writer, 0) < at:
            raise RuntimeError(f"race: {what} on stream {stream} reads what stream {writer} may not have written yet")
        self.read[stream] = count

    def writing(self, stream: int, count: int, what: str) -> None:
        """Raises RuntimeError if the stream does not know of the last write, or of a read."""
        self.reading(stream, count, what)
        known = STREAMS.clock(stream)
        if late := [other for other, at in self.read.items() if known.get(other, 0) < at]:
            raise RuntimeError(f"race: {what} on stream {stream} writes what stream {late[0]} may still read")
        self.written, self.read = (stream, count), {}

    def __del__(self) -> None:
        known = STREAMS.clock(self.owner)
        for stream, count in {**self.read, self.written[0]: self.written[1]}.items():
            if stream not in self.recorded and known.get(stream, 0) < count:
                STREAMS.races.append(f"memory of stream {self.owner} is given back while stream {stream} may use it")
