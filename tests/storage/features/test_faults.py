"""Whatever fails at whatever moment, the same command again ends with the same bytes (I1-I5, I7, I11, I12)."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import wait
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from cvbench.errors import IntegrityError, ResourceError
from cvbench.storage.care.verify import gc, verify
from cvbench.storage.features import FeatureStore
from cvbench.storage.features.ledger import Commit, digest
from cvbench.storage.features.writer import UnitWriter
from cvbench.storage.objects.local import LocalObjects
from cvbench.storage.objects.memory import MemoryObjects
from tests.storage.objects.faulty import Fault, FaultyObjects, Killed
from tests.storage.small_store import (
    GROUP,
    SPECS,
    TAPS,
    UNITS,
    N,
    contents,
    declare,
    extract,
    features,
    write_unit,
)
from tests.waiting import looks


def undisturbed() -> dict[str, str]:
    """Key -> digest of the store that nothing disturbed."""
    objects = FaultyObjects()
    extract(FeatureStore.open(objects, "a"))
    return contents(objects)


def calls_of_a_run() -> int:
    """Store calls of a whole tiny run."""
    objects = FaultyObjects()
    extract(FeatureStore.open(objects, "a"))
    return objects.calls


@pytest.mark.parametrize("fault", ["before", "after", "kill before", "kill after"])
def test_failing_at_any_call_and_running_again_gives_the_same_store(fault: Fault) -> None:
    expected, total = undisturbed(), calls_of_a_run()
    assert 40 < total < 300
    for call in range(1, total + 1):
        objects = FaultyObjects()
        objects.fail(call, fault)
        with contextlib.suppress(ResourceError, Killed, IntegrityError):
            extract(FeatureStore.open(objects, "a"))
        objects.fail(0, fault)
        if objects.get("zarr.json") is not None:
            report = verify(FeatureStore.open(objects), deep=True)
            assert report.ok, (call, report.problems)  # what is committed is whole, at every moment
        extract(FeatureStore.open(objects, "a"))
        assert contents(objects) == expected, call


def test_a_lagging_listing_costs_work_and_nothing_else() -> None:
    objects = FaultyObjects()
    extract(FeatureStore.open(objects, "a"))
    expected = contents(objects)
    objects.hidden = {key for key in objects.data if "/commits/" in key}
    store = FeatureStore.open(objects, "a")
    assert extract(store) == 0  # the records are asked for by key
    assert store.pending(GROUP, ["blocks.0"], UNITS[:1]) == {UNITS[0]: ["blocks.0"]}  # another set of taps: overlooked
    again = write_unit(store, UNITS[0], SPECS[:1])
    objects.hidden = set()
    assert contents(objects).items() >= expected.items()
    np.testing.assert_array_equal(FeatureStore.open(objects).layer(GROUP, "blocks.0").numpy(), features(SPECS[0]))
    assert again.taps["blocks.0"] == store.commits(GROUP)[1].taps["blocks.0"]
    assert verify(store, deep=True).ok


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_stops_the_run_and_the_same_command_goes_on(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(tmp_path), "-o"]
    if subprocess.run([*mount, "size=100k"], check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        with pytest.raises(ResourceError, match="no space left") as error:
            extract(FeatureStore.open(tmp_path / "s", "a"))
        assert "run the same command again" in str(error.value)
        store = FeatureStore.open(tmp_path / "s", "a")
        assert verify(store, deep=True).ok
        assert not store.objects.leftovers()
        subprocess.run([*mount, "remount,size=4m"], check=True)
        extract(store)
        assert contents(store.objects) == undisturbed()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_writers_of_one_unit_at_once() -> None:
    objects, failures = MemoryObjects("race"), []
    objects.data.clear()
    declare(FeatureStore.open(objects, "a"))
    barrier = threading.Barrier(6)

    def work() -> None:
        store = FeatureStore.open(objects, "a")
        barrier.wait()
        try:
            for unit in UNITS:
                write_unit(store, unit)
        except Exception as error:  # shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert contents(objects) == undisturbed()


class Attempt:
    """One writer at work: its taps, its unit, and how far it is."""

    def __init__(self, store: FeatureStore, unit: int, taps: tuple[str, ...]) -> None:
        self.unit, self.taps, self.offset = UNITS[unit], taps, 0
        self.writer: UnitWriter = store.writer(GROUP, taps, self.unit)

    @property
    def complete(self) -> bool:
        return self.offset >= len(self.unit)

    def step(self, rows: int) -> None:
        start = self.unit.start + self.offset
        stop = min(start + rows, self.unit.stop)
        for spec in SPECS:
            if spec.tap in self.taps:
                self.writer.write(spec.tap, self.offset, features(spec)[start:stop])
        self.offset += rows

    def finish(self) -> None:
        if not self.complete:
            self.step(8)
        self.commit()

    def commit(self) -> Commit:
        return self.writer.commit(provenance={"cvbench": "0"})


class StoreMachine(RuleBasedStateMachine):
    """Any schedule of writers, crashes, full disks and lost acknowledgements, against a dictionary."""

    attempts: Bundle[Attempt] = Bundle("attempts")

    @initialize()
    def start(self) -> None:
        self.objects = FaultyObjects()
        self.store = FeatureStore.open(self.objects, "a")
        declare(self.store)
        self.committed: set[tuple[int, str]] = set()
        self.records: dict[str, str] = {}
        self.live = 0
        self.begun: list[Attempt] = []

    def quiet(self) -> None:
        """Let the threads of all attempts end, so that an injected fault meets the call it is meant for."""
        for attempt in self.begun:
            wait(list(attempt.writer._pending))

    @rule(target=attempts, unit=st.integers(0, 2), taps=st.sampled_from([TAPS, TAPS[:1], TAPS[1:]]))
    def begin(self, unit: int, taps: tuple[str, ...]) -> Attempt:
        self.live += 1
        self.begun.append(Attempt(FeatureStore.open(self.objects, "a"), unit, taps))
        return self.begun[-1]

    @rule(target=attempts, attempt=consumes(attempts), rows=st.integers(1, 8))
    def compute(self, attempt: Attempt, rows: int) -> Attempt:
        if not attempt.complete:
            attempt.step(rows)
        return attempt

    @rule(attempt=consumes(attempts))
    def crash(self, attempt: Attempt) -> None:
        attempt.writer.close()
        self.live -= 1

    @rule(attempt=consumes(attempts))
    def disk_full(self, attempt: Attempt) -> None:
        self.quiet()
        self.objects.fail(1, "before")
        with pytest.raises((ResourceError, IntegrityError)):
            attempt.finish()
        self.objects.fail(0, "before")
        self.crash(attempt)

    @rule(target=attempts, attempt=consumes(attempts), lose=st.booleans())
    def commit(self, attempt: Attempt, lose: bool) -> Attempt:
        if not attempt.complete:
            with pytest.raises(IntegrityError, match="never written"):
                attempt.commit()
            return attempt
        while attempt.writer._pending:  # so that the next call to the store is the record's
            attempt.writer._pending.popleft().result()
        if lose:
            self.quiet()
            self.objects.fail(1, "after")
            with pytest.raises(ResourceError):
                attempt.commit()
            self.objects.fail(0, "after")
        else:
            attempt.commit()
        self.live -= 1
        attempt.writer.close()
        self.committed |= {(attempt.unit.index, tap) for tap in attempt.taps}
        return multiple()  # type: ignore[return-value]

    @rule()
    def collect(self) -> None:
        if not self.live:
            gc(self.store, orphans=True)

    @invariant()
    def readers_see_what_is_committed_and_right(self) -> None:
        reader = FeatureStore.open(self.objects)
        for spec in SPECS:
            layer = reader.layer(GROUP, spec.tap)
            assert {(unit.index, spec.tap) for unit in layer.units} == {c for c in self.committed if c[1] == spec.tap}
            np.testing.assert_array_equal(layer.numpy(), features(spec)[layer.rows])

    @invariant()
    def records_are_immutable_and_true(self) -> None:
        records = {key: digest(data) for key, data in self.objects.data.items() if "/commits/" in key}
        assert records.items() >= self.records.items()
        self.records = records
        assert verify(FeatureStore.open(self.objects), deep=True).ok

    def teardown(self) -> None:
        if not hasattr(self, "objects"):
            return
        extract(FeatureStore.open(self.objects, "a"))
        gc(self.store, orphans=True)
        final, expected = contents(self.objects), undisturbed()
        # Which taps share a record depends on the schedule; the features and everything else do not.
        assert {k: v for k, v in final.items() if "/commits/" not in k} == {
            k: v for k, v in expected.items() if "/commits/" not in k
        }
        rows = [row for unit in self.store.layer(GROUP, TAPS[0]).units for row in range(unit.start, unit.stop)]
        assert rows == list(range(N))


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)

_CHILD = """
import sys
from cvbench.storage.features import FeatureStore
from tests.storage.features.test_faults import extract_slowly
extract_slowly(FeatureStore.open(sys.argv[1], "a"))
"""


def extract_slowly(store: FeatureStore) -> None:
    """The tiny run, then the same again under three more backbone names: long enough to be killed in the middle."""
    from dataclasses import replace

    for i in range(4):
        extract(store, SPECS, replace(GROUP, backbone=f"vit{i}"))


def grown(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


def test_sigkill_at_random_moments_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """Each kill falls when the store has so many files; a run that was over before is compared, and another begun."""
    extract_slowly(FeatureStore.open(tmp_path / "undisturbed", "a"))
    expected, total = contents(LocalObjects(tmp_path / "undisturbed")), grown(tmp_path / "undisturbed")
    rng, killed, target = random.Random(0), 0, tmp_path / "run-0"
    root = Path(__file__).parents[3]
    for attempt in range(40):
        if killed == 8:
            break
        child = subprocess.Popen([sys.executable, "-c", _CHILD, str(target)], cwd=root)
        goal = grown(target) + rng.randrange(1, total // 6)
        for _ in looks(150):
            if child.poll() is not None or grown(target) >= goal:
                break
        child.kill()
        if child.wait() == 0:
            gc(FeatureStore.open(target, "a"))
            assert contents(LocalObjects(target)) == expected
            target = tmp_path / f"run-{attempt + 1}"
            continue
        killed += 1
        assert child.returncode == -signal.SIGKILL
        if (target / "zarr.json").exists():
            report = verify(FeatureStore.open(target), deep=True)
            assert report.ok, report.problems
    assert killed == 8
    store = FeatureStore.open(target, "a")
    extract_slowly(store)
    gc(store)
    assert contents(store.objects) == expected
    assert not store.objects.leftovers()
