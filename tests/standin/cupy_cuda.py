"""Streams, events and page-locked memory of the stand-in: a copy that is not waited for has not arrived.

What is copied to the host without waiting is NaN there until an event recorded later, or the stream, was waited for.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.standin.counters import COUNTERS
from tests.standin.cupy_array import OutOfMemoryError, poison
from tests.standin.surface import parameters


class Queue:
    """Copies to the host that are under way; the device has one."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []
        self.queued = self.arrived = 0

    def put(self, copy: Callable[[], None]) -> None:
        """A copy that arrives later."""
        self._waiting.append(copy)
        self.queued += 1

    def arrive(self, until: int) -> None:
        """Let the first `until` copies arrive."""
        while self._waiting and self.arrived < until:
            self._waiting.pop(0)()
            self.arrived += 1


QUEUE = Queue()


def fetch(
    source: np.ndarray[Any, Any], stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True
) -> Any:
    """`ndarray.get`: with `blocking=False` and `out`, the values arrive with an event or the stream."""
    COUNTERS.fetches += 1
    COUNTERS.fetched += source.nbytes
    if blocking or out is None:
        COUNTERS.wait()
        if out is None:
            return np.array(source, order=order)  # type: ignore[call-overload]
        out[...] = source
        return out
    if (out.shape, out.dtype) != (source.shape, source.dtype):
        raise ValueError("out has another shape or type")
    return later(source, out)


def later(source: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Copy what `source` holds now to `out`, where it arrives later."""
    now = source.copy()
    poison(out)

    def arrive() -> None:
        out[...] = now

    QUEUE.put(arrive)
    return out


class Event:
    """A place in the queue; waiting for it lets what was queued before arrive."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _checked("Event", args, kwargs)
        self._at: int | None = None

    def record(self, stream: Any = None) -> None:
        self._at = QUEUE.queued

    def synchronize(self) -> None:
        COUNTERS.wait()
        if self._at is None:
            raise RuntimeError("an event is waited for that was not recorded")
        QUEUE.arrive(self._at)


class Stream:
    """A stream of the one device."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _checked("Stream", args, kwargs)
        self.ptr = 0

    @classmethod
    def from_external(cls, stream: Any) -> Stream:
        """As CuPy 14: of an object with `__cuda_stream__`."""
        version, pointer = stream.__cuda_stream__()
        made = cls()
        made.ptr = int(pointer)
        assert version == 0
        return made

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None: ...

    def synchronize(self) -> None:
        COUNTERS.wait()
        QUEUE.arrive(QUEUE.queued)


class Device:
    """The one device."""

    def __init__(self, device: int | None = None) -> None:
        self.id = device or 0
        if self.id:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None: ...

    def synchronize(self) -> None:
        COUNTERS.wait()
        QUEUE.arrive(QUEUE.queued)


def _checked(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    known = parameters("cuda", name)
    assert known is not None
    known.check(name, args, kwargs)


class PythonFunctionAllocator:
    """Keeps the two functions; the stand-in's memory is the host's."""

    def __init__(self, malloc_func: Any, free_func: Any) -> None:
        self.malloc_func, self.free_func = malloc_func, free_func

    def malloc(self, size: int) -> Any:
        """As CuPy calls it."""
        return self.malloc_func(size, 0)


def make() -> types.ModuleType:
    """The module `cupy.cuda`."""
    cuda = types.ModuleType("cupy.cuda")
    memory, runtime = types.ModuleType("cupy.cuda.memory"), types.ModuleType("cupy.cuda.runtime")
    allocators: list[Any] = []
    everything: dict[str, Any] = {
        "Device": Device,
        "Event": Event,
        "Stream": Stream,
        "get_current_stream": lambda device_id=-1: Stream(),
        "is_available": lambda: True,
        "set_allocator": lambda allocator=None: allocators.append(allocator),
        "memory": memory,
        "runtime": runtime,
    }
    for name, value in everything.items():
        setattr(cuda, name, value)
    memory.OutOfMemoryError = OutOfMemoryError  # type: ignore[attr-defined]
    memory.PythonFunctionAllocator = PythonFunctionAllocator  # type: ignore[attr-defined]
    runtime.getDeviceCount = lambda: 1  # type: ignore[attr-defined]
    cuda.allocators = allocators  # type: ignore[attr-defined]  # for tests
    return cuda
