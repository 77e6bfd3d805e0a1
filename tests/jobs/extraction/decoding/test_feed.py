"""Batches decoded by threads and by processes: the same bytes, bad samples and errors, whatever is killed."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image

from cvbench.engine.models.host_copy import Copies
from cvbench.engine.pictures.geometry import Geometry
from cvbench.errors import DataUnavailableError, ResourceError, UsageError
from cvbench.jobs.extraction.decoding import processes
from cvbench.jobs.extraction.decoding.choice import Decoding
from cvbench.jobs.extraction.decoding.feed import Feed
from cvbench.jobs.extraction.decoding.processes import Nursery
from cvbench.storage.datasets import Dataset, open_dataset
from cvbench.storage.features.units import Unit
from tests.jobs.images import write_folder
from tests.waiting import looks

THREADS, PROCESSES = Decoding(2), Decoding(2, processes=True)
PAIR = (Geometry((48, 48), 56), Geometry((32, 40), (36, 44), decoder="pil", rules="loader"))
COUNT = 60
DEADLINE = 120  # seconds for what takes one


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("feed") / "pets", COUNT, broken=(0, 5, 30, 59))


def feed_of(dataset: Dataset, decoding: Decoding, geometries: tuple[Geometry, ...] = PAIR) -> Feed:
    order = np.random.default_rng(0).permutation(len(dataset))
    return Feed(dataset, order, geometries, batch=4, copies=Copies("cpu"), decoding=decoding)


@pytest.fixture(scope="module")
def feed(pets: Path) -> Iterator[Feed]:
    made = feed_of(open_dataset(f"folder:{pets}"), PROCESSES)
    yield made
    made.close()


def batches(feed: Feed, unit: Unit) -> list[tuple[int, int, Any, list[NDArray[np.uint8]]]]:
    reading = feed.start(unit)
    try:
        return [(b.offset, b.size, list(b.bad), [i.numpy().copy() for i in b.images.values()]) for b in reading]
    finally:
        reading.close()


def check_same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one[:3] == other[:3]
        for images, wanted in zip(one[3], other[3], strict=True):
            np.testing.assert_array_equal(images, wanted)


@pytest.mark.parametrize("unit", [Unit(0, 0, COUNT), Unit(1, 3, 33)])
def test_processes_give_the_bytes_of_threads(pets: Path, feed: Feed, unit: Unit) -> None:
    """15 batches go through a ring of 6 slots; the last of a unit is not full."""
    expected = batches(feed_of(open_dataset(f"folder:{pets}"), THREADS), unit)
    assert sum(len(bad) for _, _, bad, _ in expected) >= 1
    check_same(batches(feed, unit), expected)
    check_same(batches(feed, unit), expected)  # slots are used again: what lay there is gone


def test_pixels_and_transforms() -> None:
    dataset = open_dataset("digits+scale=1.5")
    found = []
    for decoding in (THREADS, PROCESSES):
        feed = feed_of(dataset, decoding, PAIR[:1])
        found.append(batches(feed, Unit(0, 0, 10)))
        feed.close()
    check_same(found[1], found[0])


def test_two_units_at_once_and_a_third_that_waits(feed: Feed, pets: Path) -> None:
    units = [Unit(number, number * 20, number * 20 + 20) for number in range(3)]
    held = [feed.start(unit) for unit in units[:2]]
    third = threading.Thread(target=lambda: held.append(feed.start(units[2])))
    third.start()
    time.sleep(0.3)
    assert third.is_alive()
    next(held[0])
    held[0].close()  # in the middle of it
    third.join(DEADLINE)
    assert not third.is_alive()
    for one in held[1:]:
        assert sum(batch.size for batch in one) == 20
        one.close()
    check_same(batches(feed, units[0]), batches(feed_of(open_dataset(f"folder:{pets}"), THREADS), units[0]))


@pytest.mark.parametrize("decoding", [THREADS, PROCESSES], ids=["threads", "processes"])
def test_threads_that_cannot_be_started_are_said_and_hold_nothing(
    pets: Path, monkeypatch: pytest.MonkeyPatch, decoding: Decoding
) -> None:
    """As often as one likes: neither slots nor the places of units are lost; then all goes on."""
    feed = feed_of(open_dataset(f"folder:{pets}"), decoding)
    right = ThreadPoolExecutor.submit
    left = itertools.count()

    def submit(pool: ThreadPoolExecutor, *given: Any) -> Any:
        if next(left) % 2:
            raise RuntimeError("can't start new thread")
        return right(pool, *given)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit)
    for _ in range(7):
        with pytest.raises(ResourceError, match="no further thread") as caught:
            feed.start(Unit(0, 0, COUNT))
        assert "fewer --threads" in (caught.value.fix or "")
    monkeypatch.setattr(ThreadPoolExecutor, "submit", right)
    found = batches(feed, Unit(0, 0, COUNT))
    feed.close()
    check_same(found, batches(feed_of(open_dataset(f"folder:{pets}"), THREADS), Unit(0, 0, COUNT)))


def test_the_errors_of_threads(pets: Path, feed: Feed, tmp_path: Path) -> None:
    dataset = open_dataset(f"folder:{write_folder(tmp_path / 'pets', 8)}")
    (tmp_path / "pets" / "class-1" / "003.png").unlink()
    said = []
    for decoding in (THREADS, PROCESSES):
        one = feed_of(dataset, decoding)
        with pytest.raises(DataUnavailableError) as caught:
            batches(one, Unit(0, 0, 8))
        said.append(str(caught.value))
        one.close()
    assert said[0] == said[1]
    assert "003.png" in said[0]
    for decoding in (THREADS, PROCESSES):
        one = feed_of(open_dataset("digits+shift=5"), decoding, (Geometry((32, 40), 40),))
        with pytest.raises(UsageError, match="square crop") as wrong:
            batches(one, Unit(0, 0, 8))
        assert wrong.value.fix == "shift-frame, which every backbone can have"
        one.close()


def pids(feed: Feed) -> list[int]:
    assert feed._decoders is not None
    return feed._decoders.pids


def test_a_decoder_that_is_killed_is_replaced(pets: Path) -> None:
    expected = batches(feed_of(open_dataset(f"folder:{pets}"), THREADS), Unit(0, 0, COUNT))
    feed = feed_of(open_dataset(f"folder:{pets}"), PROCESSES)
    before = pids(feed)
    os.kill(before[0], signal.SIGKILL)
    check_same(batches(feed, Unit(0, 0, COUNT)), expected)
    assert len(pids(feed)) == 2
    assert before[0] not in pids(feed)
    assert feed._decoders is not None
    nursery = feed._decoders._nursery[0]
    nursery._process.kill()
    os.kill(pids(feed)[1], signal.SIGKILL)
    check_same(batches(feed, Unit(0, 0, COUNT)), expected)
    assert feed._decoders._nursery[0] is not nursery
    left = [*pids(feed), feed._decoders._nursery[0]._process.pid]
    feed.close()
    check_gone(left)


def test_a_sample_that_ends_every_decoder_is_named(pets: Path) -> None:
    start = Nursery.start

    def start_and_kill(nursery: Nursery) -> Any:
        lane = start(nursery)
        os.kill(lane.pid, signal.SIGKILL)  # before it is given anything
        return lane

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Nursery, "start", start_and_kill)
        feed = feed_of(open_dataset(f"folder:{pets}"), Decoding(1, processes=True))
        with pytest.raises(ResourceError, match="2 decoding processes have ended with the same sample") as caught:
            batches(feed, Unit(0, 0, 4))
    assert caught.value.where in open_dataset(f"folder:{pets}").ids
    assert caught.value.why == "killed by SIGKILL"
    expected = batches(feed_of(open_dataset(f"folder:{pets}"), THREADS), Unit(0, 4, 40))
    check_same(batches(feed, Unit(0, 4, 40)), expected)  # the feed goes on
    feed.close()


def test_an_interpreter_that_cannot_start_is_an_error_and_no_hang(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ResourceError, match="no decoding process can be started") as caught:
        feed_of(open_dataset(f"folder:{pets}"), PROCESSES)
    assert caught.value.why == "exit code 1"


PROGRAM = """
import sys, time, numpy as np
from cvbench.jobs.extraction.decoding import processes
from cvbench.jobs.extraction.decoding.choice import Decoding
from cvbench.jobs.extraction.decoding.feed import Feed
from cvbench.engine.models.host_copy import Copies
from cvbench.engine.pictures.geometry import Geometry
from cvbench.storage.datasets import open_dataset
from cvbench.storage.features.units import Unit
dataset = open_dataset(sys.argv[1])
feed = Feed(dataset, np.arange(len(dataset)), [Geometry((48, 48), 56)], batch=4, copies=Copies("cpu"),
            decoding=Decoding(2, processes=True))
reading = feed.start(Unit(0, 0, 60))
next(reading)
print(*feed._decoders.pids, feed._decoders._nursery[0]._process.pid, flush=True)
if len(sys.argv) > 2: sys.exit()
time.sleep(600)
"""


def check_gone(left: list[int]) -> None:
    for _ in looks(DEADLINE):
        if not any(map(alive, left)):
            break


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, None])
def test_they_end_with_the_process_that_they_work_for(pets: Path, how: signal.Signals | None) -> None:
    """Killed, or at the end of its program without a word; and nothing is left of the memory."""
    before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    ends = [] if how else ["ends"]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, f"folder:{pets}", *ends], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    left = [int(word) for word in process.stdout.readline().split()]
    assert len(left) == 3
    if how:
        assert all(map(alive, left))
        process.send_signal(how)
    assert process.wait(DEADLINE) == (-how if how else 0)
    process.stdout.close()
    check_gone(left)
    ours = {name for name in (os.listdir("/dev/shm") if before else ()) if "cvbench" in name}
    assert ours <= before


def opened() -> set[tuple[str, str]]:
    """Descriptors of this process, and what each is of."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.add((name, os.readlink(f"/proc/self/fd/{name}")))
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="reads /proc")
def test_nothing_is_left_of_a_feed_that_is_let_go(pets: Path) -> None:
    gc.collect()  # of feeds before
    here = psutil.Process()
    files, children = opened(), {child.pid for child in here.children(recursive=True)}
    feed: Feed | None = feed_of(open_dataset(f"folder:{pets}"), PROCESSES)
    assert feed is not None
    batches(feed, Unit(0, 0, 8))
    left = pids(feed)
    feed = None
    gc.collect()
    check_gone(left)
    assert opened() <= files  # what others have left may go meanwhile
    assert {child.pid for child in here.children(recursive=True)} <= children


def test_a_process_that_decodes_has_a_bound_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """9 megapixels take some 60 MB: with a bound of 16 it is refused by the system, and the bound is gone with it."""
    (tmp_path / "large").mkdir()
    Image.new("RGB", (3_000, 3_000)).save(tmp_path / "large" / "0.png")
    dataset = open_dataset(f"folder:{tmp_path}")
    whole = Unit(0, 0, 1)
    monkeypatch.setattr(processes, "MOST_BYTES", 16 << 20)
    feed = feed_of(dataset, PROCESSES, PAIR[:1])
    for _ in range(2):
        with pytest.raises(MemoryError, match="decode"):
            batches(feed, whole)
    feed.close()
    monkeypatch.undo()
    feed = feed_of(dataset, PROCESSES, PAIR[:1])
    (found,) = batches(feed, whole)
    assert found[2] == []
    feed.close()


def test_a_bound_is_of_what_comes_and_ends_with_it() -> None:
    code = "import numpy as np; from cvbench.jobs.extraction.decoding.bound import bounded\n" + "\n".join(
        [
            "with bounded(64 << 20):",
            "    np.ones(32 << 20, np.uint8)",
            "    try: np.ones(128 << 20, np.uint8); print('taken')",
            "    except MemoryError: print('refused')",
            "np.ones(128 << 20, np.uint8); print('free')",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused", "free"]
