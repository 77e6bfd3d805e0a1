"""Messages between a process and those that decode for it: fields as JSON, and buffers behind them; what they carry."""

from __future__ import annotations

import json
import socket
import struct
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench import errors

_LENGTH = struct.Struct("<Q")
_AT_ONCE = 512  # buffers of one call; the system's limit is 1,024
Buffer = bytes | memoryview


def send(to: socket.socket, fields: Mapping[str, Any], buffers: Sequence[Buffer] = ()) -> None:
    """Send a message whole.

    Raises:
        OSError: The other side has ended.
    """
    head = json.dumps({"fields": fields, "sizes": [len(buffer) for buffer in buffers]}).encode()
    left = [memoryview(buffer) for buffer in (_LENGTH.pack(len(head)), head, *buffers)]
    while left:
        sent = to.sendmsg(left[:_AT_ONCE])
        while left and sent >= len(left[0]):
            sent -= len(left.pop(0))
        if left:
            left[0] = left[0][sent:]


def receive(at: socket.socket) -> tuple[dict[str, Any], list[memoryview]]:
    """The next message: its fields and its buffers.

    Raises:
        EOFError: The other side has ended.
        OSError: The same, as the system says it.
    """
    (length,) = _LENGTH.unpack(_exactly(at, _LENGTH.size))
    head = json.loads(bytes(_exactly(at, length)))
    return head["fields"], list(_cut(_exactly(at, sum(head["sizes"])), head["sizes"]))


def _exactly(at: socket.socket, size: int) -> memoryview:
    data = memoryview(bytearray(size))
    got = 0
    while got < size:
        more = at.recv_into(data[got:])
        if not more:
            raise EOFError
        got += more
    return data


def _cut(data: memoryview, sizes: Sequence[int]) -> Iterator[memoryview]:
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size


def packed(payload: bytes | NDArray[np.uint8]) -> tuple[list[Any] | None, Buffer]:
    """A sample as it travels: the dtype and shape of pixels, None for an encoded image; and its bytes."""
    if isinstance(payload, np.ndarray):
        return [payload.dtype.str, *payload.shape], np.ascontiguousarray(payload).tobytes()
    return None, payload


def unpacked(shape: list[Any] | None, data: memoryview) -> bytes | NDArray[np.uint8]:
    """The reverse of `packed`."""
    if shape is None:
        return bytes(data)
    pixels: NDArray[np.uint8] = np.frombuffer(data, shape[0]).reshape(shape[1:])
    return pixels


def told(error: BaseException) -> dict[str, Any]:
    """An error as it travels: what cvbench raises by its class and fields, anything else by its class and traceback."""
    if isinstance(error, errors.CvbenchError):
        return {"class": type(error).__name__, "fields": {**error.as_dict(), "code": None}}
    return {"class": type(error).__name__, "text": "".join(traceback.format_exception(error))}


def raised(error: dict[str, Any]) -> BaseException:
    """The reverse of `told`; what neither cvbench nor memory is the cause of is a RuntimeError, with the traceback."""
    if "fields" in error:
        fields = {name: value for name, value in error["fields"].items() if name != "code"}
        kind: Any = getattr(errors, error["class"], errors.CvbenchError)
        made: BaseException = kind(fields.pop("what"), **fields)
        return made
    text = f"a decoding process failed\n{error['text']}"
    return MemoryError(text) if error["class"] == "MemoryError" else RuntimeError(text)
