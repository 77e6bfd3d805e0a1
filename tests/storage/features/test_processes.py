"""What a machine does to a store: several processes at once, clocks that are wrong, another user, descriptors (F8, F16,
F17, F27)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cvbench.errors import ResourceError
from cvbench.storage.care.verify import gc, verify
from cvbench.storage.features import FeatureStore
from cvbench.storage.objects.local import LocalObjects
from tests.storage.small_store import contents, extract

ROOT = Path(__file__).parents[3]
_CHILD = """
import sys, time
from cvbench.storage.features import FeatureStore
from tests.storage.small_store import extract
print("ready", flush=True)
sys.stdin.readline()
extract(FeatureStore.open(sys.argv[1], "a"))
"""


def test_processes_that_write_one_store_at_once_leave_one_store(tmp_path: Path) -> None:
    extract(FeatureStore.open(tmp_path / "alone", "a"))
    expected = contents(LocalObjects(tmp_path / "alone"))
    script = [sys.executable, "-c", _CHILD, str(tmp_path / "shared")]
    children = [
        subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
        for _ in range(3)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
    for child in children:  # as near to each other as a barrier would let them start
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
    said = [child.communicate(timeout=120)[1].decode() for child in children]  # closes the pipes of all
    assert [child.returncode for child in children] == [0, 0, 0], said
    assert contents(LocalObjects(tmp_path / "shared")) == expected
    assert not LocalObjects(tmp_path / "shared").leftovers()


@pytest.mark.parametrize("skew", [-3600.0, 3600.0, 4e8])
def test_no_clock_decides_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew: float) -> None:
    extract(FeatureStore.open(tmp_path / "right", "a"))
    real, calls = time.time, iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: real() + skew - 60 * next(calls))  # and it steps back at every look
    store = FeatureStore.open(tmp_path / "skewed", "a")
    extract(store)
    for path in (tmp_path / "skewed").rglob("*"):
        os.utime(path, (real() + skew, real() + skew))
    assert contents(store.objects) == contents(LocalObjects(tmp_path / "right"))
    assert extract(FeatureStore.open(tmp_path / "skewed", "a")) == 0
    assert verify(store, deep=True).ok
    assert gc(store, orphans=True).removed == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_reads_and_is_told_that_it_cannot_write(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "s", "a")
    extract(store)
    before = contents(store.objects)
    for path in (tmp_path, *tmp_path.parents):
        if path != Path("/"):
            path.chmod(path.stat().st_mode | 0o005)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            reader = FeatureStore.open(tmp_path / "s")
            assert verify(reader, deep=True).ok
            attempts: tuple[Callable[[], object], ...] = (
                lambda: reader.objects.create("ledger/new.json", b"x"),
                lambda: reader.objects.delete("ledger/zarr.json"),
                lambda: extract(FeatureStore.open(tmp_path / "other", "a")),
            )
            for attempt in attempts:
                with pytest.raises(ResourceError, match=r"(?i)permission") as caught:
                    attempt()
                assert caught.value.exit_code == 6
            code = 0
        except BaseException as error:  # the child's only way to say why
            print(repr(error), file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert contents(store.objects) == before


def test_modes_are_those_of_the_users_umask(tmp_path: Path) -> None:
    held = os.umask(0o077)
    try:
        extract(FeatureStore.open(tmp_path / "s", "a"))
    finally:
        os.umask(held)
    assert not [p for p in (tmp_path / "s").rglob("*") if p.stat().st_mode & 0o077]


def test_fifty_runs_leave_nothing_open(tmp_path: Path) -> None:
    def held() -> list[int]:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        shared = [line for line in Path("/proc/self/maps").read_text().splitlines() if "/dev/shm/" in line]
        return [len(os.listdir("/proc/self/fd")), threading.active_count(), len(shared), len(children)]

    first = FeatureStore.open(tmp_path / "first", "a")
    assert extract(first) == 3
    assert verify(first, deep=True).ok  # what is opened once and kept
    before = held()
    for number in range(50):
        store = FeatureStore.open(tmp_path / str(number), "a")
        assert extract(store) == 3
        assert number % 10 or verify(store, deep=True).ok
    # Pools of threads grow to their size while they are used; what one run leaves would be there fifty times.
    assert max(after - earlier for after, earlier in zip(held(), before, strict=True)) < 10
