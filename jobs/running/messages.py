"""Messages between processes of one machine over a socket: fields as JSON, and buffers behind them."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
