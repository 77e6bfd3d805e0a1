"""`repair`: whatever was damaged is forgotten and made again by the same work; what is sound stays as it is."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import xarray

from cvbench.storage.features import FeatureStore
from cvbench.storage.ledger import seal
from cvbench.storage.objects import LocalObjects
from cvbench.storage.repair import repair
from cvbench.storage.results import ResultKey, get_partial, put_partial, save_result
from cvbench.storage.verify import verify
from tests.storage.small_store import GROUP, SPECS, TAPS, UNITS, extract, flip_bit, write_unit

CHUNK = re.compile(r"^(?!.*/samples/).*/c[./]\d")
RESULT = ResultKey("digits", "all", "cka", "0123abcd")


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    made = FeatureStore.open(tmp_path / "s.zarr", "a")
    extract(made)
    put_partial(made, RESULT, 0, {"hsic": np.eye(2)})
    save_result(made, RESULT, xarray.Dataset({"cka": (("a", "b"), np.eye(2))}, coords={"a": ["x", "y"]}))
    return made


def contents(store: FeatureStore) -> dict[str, bytes]:
    assert isinstance(store.objects, LocalObjects)
    return {key: store.objects.path(key).read_bytes() for key in store.objects.list()}


def again(store: FeatureStore) -> FeatureStore:
    return FeatureStore.open(store.url, "a")


def make_what_is_missing(store: FeatureStore) -> None:
    for unit, taps in store.pending(GROUP, TAPS, UNITS).items():
        write_unit(store, unit, [spec for spec in SPECS if spec.tap in taps])
    put_partial(store, RESULT, 0, {"hsic": np.eye(2)})
    save_result(store, RESULT, xarray.Dataset({"cka": (("a", "b"), np.eye(2))}, coords={"a": ["x", "y"]}))


def test_nothing_is_forgotten_of_a_sound_store(store: FeatureStore) -> None:
    before = contents(store)
    report = repair(store)
    assert report.ok
    assert report.forgotten == report.removed == ()
    assert contents(store) == before


@pytest.mark.parametrize("lost", [False, True])
def test_any_object_that_can_be_made_again_is(store: FeatureStore, lost: bool) -> None:
    sound = contents(store)
    made_by_work = [  # the sample table is part of the split, which nothing makes again
        key
        for key in sound
        if CHUNK.search(key) or "/commits/" in key or key.startswith(("ledger/partials/", "ledger/results/"))
    ]
    assert len(made_by_work) > 8
    for key in made_by_work:
        path = Path(store.url) / key
        if lost:
            path.unlink()
        else:
            path.write_bytes(flip_bit(sound[key], 8 * len(sound[key]) // 2))
        plan = repair(FeatureStore.open(store.url), dry_run=True)
        report = repair(again(store))
        assert report.ok, (key, report.left)
        assert (plan.forgotten, plan.removed) == (report.forgotten, report.removed)
        make_what_is_missing(again(store))
        assert verify(again(store), deep=True).ok
        assert contents(store) == sound, key


def test_other_units_are_left_alone(store: FeatureStore) -> None:
    chunk = next(key for key in contents(store) if key.startswith(GROUP.path) and CHUNK.search(key))
    (Path(store.url) / chunk).unlink()
    report = repair(again(store))
    (record,) = report.forgotten
    assert "/commits/" in record
    assert report.removed == (chunk,)
    assert len(again(store).commits(GROUP)) == len(UNITS) - 1
    assert get_partial(again(store), RESULT, 0) is not None


def test_structure_is_not_forgotten_but_named(store: FeatureStore) -> None:
    node = f"{GROUP.path}/{TAPS[0]}/zarr.json"
    (Path(store.url) / node).write_bytes(b"{}")
    before = contents(store)
    report = repair(again(store))
    assert not report.ok
    assert node in {problem.key for problem in report.left}
    assert contents(store) == before


def test_a_record_that_lacks_fields_is_forgotten(store: FeatureStore) -> None:
    key = next(key for key in contents(store) if "/commits/" in key)
    (Path(store.url) / key).write_bytes(seal({"unit": 3}))
    assert repair(again(store)).forgotten == (key,)
