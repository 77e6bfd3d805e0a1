"""`repair`: whatever was damaged is forgotten and made again by the same work; what is sound stays as it is."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.care.repair import open_damaged, repair
from cvbench.storage.care.verify import verify
from cvbench.storage.features import FeatureStore
from cvbench.storage.features.ledger import seal
from cvbench.storage.objects.local import LocalObjects
from cvbench.storage.results.outcomes import ResultKey, get_partial, put_partial, save_result
from tests.storage.small_store import GROUP, SPECS, TAPS, UNITS, extract, flip_bit

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
    extract(store)
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
        plan = repair(open_damaged(store.url), dry_run=True)
        report = repair(open_damaged(store.url, writable=True))
        assert report.ok, (key, report.left)
        assert (plan.forgotten, plan.removed) == (report.forgotten, report.removed)
        make_what_is_missing(again(store))
        assert verify(again(store), deep=True).ok
        assert contents(store) == sound, key


def test_other_units_are_left_alone(store: FeatureStore) -> None:
    chunk = next(key for key in contents(store) if key.startswith(GROUP.path) and CHUNK.search(key))
    (Path(store.url) / chunk).unlink()
    report = repair(open_damaged(store.url, writable=True))
    (record,) = report.forgotten
    assert "/commits/" in record
    assert report.removed == (chunk,)
    assert len(again(store).commits(GROUP)) == len(UNITS) - 1
    assert get_partial(again(store), RESULT, 0) is not None


STRUCTURE = {
    "array node": f"{GROUP.path}/{TAPS[0]}/zarr.json",
    "group node": "digits/all/test_vit@32/zarr.json",
    "ledger node": "ledger/zarr.json",
    "root node": "zarr.json",
    "array record": GROUP.array(TAPS[0]),
    "fingerprint": GROUP.fingerprint,
    "split record": "ledger/digits/all/split.json",
    "sample table, chunk": "digits/all/samples/pose/c.0",
    "sample table, node": "digits/all/samples/label/zarr.json",
}
CONSTANT = ("group node", "ledger node", "root node")


def harm(path: Path, way: str) -> None:
    """Damage the object at `path`."""
    data = path.read_bytes()
    path.unlink()
    if way == "flip":
        path.write_bytes(flip_bit(data, 8 * (len(data) // 2)))
    elif way == "truncate":
        path.write_bytes(data[: len(data) // 2])
    elif way == "folder":
        (path / "inside").mkdir(parents=True)
    elif way == "link":
        path.symlink_to(path.parent / "elsewhere")
    elif way == "pipe":
        os.mkfifo(path)


WAYS = ["flip", "truncate", "delete", "folder", "link", "pipe"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", STRUCTURE)
def test_structure_is_named_and_comes_back_byte_for_byte(store: FeatureStore, kind: str, way: str) -> None:
    key, before = STRUCTURE[kind], contents(store)
    harm(Path(store.url) / key, way)
    report = verify(open_damaged(store.url))
    deep = verify(open_damaged(store.url), deep=True)
    assert key in {problem.key for problem in deep.problems if problem.harmful}
    if not (kind == "sample table, chunk" and way == "flip"):  # the one that is large: `--deep` reads it
        assert key in {problem.key for problem in report.problems if problem.harmful}
    planned = repair(open_damaged(store.url), dry_run=True)
    done = repair(open_damaged(store.url, writable=True))
    assert done.ok, done.left
    assert (planned.forgotten, planned.removed, planned.written) == (done.forgotten, done.removed, done.written)
    assert done.written == ((key,) if kind in CONSTANT else ())
    if kind in CONSTANT:
        assert verify(again(store), deep=True).ok
        assert contents(store) == before
    make_what_is_missing(again(store))
    assert verify(again(store), deep=True).problems == ()
    assert contents(store) == before


def test_a_folder_in_the_place_of_any_object_is_named_and_mended(store: FeatureStore) -> None:
    before = contents(store)
    for key in before:
        harm(Path(store.url) / key, "folder")
        assert key in {problem.key for problem in verify(open_damaged(store.url)).problems if problem.harmful}
        done = repair(open_damaged(store.url, writable=True))
        assert done.ok, (key, done.left)
        make_what_is_missing(again(store))
        assert contents(store) == before, key


def test_a_folder_with_files_is_left_and_the_record_stays(store: FeatureStore) -> None:
    chunk = next(key for key in contents(store) if key.startswith(GROUP.path) and CHUNK.search(key))
    (Path(store.url) / chunk).unlink()
    (Path(store.url) / chunk).mkdir()
    (Path(store.url) / chunk / "thesis.tex").write_text("years of work")
    report = repair(open_damaged(store.url, writable=True))
    assert [problem.key for problem in report.left] == [chunk]
    assert report.forgotten == report.removed == ()
    assert (Path(store.url) / chunk / "thesis.tex").read_text() == "years of work"


def test_a_linked_folder_is_left_and_nothing_behind_it_is_touched(store: FeatureStore, tmp_path: Path) -> None:
    (Path(store.url) / "digits").rename(tmp_path / "elsewhere")
    (Path(store.url) / "digits").symlink_to(tmp_path / "elsewhere")
    behind = {path: path.read_bytes() for path in sorted((tmp_path / "elsewhere").rglob("*")) if path.is_file()}
    report = repair(open_damaged(store.url, writable=True))
    assert [problem.key for problem in report.left] == ["digits"]
    assert {path: path.read_bytes() for path in sorted((tmp_path / "elsewhere").rglob("*")) if path.is_file()} == behind


def test_without_a_root_node_it_is_a_store_whose_root_is_lost(store: FeatureStore) -> None:
    before = contents(store)
    (Path(store.url) / "zarr.json").unlink()
    with pytest.raises(IntegrityError, match="the root node of the store is lost") as error:
        FeatureStore.open(store.url)
    assert "store repair" in str(error.value)
    FeatureStore.open(store.url, "a")  # as an extraction does
    assert contents(store) == before
    root = Path(store.url) / "zarr.json"
    root.write_bytes(before["zarr.json"].replace(b'"format": 2', b'"format": 7'))
    with pytest.raises(IntegrityError, match="the root node of the store is damaged"):
        FeatureStore.open(store.url, "a")
    with pytest.raises(IntegrityError, match="the root node of the store is damaged"):
        FeatureStore.open(store.url)
    assert repair(open_damaged(store.url, writable=True)).written == ("zarr.json",)
    assert contents(store) == before
    root.write_bytes(before["zarr.json"].replace(b'"format": 2', b'"format": 1'))  # would be read with fewer checks
    assert "zarr.json" in {problem.key for problem in verify(open_damaged(store.url)).problems if problem.harmful}
    assert repair(open_damaged(store.url, writable=True)).written == ("zarr.json",)
    assert contents(store) == before


def test_nothing_is_made_where_there_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataUnavailableError):
            repair(open_damaged(place, writable=True))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_record_that_lacks_fields_is_forgotten(store: FeatureStore) -> None:
    key = next(key for key in contents(store) if "/commits/" in key)
    (Path(store.url) / key).write_bytes(seal({"unit": 3}))
    assert repair(open_damaged(store.url, writable=True)).forgotten == (key,)


def test_after_a_lost_fingerprint_only_the_same_extraction_goes_on(store: FeatureStore, tmp_path: Path) -> None:
    harm(Path(store.url) / GROUP.fingerprint, "flip")
    assert repair(open_damaged(store.url, writable=True)).forgotten == (GROUP.fingerprint,)
    with pytest.raises(IntegrityError):
        again(store).declare(GROUP, {"weights": "other"}, SPECS)
    extract(again(store))
    # Commits of format 1 do not say how they were made: they go with their fingerprint, nothing may join them.
    shutil.copytree(Path(__file__).parents[2] / "fixtures" / "format-1", tmp_path / "old")
    harm(tmp_path / "old" / GROUP.fingerprint, "flip")
    done = repair(open_damaged(tmp_path / "old", writable=True))
    assert {GROUP.fingerprint, *(key for key in done.forgotten if "/commits/" in key)} == {*done.forgotten}
    assert len(done.forgotten) == 1 + len(UNITS)
    extract(FeatureStore.open(tmp_path / "old", "a"))
    assert verify(open_damaged(tmp_path / "old"), deep=True).ok
