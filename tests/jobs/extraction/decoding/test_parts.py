"""The parts of decoding by processes: who decodes, where images lie, what travels, how much is held."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from typing import Any, Literal

import numpy as np
import pytest
import torch

from cvbench.engine.models.host_copy import Copies, page_locked
from cvbench.engine.pictures.geometry import Geometry
from cvbench.engine.pictures.room import ProcessRoom
from cvbench.errors import IntegrityError, ResourceError, UnknownNameError
from cvbench.jobs.extraction.decoding import choice
from cvbench.jobs.extraction.decoding.choice import Decoding, settled
from cvbench.jobs.extraction.decoding.layout import Layout
from cvbench.jobs.extraction.decoding.ring import Ring
from cvbench.jobs.extraction.decoding.wire import packed, raised, told, unpacked
from cvbench.jobs.extraction.plan import decode_rate
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.messages import receive, send
from tests.standin.counters import COUNTERS
from tests.standin.plug import plugged
from tests.standin.streams import DEFAULT, HOST, STREAMS


@pytest.mark.parametrize(
    ("asked", "cluster", "here", "expected"),
    [
        ("auto", Cluster("none", "cpu"), 64, Decoding(64)),
        ("auto", Cluster("none", "cpu", threads=4), 2, Decoding(4)),
        ("auto", Cluster("local", "cpu", threads=2), 64, Decoding(2)),
        ("auto", Cluster("none", "cuda"), 16, Decoding(14, processes=True)),
        ("auto", Cluster("local", "cuda", cores=8), 64, Decoding(6, processes=True)),
        ("auto", Cluster("local", "cuda", cores=4), 64, Decoding(4)),
        ("auto", Cluster("host:1", "cuda", cores=0), 64, Decoding(16)),  # nobody knows how many cores its nodes have
        ("threads", Cluster("none", "cuda"), 16, Decoding(8)),
        ("processes", Cluster("none", "cpu"), 2, Decoding(2, processes=True)),
        ("processes", Cluster("local", "cpu", threads=3), 2, Decoding(3, processes=True)),
        ("processes", Cluster("none", "cuda"), 2, Decoding(1, processes=True)),
    ],
)
def test_who_decodes(
    asked: Literal["auto", "threads", "processes"],
    cluster: Cluster,
    here: int,
    expected: Decoding,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "cores_here", lambda: here)
    monkeypatch.setattr(os, "cpu_count", lambda: 32 if cluster.address == "host:1" else here)
    assert settled(asked, cluster) == expected
    assert settled(asked, cluster, threads=5) == Decoding(5, expected.processes)


def test_slots_lie_apart_and_travel() -> None:
    layout = Layout((Geometry((5, 7), 9, fill=(1, 2, 3)), Geometry((4, 4), (6, 8), rules="loader")), 3, 4)
    assert Layout.of(json.loads(json.dumps(layout.as_dict()))) == layout
    block = bytearray(layout.nbytes)
    for slot in range(4):
        for number, images in enumerate(layout.views(block, slot).values()):
            assert not images.any()  # nobody else's
            images[:] = 10 * slot + number + 1
    assert {images.shape for images in layout.views(block, 0).values()} == {(3, 3, 5, 7), (3, 3, 4, 4)}
    assert np.count_nonzero(np.frombuffer(block, np.uint8)) == 4 * 3 * 3 * (5 * 7 + 4 * 4)


def test_large_messages_arrive_whole() -> None:
    near, far = socket.socketpair()
    buffers = [os.urandom(size) for size in (0, 1, 3_000_000, *[7] * 1_200)]
    sender = threading.Thread(target=send, args=(near, {"rows": [1, 2]}, buffers))
    sender.start()
    fields, found = receive(far)
    sender.join()
    assert fields == {"rows": [1, 2]}
    assert [bytes(one) for one in found] == buffers
    near.close()
    with pytest.raises(EOFError):
        receive(far)
    far.close()


def test_samples_and_errors_travel() -> None:
    payloads: list[Any] = [b"bytes", np.arange(12, dtype=np.uint8).reshape(2, 2, 3).transpose(1, 0, 2), np.ones((2, 3))]
    for payload in payloads:
        shape, data = packed(payload)
        found = unpacked(json.loads(json.dumps(shape)), memoryview(data))
        np.testing.assert_array_equal(found, payload)
        assert isinstance(found, bytes) or found.dtype == payload.dtype
    whole = IntegrityError("what", where="where", why="why", fix="fix")
    for error in (whole, UnknownNameError.among("transform", "scal", ["scale"])):
        again = raised(json.loads(json.dumps(told(error))))
        assert type(again) is type(error)
        assert str(again) == str(error)
    assert type(raised(told(MemoryError("no")))) is MemoryError
    assert "ZeroDivisionError: by" in str(raised(told(ZeroDivisionError("by"))))


def test_one_large_image_among_all_processes() -> None:
    ring = Ring(Layout((Geometry((8, 8), 8),), 1, 1), Copies("cpu"))
    read, write = os.pipe()
    with ProcessRoom(ring.file, 100).taken(101):
        pid = os.fork()
        if not pid:  # the lock is of the file, the process another
            with ProcessRoom(ring.file, 100).taken(100):
                os.write(write, b"small")
            with ProcessRoom(ring.file, 100).taken(101):
                os.write(write, b"large")
                os.kill(os.getpid(), 9)  # it ends with what holds it
        assert os.read(read, 5) == b"small"
        os.set_blocking(read, False)
        time.sleep(0.2)
        with pytest.raises(BlockingIOError):
            os.read(read, 5)
    os.waitpid(pid, 0)
    assert os.read(read, 5) == b"large"
    with ProcessRoom(ring.file, 100).taken(101):
        os.close(read)
    os.close(write)


class Driver:
    """What of CUDA's runtime is asked for."""

    def __init__(self, code: int) -> None:
        self.code, self.locked = code, dict[int, int]()

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:
        assert flags == 0
        self.locked[address] = size
        return self.code

    def cudaHostUnregister(self, address: int) -> int:
        del self.locked[address]
        return 0


def test_the_memory_is_page_locked_as_long_as_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(0)
    layout = Layout((Geometry((8, 8), 8),), 2, 2)
    with plugged():
        monkeypatch.setattr(torch.cuda, "cudart", lambda: driver)
        ring: Any = Ring(layout, Copies("cuda"))
        assert list(driver.locked.values()) == [layout.nbytes]
        assert next(iter(driver.locked)) == ring.views(0)[layout.geometries[0]].ctypes.data
        del ring
        assert not driver.locked
        driver.code = 2
        with pytest.raises(ResourceError, match="cannot be page-locked") as caught:
            page_locked(np.zeros(4, np.uint8))
        assert caught.value.why == "CUDA error 2"


def test_a_slot_is_free_once_the_device_has_read_it() -> None:
    """Whatever it still has to compute of it: only the stream of the uploads is waited for."""
    geometry = Geometry((8, 8), 8)
    with plugged():
        copies = Copies("cuda")
        ring = Ring(Layout((geometry,), 2, 1), copies)
        slot = ring.take()
        there = copies.up(ring.tensors(slot)[geometry])
        before = COUNTERS.copy()
        there.float().sum()
        ring.give_back(slot)
        assert (COUNTERS - before).waits == 0
        assert ring.take() == slot
        assert (COUNTERS - before).waits == 1
        done = STREAMS.clock(HOST)
        assert done[copies._up.number] == STREAMS.clock(copies._up.number)[copies._up.number]
        assert done.get(DEFAULT, 0) < STREAMS.clock(DEFAULT)[DEFAULT]


def test_what_a_plan_says_of_decoding() -> None:
    many, said = decode_rate("auto", 2, 16)
    assert many == pytest.approx(14 / 0.0015)
    assert "14 processes beside each of 2 GPUs" in said
    few, said = decode_rate("auto", 1)
    assert few == 1_740  # four threads would decode 2,667 without their lock
    assert "4 threads" in said
    assert "assumed" in said
    assert "share a lock" in said
    assert decode_rate("auto", 1, 2)[0] == pytest.approx(2 / 0.0015)
