"""Which runs are under way by their logs; nothing is tidied up under one, and the killed block nobody for ever."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path

import pytest

from cvbench.errors import UsageError
from cvbench.storage.care import verify as module
from cvbench.storage.care.verify import gc
from cvbench.storage.features import FeatureStore
from cvbench.storage.objects.local import LocalObjects
from cvbench.storage.runs.log import RUNS, RunLog
from cvbench.storage.runs.under_way import SILENT, under_way
from tests.storage.small_store import GROUP, extract

ORPHAN = f"{GROUP.path}/blocks.0/c.9.0"


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    made = FeatureStore.open(tmp_path / "s", "a")
    extract(made)
    made.objects.create(ORPHAN, b"of a unit that is not committed")
    return made


def test_nothing_is_removed_under_a_run(store: FeatureStore) -> None:
    log = RunLog(store.objects)
    log.begin()
    assert under_way(store.objects) == [log.name]
    for orphans in (False, True):
        with pytest.raises(UsageError, match="a run writes to the store") as caught:
            gc(store, orphans=orphans)
        assert log.name in (caught.value.where or "")
        assert "--force" in (caught.value.fix or "")
    assert store.objects.get(ORPHAN) is not None
    assert gc(store, orphans=True, dry_run=True).removed == (ORPHAN,)
    log.add("ended", {"outcome": "done"})
    log.flush()
    assert under_way(store.objects) == []
    assert gc(store, orphans=True).removed == (ORPHAN,)


def test_force_removes_whatever_logs_say(store: FeatureStore) -> None:
    RunLog(store.objects).begin()
    assert gc(store, orphans=True, force=True).removed == (ORPHAN,)


@pytest.mark.parametrize("ends", [False, True])
def test_a_run_that_begins_while_orphans_are_looked_for_is_left_alone(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """Even one that has ended by then: what it has committed may have looked like an orphan."""
    right = module.verify

    def verify(given: FeatureStore) -> module.VerifyReport:
        log = RunLog(given.objects)
        log.begin()
        found = right(given)
        if ends:
            log.add("ended", {"outcome": "done"})
            log.flush()
        return found

    monkeypatch.setattr(module, "verify", verify)
    with pytest.raises(UsageError, match="a run writes"):
        gc(store, orphans=True)
    assert store.objects.get(ORPHAN) is not None


def test_a_killed_run_of_this_machine_blocks_nobody(store: FeatureStore) -> None:
    code = """
import os, sys
from cvbench.storage.objects.local import LocalObjects
from cvbench.storage.runs.log import RunLog
RunLog(LocalObjects(sys.argv[1])).begin()
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code, store.url], timeout=300, check=False)
    assert len(list(store.objects.list(f"{RUNS}/"))) == 1
    assert under_way(store.objects) == []
    assert gc(store, orphans=True).removed == (ORPHAN,)


@pytest.mark.parametrize("writer", ["0000aaaa-17-4", None, 3, "../x"])
def test_a_run_of_another_machine_counts_until_it_was_silent_for_an_hour(tmp_path: Path, writer: object) -> None:
    objects = LocalObjects(tmp_path)
    name = "20260102T030405-00000000"
    lines = [{"t": 0.0, "event": "begun", "writer": writer}, {"t": 600.0, "event": "unit"}, {"t": "x", "event": "note"}]
    objects.create(f"{RUNS}/{name}/0000.jsonl", "\n".join(map(json.dumps, lines)).encode())
    last = datetime.datetime(2026, 1, 2, 3, 14, 5, tzinfo=datetime.UTC).timestamp()
    assert under_way(objects, last + SILENT - 1) == [name]
    assert under_way(objects, last + SILENT + 1) == []


def test_what_is_no_log_counts_as_none(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    objects.create(f"{RUNS}/20260102T030405-00000000/0000.jsonl", b"\xff\n[]\n")
    objects.create(f"{RUNS}/20269999T999999-00000000/0000.jsonl", b'{"event": "begun"}\n')
    objects.create(f"{RUNS}/20260102T030405-00000001/0000.jsonl", b"x" * (1 << 20))
    assert under_way(objects, 1.77e9) == []
