"""`remove`: what was asked for goes, all else stays as it was; killed at any point the store can be read."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import xarray

from cvbench.errors import DataUnavailableError, UsageError
from cvbench.storage.care.remove import remove
from cvbench.storage.care.repair import repair
from cvbench.storage.care.verify import verify
from cvbench.storage.features import FeatureStore, GroupKey
from cvbench.storage.objects.local import LocalObjects
from cvbench.storage.results.outcomes import ResultKey, list_results, load_result, put_partial, save_result
from tests.storage.small_store import GROUP, MAP_SPEC, MAPS, SPECS, TAPS, contents, extract, features

OTHER = GroupKey("digits", "all", "test_convnext@32", "pooled")
RESULT = ResultKey("digits", "all", "cka", "0123abcd")
SECOND = ResultKey("digits", "all", "tsne", "4567abcd")


def fill(store: FeatureStore, groups: Sequence[GroupKey] = (GROUP, OTHER, MAPS)) -> None:
    """Features of three groups and two results."""
    for group in groups:
        extract(store, (MAP_SPEC,) if group == MAPS else SPECS, group)
    for key in (RESULT, SECOND):
        put_partial(store, key, 0, {"hsic": np.eye(2)})
        save_result(store, key, xarray.Dataset({"cka": (("a", "b"), np.eye(2))}, coords={"a": ["x", "y"]}))


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    made = FeatureStore.open(tmp_path / "s.zarr", "a")
    fill(made)
    return made


def again(store: FeatureStore, mode: str = "a") -> FeatureStore:
    return FeatureStore.open(store.url, mode)  # type: ignore[arg-type]


CASES = {
    "digits": set(),
    "digits/all": set(),
    "digits/all/test_vit@32": {OTHER.path},
    GROUP.path: {OTHER.path, MAPS.path},
    f"{MAPS.path}/{MAP_SPEC.tap}": {GROUP.path, OTHER.path},
}


@pytest.mark.parametrize("place", CASES)
def test_what_is_named_goes_and_the_rest_is_as_before(store: FeatureStore, place: str) -> None:
    before = contents(store.objects)
    planned = remove(again(store, "r"), [place], dry_run=True)
    assert contents(store.objects) == before
    report = remove(again(store), [place])
    left = again(store)
    assert (planned.layers, planned.results, planned.objects) == (report.layers, report.results, report.objects)
    assert {group.path for group in left.groups()} == CASES[place]
    after = contents(left.objects)
    assert all(before[key] == value for key, value in after.items())
    assert len(before) - len(after) == report.objects
    found = verify(left, deep=True)
    assert found.ok
    assert found.problems == ()  # no orphan either
    if CASES[place]:
        assert list_results(left) == [RESULT, SECOND]
    else:
        assert (list_results(left), left.splits(), report.splits) == ([], [], ("digits/all",))


@pytest.mark.parametrize("place", [*CASES, f"{GROUP.path}/{TAPS[0]}"])
def test_what_was_removed_is_made_again_as_it_was(store: FeatureStore, place: str) -> None:
    remove(again(store), [place])
    fill(again(store))
    for group in (GROUP, OTHER):
        for spec in SPECS:
            np.testing.assert_array_equal(again(store).layer(group, spec.tap).numpy(), features(spec))
    assert verify(again(store), deep=True).problems == ()


def test_a_layer_goes_out_of_the_commits_that_it_shares(store: FeatureStore) -> None:
    report = remove(again(store), [f"{GROUP.path}/{TAPS[0]}"])
    left = again(store)
    assert report.layers == (f"{GROUP.path}/{TAPS[0]}",)
    assert left.taps(GROUP) == [TAPS[1]]
    np.testing.assert_array_equal(left.layer(GROUP, TAPS[1]).numpy(), features(SPECS[1]))
    assert verify(left, deep=True).problems == ()


def test_one_result_goes_alone(store: FeatureStore) -> None:
    report = remove(again(store), [], [RESULT])
    assert report.results == (RESULT.path,)
    assert list_results(again(store)) == [SECOND]
    assert load_result(again(store), SECOND) is not None
    assert verify(again(store), deep=True).problems == ()
    assert not any(RESULT.digest in key for key in contents(again(store).objects) if "partials" not in key)


class Killed(BaseException):
    """The process ends here."""


class Mortal(LocalObjects):
    """Objects of a process that is killed before its n-th change."""

    left = 10**9

    def _step(self) -> None:
        type(self).left -= 1
        if type(self).left < 0:
            raise Killed

    def create(self, key: str, *parts: bytes | bytearray | memoryview) -> bool:
        self._step()
        return super().create(key, *parts)

    def delete(self, key: str) -> None:
        self._step()
        super().delete(key)


def read_all(store: FeatureStore) -> None:
    """Read what a store says that it has."""
    for layer in store.tree():
        values = store.layer(layer.group, layer.tap)
        for unit in values.units:
            values.read_unit(unit)
    for key in list_results(store):
        assert load_result(store, key) is not None


@pytest.mark.parametrize("place", ["digits/all", GROUP.path, f"{GROUP.path}/{TAPS[0]}"])
def test_killed_at_any_point_it_is_readable_and_is_finished_by_the_next_writer(tmp_path: Path, place: str) -> None:
    whole = FeatureStore.open(tmp_path / "whole.zarr", "a")
    fill(whole)
    shutil.copytree(whole.url, tmp_path / "full.zarr")
    full = contents(whole.objects)
    remove(again(whole), [place])
    end, step = contents(whole.objects), 0
    while True:
        store = FeatureStore.open(shutil.copytree(tmp_path / "full.zarr", tmp_path / f"{step}.zarr"), "r")
        mortal = FeatureStore.open(Mortal(Path(store.url)), "a")
        Mortal.left = step
        try:
            remove(mortal, [place])
        except Killed:
            Mortal.left = 10**9
        else:
            break
        read_all(FeatureStore.open(store.url, "r"))
        finished = FeatureStore.open(store.url, "a")
        read_all(finished)
        assert verify(finished, deep=True).ok
        if contents(finished.objects) != end:  # killed before it was written down: all is there, and it is asked again
            assert full.items() <= contents(finished.objects).items()
            remove(finished, [place])
        assert contents(FeatureStore.open(store.url, "r").objects) == end
        step += 1 if step < 4 else 9
    Mortal.left = 10**9
    assert step > 10


def test_a_repair_finishes_an_interrupted_removal(store: FeatureStore) -> None:
    mortal = FeatureStore.open(Mortal(Path(store.url)), "a")
    Mortal.left = 6
    with pytest.raises(Killed):
        remove(mortal, [GROUP.path])
    Mortal.left = 10**9
    assert repair(again(store)).ok
    assert {group.path for group in again(store).groups()} == {OTHER.path, MAPS.path}


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("digits/test", DataUnavailableError),
        ("cub200", DataUnavailableError),
        (f"{GROUP.path}/blocks.9", DataUnavailableError),
        ("../digits", UsageError),
        ("a/b/c/d/e/f", UsageError),
        ("ledger", UsageError),
        ("results", UsageError),
        ("", UsageError),
    ],
)
def test_what_is_not_there_is_refused_and_nothing_is_touched(
    store: FeatureStore, place: str, kind: type[Exception]
) -> None:
    before = contents(store.objects)
    with pytest.raises(kind):
        remove(again(store), [GROUP.path, place])
    assert contents(store.objects) == before


def test_files_of_others_stay(store: FeatureStore) -> None:
    note = Path(store.url) / GROUP.path / "notes.txt"
    note.write_text("mine")
    remove(again(store), ["digits"])
    assert note.read_text() == "mine"
