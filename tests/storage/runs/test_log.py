"""The log of a run: bounded, without secrets, readable whatever lies in its place, and no concern of the store's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cvbench.errors import IntegrityError, ResourceError
from cvbench.storage.care.verify import gc, verify
from cvbench.storage.features import FeatureStore
from cvbench.storage.objects.open import open_objects
from cvbench.storage.runs import log as module
from cvbench.storage.runs.log import MOST_BYTES, MOST_SEGMENTS, RUNS, RunLog, events, is_log, runs, without_secrets


def told(place: Path, name: str) -> list[dict[str, object]]:
    objects = open_objects(place)
    return list(events(objects, runs(objects)[name]))


def test_events_come_back_in_order(tmp_path: Path) -> None:
    log = RunLog(open_objects(tmp_path))
    log.add("started", {"job": "extract", "units": 3})
    log.flush()
    for unit in range(3):
        log.add("unit", {"unit": unit, "seconds": {"device": 0.5}}, matters=False)
    log.flush()
    found = told(tmp_path, log.name)
    assert [event["event"] for event in found] == ["started", "unit", "unit", "unit"]
    assert [event.get("unit") for event in found] == [None, 0, 1, 2]
    assert all(is_log(key) for key in runs(open_objects(tmp_path))[log.name])


def test_it_is_bounded_and_its_end_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 2_000)
    log = RunLog(open_objects(tmp_path))
    for unit in range(3_000):
        log.add("unit", {"unit": unit, "text": "x" * 100}, matters=False)
    log.add("unit", {"text": "x" * 5_000})  # larger than a segment
    assert log.left_out > 1_000
    log.add("ended", {"left_out": log.left_out})
    log.flush()
    keys = runs(open_objects(tmp_path))[log.name]
    assert len(keys) <= MOST_SEGMENTS
    assert sum((tmp_path / key).stat().st_size for key in keys) <= MOST_SEGMENTS * 2_000
    found = told(tmp_path, log.name)
    assert found[-1]["event"] == "ended"
    assert len(found) - 1 + log.left_out == 3_001


def test_names_sort_as_the_runs_began(tmp_path: Path) -> None:
    objects = open_objects(str(tmp_path))
    names = [RunLog(objects).name for _ in range(50)]
    assert sorted(names) == names


def test_only_so_many_runs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_RUNS", 3)
    objects = open_objects(tmp_path)
    for number in range(5):
        assert objects.create(f"{RUNS}/2026010{number + 1}T000000-00000000/0000.jsonl", b"{}\n")
    log = RunLog(objects)
    log.add("started", {})
    log.flush()
    assert [*runs(objects)] == ["20260104T000000-00000000", "20260105T000000-00000000", log.name]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("AKIAIOSFODNN7EXAMPLE is a key", "*** is a key"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "***"),
        ('{"Token": "abc.def", "unit": 3}', '{"***", "unit": 3}'),
        ("GET https://me:word@host/a?X-Amz-Signature=12ab&x=1", "GET https://***@host/a?***&x=1"),
        ("RAY_AUTH_TOKEN=0123abcd", "***"),
        ("decoded 3 images of folder:pets", "decoded 3 images of folder:pets"),
    ],
)
def test_what_looks_like_a_secret_is_left_out(text: str, left: str) -> None:
    assert without_secrets(text) == left


def test_secrets_of_any_depth_reach_no_store(tmp_path: Path) -> None:
    log = RunLog(open_objects(tmp_path))
    log.add("failure", {"lines": ["password=hunter2", {"deep": ["token: hunter2"]}], "what": "s3://a:hunter2@b"})
    log.flush()
    assert "hunter2" not in "".join(path.read_text() for path in tmp_path.rglob("*.jsonl"))


def test_what_is_no_event_is_passed_over(tmp_path: Path) -> None:
    objects = open_objects(tmp_path)
    key = f"{RUNS}/20260101T000000-00000000/0000.jsonl"
    lines = [b"\xff\xfe", b"[" * 5_000, b"3", b'{"event": 3}', b'{"event": "unit"}', b'{"ev']
    assert objects.create(key, b"\n".join(lines))
    assert list(events(objects, [key])) == [{"event": "unit"}]
    large = f"{RUNS}/20260101T000000-00000001/0000.jsonl"
    assert objects.create(large, b"x" * (MOST_BYTES + 1))
    with pytest.raises(IntegrityError):
        list(events(objects, [large]))


def test_a_store_that_cannot_be_written_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = open_objects(tmp_path)
    log = RunLog(objects)

    def full(key: str, *parts: object) -> bool:
        raise ResourceError("no space left")

    monkeypatch.setattr(objects, "create", full)
    log.add("started", {})
    log.flush()
    assert log.left_out == 1


def test_verify_and_gc_leave_logs_alone(tmp_path: Path) -> None:
    store = FeatureStore.open(str(tmp_path / "s.zarr"), mode="a")
    store.make()
    log = RunLog(store.objects)
    log.add("started", {"job": "extract"})
    log.add("ended", {"outcome": "done"})
    log.flush()
    report = verify(store, deep=True)
    assert report.ok
    assert not report.problems
    assert gc(store, orphans=True).removed == ()
    kept = (tmp_path / "s.zarr" / runs(store.objects)[log.name][0]).read_text().splitlines()
    assert json.loads(kept[0])["job"] == "extract"
    strange = f"{RUNS}/notes.txt"
    assert store.objects.create(strange, b"x")
    assert [problem.key for problem in verify(store).problems] == [strange]
