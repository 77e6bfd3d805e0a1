"""Streams, events and page-locked memory of the stand-in: a copy that is not waited for has not arrived.

What is copied to the host without waiting is NaN there until an event recorded later, or the stream, was waited for.
"""

from __future__ import annotations

import types
from typing import Any

import numpy as np

from tests.standin.counters import COUNTERS
from tests.standin.cupy_array import OutOfMemoryError, poison
from tests.standin.streams import CUPY, DEFAULT, HOST, STREAMS, Clock
from tests.standin.surface import parameters


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
    return later(source, out, CUPY.stream if stream is None else stream.ptr)


def later(source: np.ndarray[Any, Any], out: np.ndarray[Any, Any], stream: int) -> np.ndarray[Any, Any]:
    """Copy on a stream what `source` holds now to `out`, where it arrives later."""
    now = source.copy()
    poison(out)

    def arrive() -> None:
        out[...] = now

    STREAMS.later(stream, arrive)
    return out


ANY = -1
"""The device of a stream that keeps none."""


class Event:
    """A place in a stream; waiting for it lets the copies that were queued before arrive."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _checked("Event", args, kwargs)
        self.clock: Clock | None = None

    def record(self, stream: Any = None) -> None:
        self.clock = STREAMS.clock(CUPY.stream if stream is None else stream.ptr)

    def synchronize(self) -> None:
        COUNTERS.wait()
        if self.clock is None:
            raise RuntimeError("an event is waited for that was not recorded")
        STREAMS.join(HOST, self.clock)


class Stream:
    """A stream of the one device; made without more, the default one. Within the block it is the current one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _checked("Stream", args, kwargs)
        self.ptr = DEFAULT
        self.device_id = CUPY.device
        self._before = DEFAULT

    @classmethod
    def from_external(cls, stream: Any) -> Stream:
        """As CuPy 14: of an object with `__cuda_stream__`."""
        version, pointer = stream.__cuda_stream__()
        made = cls()
        made.ptr = int(pointer)
        assert version == 0
        return made

    def __enter__(self) -> Stream:
        if self.device_id not in (ANY, CUPY.device):
            raise RuntimeError(
                f"The device that the stream is created on ({self.device_id})"
                f" does not match with the current device ({CUPY.device})"
            )
        self._before, CUPY.stream = CUPY.stream, self.ptr
        return self

    def __exit__(self, *_: object) -> None:
        CUPY.stream = self._before

    def synchronize(self) -> None:
        COUNTERS.wait()
        STREAMS.join(HOST, STREAMS.clock(self.ptr))


class ExternalStream(Stream):
    """As before CuPy 14: of a pointer."""

    def __init__(self, ptr: int, device_id: int = ANY) -> None:
        super().__init__()
        self.ptr, self.device_id = ptr, device_id


def _current(device_id: int = -1) -> Stream:
    found = Stream()
    found.ptr = CUPY.stream
    return found


class Device:
    """A device; there is one, or as many as `number` says."""

    number = 1

    def __init__(self, device: int | None = None) -> None:
        self.id = CUPY.device if device is None else device
        self._before = CUPY.device
        if self.id >= self.number:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")

    def __enter__(self) -> Device:
        self._before, CUPY.device = CUPY.device, self.id
        return self

    def __exit__(self, *_: object) -> None:
        CUPY.device = self._before

    def synchronize(self) -> None:
        COUNTERS.wait()
        STREAMS.wait_for_all()


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
        "ExternalStream": ExternalStream,
        "Stream": Stream,
        "get_current_stream": _current,
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
