"""The processes that decode: a nursery that has imported what decoding needs forks one for each socket it is sent.

The nursery is started as a new Python, has no thread, never sees a GPU, and lets nothing but its sockets and the shared
memory through. It and its children end when the other side of their socket is gone, so with the process that they work
for, however that ends; a decoder in the middle of an image ends with that image. Interrupts of a terminal are not
theirs: whoever they work for ends them.
"""

from __future__ import annotations

import functools
import gc
import mmap
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from cvbench.engine.pictures.geometry import Geometry
from cvbench.engine.pictures.room import ProcessRoom
from cvbench.jobs.extraction.decoding.bound import bounded
from cvbench.jobs.extraction.decoding.fill import Refusal, fill
from cvbench.jobs.extraction.decoding.layout import Layout
from cvbench.jobs.extraction.decoding.wire import told, unpacked
from cvbench.jobs.running.messages import receive, send


def main(control: int) -> NoReturn:
    """Serve the process at the other end of a socket.

    Args:
        control: Descriptor of the socket. Its first message comes with the shared memory.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # else the first collection in each child copies every page
    parent = socket.socket(fileno=control)
    try:
        memory = _descriptor(parent)
        setting, _ = receive(parent)
        while True:
            _serve(parent, memory, setting)
    except (EOFError, OSError):
        os._exit(0)


def _descriptor(parent: socket.socket) -> int:
    _, found, _, _ = socket.recv_fds(parent, 1, 1)
    if not found:
        raise EOFError
    return found[0]


def _serve(parent: socket.socket, memory: int, setting: dict[str, Any]) -> None:
    """Start a decoder, or say how one ended."""
    asked, _ = receive(parent)
    if "ended" in asked:
        _, status = os.waitpid(asked["ended"], 0)
        send(parent, {"code": os.waitstatus_to_exitcode(status)})
        return
    lane = _descriptor(parent)
    pid = os.fork()
    if pid:
        os.close(lane)
        send(parent, {"pid": pid})
        return
    parent.close()
    try:
        _decode(socket.socket(fileno=lane), memory, setting)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _decode(lane: socket.socket, memory: int, setting: dict[str, Any]) -> NoReturn:
    """Decode what comes until nothing more can come."""
    layout = Layout.of(setting["layout"])
    block = mmap.mmap(memory, layout.nbytes)
    slots = [layout.views(block, slot) for slot in range(layout.slots)]
    transform = None if setting["transform"] is None else (setting["transform"][0], setting["transform"][1])
    fill_rows = functools.partial(fill, transform=transform, room=ProcessRoom(memory, setting["pixels"]))
    while True:
        try:
            asked, buffers = receive(lane)
            with bounded(setting["bytes"]):
                answer = _answer(asked, buffers, slots[asked["slot"]], fill_rows)
            send(lane, answer)
        except (EOFError, OSError):
            os._exit(0)


def _answer(
    asked: Mapping[str, Any],
    buffers: Sequence[memoryview],
    slot: Mapping[Geometry, NDArray[np.uint8]],
    fill_rows: Callable[..., Refusal | None],
) -> dict[str, Any]:
    """Rows that are refused and why, or the error that ends the run."""
    refused = {}
    try:
        for row, shape, data in zip(asked["rows"], asked["shapes"], buffers, strict=True):
            found = fill_rows(unpacked(shape, data), {geometry: images[row] for geometry, images in slot.items()})
            if found is not None:
                refused[row] = list(found)
    except BaseException as error:
        return {"error": told(error)}
    return {"refused": refused}


if __name__ == "__main__":
    main(int(sys.argv[1]))
