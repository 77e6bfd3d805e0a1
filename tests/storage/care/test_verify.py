"""`verify` and `gc`: any changed bit is found and named (I10), strays are told apart, nothing committed is removed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray

from cvbench.errors import IntegrityError
from cvbench.storage.care.verify import as_dict, gc, verify
from cvbench.storage.features import FeatureStore
from cvbench.storage.features.ledger import seal
from cvbench.storage.objects.memory import MemoryObjects
from cvbench.storage.results.outcomes import ResultKey, put_partial, save_result
from tests.storage.small_store import GROUP, SPECS, TAPS, UNITS, declare, extract, features, flip_bit, write_unit

RESULT = ResultKey("digits", "all", "cka", "0123abcd")


@pytest.fixture
def store(request: pytest.FixtureRequest) -> FeatureStore:
    objects = MemoryObjects(f"verify-{request.node.name}")
    objects.data.clear()
    store = FeatureStore.open(objects, "a")
    extract(store)
    put_partial(store, RESULT, 0, {"hsic": np.eye(2)})
    save_result(store, RESULT, xarray.Dataset({"cka": (("a", "b"), np.eye(2))}, coords={"a": ["x", "y"]}))
    return store


def data_of(store: FeatureStore) -> dict[str, bytes]:
    assert isinstance(store.objects, MemoryObjects)
    return store.objects.data


def test_a_sound_store_has_no_findings(store: FeatureStore) -> None:
    for deep in (False, True):
        report = verify(store, deep=deep)
        assert report.ok
        assert report.problems == ()
        assert report.objects == len(data_of(store))
        assert report.bytes == sum(map(len, data_of(store).values()))
        assert report.commits == len(UNITS)


def test_any_changed_bit_of_any_object_is_found_and_named(store: FeatureStore) -> None:
    data = data_of(store)
    rng = np.random.default_rng(0)
    for key, sound in list(data.items()):
        for bit in {0, 8 * len(sound) - 1, *rng.integers(0, 8 * len(sound), 4).tolist()}:
            data[key] = flip_bit(sound, int(bit))
            report = verify(FeatureStore(store.objects, "r"), deep=True)
            named = {problem.key for problem in report.problems if problem.harmful}
            assert key in named, (key, bit, report.problems)
        data[key] = sound
    assert verify(store, deep=True).ok


@pytest.mark.parametrize("deep", [False, True])
def test_missing_and_shortened_objects_are_named_with_their_unit(store: FeatureStore, deep: bool) -> None:
    data = data_of(store)
    del data[f"{GROUP.path}/blocks.0/c.1.0"]
    data[f"{GROUP.path}/blocks.1/c.2.0"] = data[f"{GROUP.path}/blocks.1/c.2.0"][:-1]
    report = verify(store, deep=deep)
    found = {(p.kind, p.key.rsplit("/", 1)[1], p.unit, p.layer) for p in report.problems}
    assert found == {
        ("missing", "c.1.0", 1, f"{GROUP.path}/blocks.0"),
        ("damaged", "c.2.0", 2, f"{GROUP.path}/blocks.1"),
    }
    assert not report.ok


def test_swapped_and_stale_chunks_pass_their_checksum_and_are_found_by_digest(store: FeatureStore) -> None:
    data = data_of(store)
    a, b = f"{GROUP.path}/blocks.0/c.0.0", f"{GROUP.path}/blocks.0/c.1.0"
    data[a], data[b] = data[b], data[a]
    for deep in (False, True):
        assert {p.key for p in verify(store, deep=deep).problems} == {a, b}


def test_a_record_with_a_false_count_is_found(store: FeatureStore) -> None:
    data = data_of(store)
    key = next(key for key in data if "/commits/000001" in key)
    record = store.commits(GROUP)[1].as_dict()
    record["taps"]["blocks.0"]["nonfinite"] = 7
    data[key] = seal(record)  # sound in itself
    problems = verify(FeatureStore(store.objects, "r"), deep=True).problems
    assert [(p.kind, p.unit, p.layer) for p in problems] == [("damaged", 1, f"{GROUP.path}/blocks.0")]


def test_strays_do_no_harm_and_are_told_apart(store: FeatureStore) -> None:
    data = data_of(store)
    data[f"{GROUP.path}/blocks.0/c.9.0"] = b"x"
    data["notes.txt"] = b"y"
    report = verify(store)
    assert report.ok
    assert {(p.kind, p.key) for p in report.problems} == {
        ("orphan", f"{GROUP.path}/blocks.0/c.9.0"),
        ("foreign", "notes.txt"),
    }
    assert as_dict(report)["ok"] is True


def test_gc_removes_orphans_when_asked_and_never_what_is_committed(store: FeatureStore) -> None:
    data = data_of(store)
    committed = dict(data)
    data[f"{GROUP.path}/blocks.0/c.9.0"] = b"x"
    data["notes.txt"] = b"y"
    assert gc(store).removed == ()
    assert gc(store, orphans=True, dry_run=True).removed == (f"{GROUP.path}/blocks.0/c.9.0",)
    assert gc(store, orphans=True).removed == (f"{GROUP.path}/blocks.0/c.9.0",)
    assert data == committed | {"notes.txt": b"y"}


def test_gc_of_an_unfinished_attempt_lets_another_outcome_in(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "s", "a")
    declare(store)
    with store.writer(GROUP, TAPS, UNITS[0]) as writer:
        writer.write("blocks.0", 0, np.full((8, 4), np.nan, np.float16))
    with pytest.raises(IntegrityError) as error:
        write_unit(store, UNITS[0])
    assert "store gc --orphans" in str(error.value)
    (tmp_path / "s" / "digits" / ".tmp-1-aa").write_bytes(b"half")
    removed = set(gc(store, orphans=True).removed)
    # It, and an object of each tap: the second one's only if its thread came to it before the first one failed.
    mine = {"digits/.tmp-1-aa", f"{GROUP.path}/blocks.0/c.0.0"}
    assert mine <= removed <= mine | {f"{GROUP.path}/blocks.1/c.0.0.0.0", f"{GROUP.path}/blocks.1/c.0.0"}
    extract(store)
    np.testing.assert_array_equal(store.layer(GROUP, "blocks.0").numpy(), features(SPECS[0]))


def test_gc_refuses_to_guess_when_a_record_is_damaged(store: FeatureStore) -> None:
    data = data_of(store)
    key = next(key for key in data if "/commits/000001" in key)
    data[key] = flip_bit(data[key], 300)
    before = dict(data)
    with pytest.raises(IntegrityError, match="orphans cannot be told"):
        gc(FeatureStore(store.objects, "a"), orphans=True)
    assert data == before
