"""The feature store: what is written comes back, what is not committed does not exist, what differs is refused."""

from __future__ import annotations

import pickle
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr
from numpy.typing import NDArray

from cvbench.errors import (
    DataUnavailableError,
    FingerprintMismatchError,
    IntegrityError,
    UnknownNameError,
    UsageError,
)
from cvbench.storage.care.verify import gc, verify
from cvbench.storage.features import ArraySpec, BadSample, FeatureLayer, FeatureStore, GroupKey, Unit
from cvbench.storage.features import awaited as awaiting
from cvbench.storage.features import split as splits
from cvbench.storage.features.codecs import quiet
from cvbench.storage.objects.base import Objects
from cvbench.storage.objects.open import open_objects
from tests.storage.small_store import (
    BATCH,
    FINGERPRINT,
    GROUP,
    MAP_SPEC,
    MAPS,
    SPECS,
    TAPS,
    UNITS,
    N,
    contents,
    declare,
    extract,
    features,
    split_info,
    write_unit,
)


@pytest.fixture(params=["local", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    return open_objects(tmp_path / "s.zarr" if request.param == "local" else f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def store(objects: Objects) -> FeatureStore:
    return FeatureStore.open(objects, "a")


# Writing and reading back


def test_what_is_written_comes_back(store: FeatureStore) -> None:
    assert extract(store) == 3
    for spec in SPECS:
        layer = FeatureStore.open(store.url).layer(GROUP, spec.tap)
        expected = features(spec)
        assert layer.dims == ("sample", "channel")
        np.testing.assert_array_equal(layer.numpy(), expected)
        np.testing.assert_array_equal(layer.read(3, 19), expected[3:19])
        np.testing.assert_array_equal(layer.read_unit(UNITS[-1]), expected[16:])
        np.testing.assert_array_equal(np.asarray(layer.dask()), expected)
        assert layer.read(5, 5).shape == (0, *spec.shape)
        assert layer.rows.tolist() == list(range(N))


@pytest.mark.parametrize("codec", ["none", "zstd", "blosc-lz4"])
def test_maps_and_codecs(store: FeatureStore, codec: str) -> None:
    extract(store, [MAP_SPEC], MAPS, codec=codec)
    layer = store.layer(MAPS, "blocks.0")
    np.testing.assert_array_equal(layer.numpy(), features(MAP_SPEC))
    assert layer.dims == ("sample", "row", "column", "channel")
    assert [info.codec for info in store.tree()] == [codec]


def test_many_chunks_per_unit(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvbench.storage.features.nodes.layout", lambda *_, **__: (2, None))
    extract(store, [MAP_SPEC], MAPS)
    layer = store.layer(MAPS, "blocks.0")
    assert len(layer.commit(UNITS[0]).taps["blocks.0"].objects) == 4
    for start in range(N):
        for stop in (start, start + 1, start + 5, N):
            if stop <= N:
                np.testing.assert_array_equal(layer.read(start, stop), features(MAP_SPEC)[start:stop])


def test_order_and_size_of_writes_do_not_matter(store: FeatureStore) -> None:
    declare(store)
    unit, rows = UNITS[1], features(SPECS[0])[8:16]
    with store.writer(GROUP, ["blocks.0"], unit) as writer:
        for offset, stop in ((7, 8), (0, 3), (3, 7)):
            reused = rows[offset:stop].copy()
            writer.write("blocks.0", offset, reused)
            reused[:] = 0  # the caller's buffer is its own again
        writer.commit()
    layer = store.layer(GROUP, "blocks.0")
    assert layer.units == [unit]
    np.testing.assert_array_equal(layer.read_unit(unit), rows)


def test_plain_zarr_and_xarray_read_it(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "s", "a")
    extract(store)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # in particular: no unrecognised objects in the hierarchy
        with quiet():
            root = zarr.open_group(str(tmp_path / "s"), mode="r")
            members = dict(root.members(max_depth=None))
    array: Any = members[f"{GROUP.path}/blocks.1"]
    np.testing.assert_array_equal(array[:], features(SPECS[1]))
    assert array.metadata.dimension_names[0] == "sample"
    assert "digits/all/samples/bbox_x" in members
    with quiet():
        features_of = xarray.open_zarr(tmp_path / "s", group=GROUP.path, consolidated=False)
        samples = xarray.open_zarr(tmp_path / "s", group="digits/all/samples", consolidated=False).load()
    np.testing.assert_array_equal(features_of["blocks.0"].values, features(SPECS[0]))  # beside a tap of other width
    assert samples["id"].values.tolist() == split_info().ids.tolist()


def test_rows_beyond_the_end_and_absent_units_are_nan_for_plain_zarr(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "s", "a")
    declare(store)
    write_unit(store, UNITS[0])
    with quiet():
        array: Any = zarr.open_group(str(tmp_path / "s"), mode="r")[f"{GROUP.path}/blocks.0"]
    assert np.isnan(array[8:]).all()
    assert np.isfinite(array[:8]).all()


def test_xarray_has_names_and_coordinates(store: FeatureStore) -> None:
    extract(store)
    labelled = store.layer(GROUP, "blocks.1").xarray()
    assert labelled.dims == ("sample", "channel")
    assert labelled.name == "blocks.1"
    assert set(labelled.coords) == {"sample", "id", "label", "bbox_x", "pose"}
    left = labelled[labelled["pose"].values == "left"]
    np.testing.assert_array_equal(left.values, features(SPECS[1])[::2])


def test_samples_come_back_in_store_order(store: FeatureStore) -> None:
    info = split_info()
    store.begin(info)
    table = FeatureStore.open(store.objects).samples("digits", "all")
    assert list(table) == ["id", "label", "bbox_x", "pose"]
    np.testing.assert_array_equal(table["id"], info.ids)
    np.testing.assert_array_equal(table["label"], info.labels)
    np.testing.assert_array_equal(table["pose"], info.factors["pose"])
    assert store.split("digits", "all").classes == ("zéro", "one")


def test_stores_and_layers_travel(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "s", "a")
    extract(store)
    layer = pickle.loads(pickle.dumps(store.layer(GROUP, "blocks.0")))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(layer.numpy(), features(SPECS[0]))


# Only what is committed


def test_uncommitted_rows_cannot_be_read(store: FeatureStore) -> None:
    declare(store)
    write_unit(store, UNITS[1])
    with store.writer(GROUP, TAPS, UNITS[0]) as writer:  # whole objects are there, but no record
        for spec in SPECS:
            writer.write(spec.tap, 0, features(spec)[:8])
    layer = store.layer(GROUP, "blocks.0")
    assert layer.units == [UNITS[1]]
    for start, stop in ((0, 1), (0, 22), (7, 9), (15, 17), (-1, 3), (20, 23)):
        with pytest.raises(DataUnavailableError, match="not all extracted") as error:
            layer.read(start, stop)
        assert "cvbench extract" in str(error.value)
    np.testing.assert_array_equal(layer.numpy(), features(SPECS[0])[8:16])
    np.testing.assert_array_equal(np.asarray(layer.dask()), features(SPECS[0])[8:16])
    assert store.status("digits", "all", GROUP.backbone, "pooled", "blocks.0").tolist() == [0] * 8 + [1] * 8 + [0] * 6


def test_an_empty_layer_reads_as_no_rows(store: FeatureStore) -> None:
    declare(store)
    layer = store.layer(GROUP, "blocks.0")
    assert (layer.units, layer.numpy().shape, layer.dask().shape) == ([], (0, 4), (0, 4))


def test_missing_and_pending_count_taps(store: FeatureStore) -> None:
    declare(store)
    write_unit(store, UNITS[0])
    write_unit(store, UNITS[1], SPECS[:1])
    assert store.missing(GROUP, TAPS, UNITS[0]) == []
    assert store.missing(GROUP, TAPS, UNITS[1]) == ["blocks.1"]
    assert store.pending(GROUP, TAPS, UNITS) == {UNITS[1]: ["blocks.1"], UNITS[2]: ["blocks.0", "blocks.1"]}
    assert store.pending(GROUP, ["blocks.0"], UNITS) == {UNITS[2]: ["blocks.0"]}


def test_the_same_run_again_writes_nothing(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    extract(store)
    again = FeatureStore.open(store.url, "a")
    monkeypatch.setattr(type(again.objects), "create", lambda *_: pytest.fail("a write"))
    assert extract(again) == 0


def test_more_taps_and_more_units_join(store: FeatureStore) -> None:
    declare(store, SPECS[:1])
    write_unit(store, UNITS[0], SPECS[:1])
    assert extract(store) == 3
    for spec in SPECS:
        np.testing.assert_array_equal(store.layer(GROUP, spec.tap).numpy(), features(spec))
    assert store.taps(GROUP) == list(TAPS)


def test_tree(store: FeatureStore) -> None:
    declare(store)
    write_unit(store, UNITS[2])
    first = store.tree()[0]
    assert (first.group, first.tap, first.shape, first.dtype) == (GROUP, "blocks.0", (N, 4), "float16")
    assert (first.committed, first.bytes) == (6, 8 * 4 * 2 + 4)
    assert store.groups() == [GROUP]
    assert store.splits() == [("digits", "all")]


# Bad samples and non-finite values


def bad_sample(row: int) -> BadSample:
    return BadSample(row, f"test/{row:05d}", "truncated", "image file is truncated")


def test_bad_samples_are_nan_recorded_and_left_out(store: FeatureStore) -> None:
    declare(store)
    commit = write_unit(store, UNITS[1], bad=[bad_sample(9), bad_sample(15)])
    assert (commit.ok, [b.row for b in commit.bad]) == (6, [9, 15])
    layer = store.layer(GROUP, "blocks.0")
    keep = [8, 10, 11, 12, 13, 14]
    assert layer.rows.tolist() == keep
    assert np.isnan(layer.read(8, 16)[[1, 7]]).all()
    for values in (layer.numpy(), np.asarray(layer.dask()), layer.xarray().values):
        np.testing.assert_array_equal(values, features(SPECS[0])[keep])
    status = store.status("digits", "all", GROUP.backbone, "pooled", "blocks.0")
    assert status[8:16].tolist() == [1, 2, 1, 1, 1, 1, 1, 2]
    assert all(record.nonfinite == 0 for record in commit.taps.values())


def test_nonfinite_values_are_counted_over_readable_samples(store: FeatureStore) -> None:
    declare(store)
    rows = features(SPECS[0])[:8]
    rows[2, 1], rows[3, :2], rows[5] = np.inf, np.nan, np.nan
    with store.writer(GROUP, ["blocks.0"], UNITS[0]) as writer:
        writer.write("blocks.0", 0, rows)
        record = writer.commit([bad_sample(5)]).taps["blocks.0"]
    finite = rows[np.isfinite(rows)]
    assert (record.nonfinite, record.min, record.max) == (3, finite.min(), finite.max())


def test_too_many_nonfinite_values_name_the_tap_and_leave_the_unit_uncommitted(store: FeatureStore) -> None:
    declare(store)
    with store.writer(GROUP, TAPS, UNITS[0]) as writer:
        writer.write("blocks.0", 0, features(SPECS[0])[:8])
        writer.write("blocks.1", 0, np.full((8, 6), np.inf, np.float16))
        with pytest.raises(IntegrityError, match=r"blocks\.1: 48 of 48 values are not finite"):
            writer.commit(nonfinite_budget=0.01)
    assert store.commits(GROUP) == []


def test_bad_samples_must_not_have_values(store: FeatureStore) -> None:
    declare(store)
    with store.writer(GROUP, ["blocks.0"], UNITS[0]) as writer:
        writer.write("blocks.0", 0, features(SPECS[0])[:8])
        with pytest.raises(IntegrityError, match="have values"):
            writer.commit([bad_sample(3)])
        with pytest.raises(IntegrityError, match="is not in unit 0"):
            writer.commit([bad_sample(8)])


# F24: a worker that writes nonsense


@pytest.mark.parametrize(
    ("offset", "rows", "message"),
    [
        (0, np.zeros((8, 5), np.float16), "expected rows of shape"),
        (0, np.zeros((8, 4, 1), np.float16), "expected rows of shape"),
        (0, np.zeros(4, np.float16), "expected rows of shape"),
        (0, np.zeros((8, 4), np.float32), "expected rows of float16"),
        (1, np.zeros((8, 4), np.float16), "outside the unit"),
        (-1, np.zeros((2, 4), np.float16), "outside the unit"),
        (2, np.zeros((3, 4), np.float16), "written before"),
    ],
)
def test_rows_that_do_not_fit_are_refused(store: FeatureStore, offset: int, rows: Any, message: str) -> None:
    declare(store)
    with store.writer(GROUP, ["blocks.0"], UNITS[0]) as writer:
        writer.write("blocks.0", 4, np.zeros((1, 4), np.float16))
        with pytest.raises(IntegrityError, match=message):
            writer.write("blocks.0", offset, rows)
        with pytest.raises(IntegrityError, match="not among those"):
            writer.write("blocks.7", 0, rows)


def test_a_unit_with_missing_rows_cannot_be_committed(store: FeatureStore) -> None:
    declare(store)
    with store.writer(GROUP, TAPS, UNITS[0]) as writer:
        writer.write("blocks.0", 0, features(SPECS[0])[:8])
        writer.write("blocks.1", 0, features(SPECS[1])[:BATCH])
        with pytest.raises(IntegrityError, match="4 of 8 rows were never written") as error:
            writer.commit()
    assert "blocks.1" in str(error.value)
    assert store.commits(GROUP) == []


def test_units_are_those_of_the_split(store: FeatureStore) -> None:
    declare(store)
    for wrong in (Unit(0, 0, 7), Unit(3, 24, 32), Unit(1, 0, 8), Unit(2, 16, 24)):
        with pytest.raises(UsageError, match="no unit of"):
            store.writer(GROUP, TAPS, wrong)


# F16, F4: two writers


def test_a_late_writer_gets_the_first_record(store: FeatureStore) -> None:
    declare(store)
    with store.writer(GROUP, TAPS, UNITS[0]) as late:
        late.write("blocks.0", 0, features(SPECS[0])[:8])
        first = write_unit(FeatureStore.open(store.url, "a"), UNITS[0])
        before = contents(store.objects)
        late.write("blocks.1", 0, features(SPECS[1])[:8])
        assert late.commit(provenance={"cvbench": "later"}) == first
    assert contents(store.objects) == before


def test_a_writer_that_disagrees_loses(store: FeatureStore) -> None:
    declare(store)
    write_unit(store, UNITS[0], bad=[bad_sample(1)])
    with pytest.raises(IntegrityError, match="another writer committed this unit with other results") as error:
        write_unit(store, UNITS[0])
    assert "the first record stands" in str(error.value)


def left_behind(store: FeatureStore, rows: NDArray[Any]) -> None:
    """An attempt at the first unit that ended before its commit."""
    declare(store)
    with store.writer(GROUP, ["blocks.0"], UNITS[0]) as writer:
        writer.write("blocks.0", 0, rows)


def test_equal_bytes_of_an_uncommitted_attempt_are_adopted(store: FeatureStore) -> None:
    left_behind(store, features(SPECS[0])[:8])
    before = contents(store.objects)
    write_unit(store, UNITS[0], SPECS[:1])
    assert contents(store.objects).items() >= before.items()


def other_values() -> dict[str, NDArray[Any]]:
    right = features(SPECS[0])[:8]
    changed = {name: right.copy() for name in ("one value", "not finite", "unreadable")}
    changed["one value"][3, 1] = np.nextafter(right[3, 1], np.float16(np.inf))
    changed["not finite"][0, 0] = np.inf
    changed["unreadable"][2] = np.nan
    return {"shifted": right + np.float16(100), "rows swapped": right[[1, 0, *range(2, 8)]], **changed}


@pytest.mark.parametrize("case", other_values(), ids=str)
def test_other_values_of_an_uncommitted_attempt_are_never_sealed(store: FeatureStore, case: str) -> None:
    left_behind(store, other_values()[case])
    with pytest.raises(IntegrityError, match="not what this unit computed") as error:
        write_unit(store, UNITS[0], SPECS[:1])
    assert store.commits(GROUP) == []
    assert (error.value.fix or "").startswith("cvbench store gc --orphans --store ")
    gc(store, orphans=True)  # what the message says
    write_unit(store, UNITS[0], SPECS[:1])
    np.testing.assert_array_equal(store.layer(GROUP, "blocks.0").read(0, 8), features(SPECS[0])[:8])


def test_metadata_that_no_record_names_is_adopted_only_if_it_is_the_same(store: FeatureStore) -> None:
    declare(store)
    node = f"{GROUP.path}/blocks.0/zarr.json"
    before = contents(store.objects)
    right = store.objects.get(node) or b""
    for key, data in ((GROUP.array("blocks.0"), None), (node, right.replace(b'"sample"', b'"simple"'))):
        store.objects.delete(key)
        if data is not None:
            store.objects.create(key, data)
    with pytest.raises(IntegrityError, match=r"in another form|not what this run declares"):
        declare(FeatureStore.open(store.objects, "a"))
    gc(store, orphans=True)
    declare(FeatureStore.open(store.objects, "a"))
    assert contents(store.objects) == before


# I9, F21: never mix


def mismatches() -> dict[str, tuple[dict[str, Any], str]]:
    return {
        "weights": ({"weights": "abd"}, "weights: stored 'abc', now 'abd'"),
        "nested": ({"preprocess": {"mean": [0.5, 0.5, 0.4], "size": 32}}, "preprocess.mean: stored [0.5, 0.5, 0.5]"),
        "precision": ({"precision": "bf16"}, "precision: stored 'fp32', now 'bf16'"),
        "new field": ({"keep_bits": 5}, "keep_bits: stored nothing, now 5"),
    }


@pytest.mark.parametrize("case", mismatches(), ids=str)
def test_another_fingerprint_is_refused_before_any_write(store: FeatureStore, case: str) -> None:
    declare(store, SPECS[:1])
    before = contents(store.objects)
    change, message = mismatches()[case]
    with pytest.raises(FingerprintMismatchError) as error:
        store.declare(GROUP, FINGERPRINT | change, SPECS)
    assert message in str(error.value)
    assert contents(store.objects) == before


def test_every_differing_field_is_named(store: FeatureStore) -> None:
    declare(store)
    with pytest.raises(FingerprintMismatchError) as error:
        store.declare(GROUP, {"weights": "x"}, SPECS, codec="zstd")
    for name in ("weights", "precision", "preprocess.mean", "preprocess.size", "codec"):
        assert name in error.value.what


def test_an_array_of_another_form_is_refused(store: FeatureStore) -> None:
    declare(store)
    before = contents(store.objects)
    with pytest.raises(FingerprintMismatchError, match="in another form"):
        store.declare(GROUP, FINGERPRINT, [ArraySpec("new", (3,), "float16", ("sample", "channel")), wider()])
    assert contents(store.objects) == before


def wider() -> ArraySpec:
    return ArraySpec("blocks.0", (5,), "float16", ("sample", "channel"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("dataset_digest", "d2"), ("seed", 1), ("ids", np.array([f"x{i}" for i in range(N)]))],
)
def test_another_dataset_or_order_is_refused(store: FeatureStore, field: str, value: Any) -> None:
    store.begin(split_info())
    before = contents(store.objects)
    with pytest.raises(FingerprintMismatchError, match="order_digest" if field == "ids" else field):
        store.begin(split_info(**{field: value}))
    assert contents(store.objects) == before


def test_batch_and_unit_are_frozen_by_the_first_run(store: FeatureStore) -> None:
    store.begin(split_info())
    frozen = store.begin(split_info(batch=16, unit=32, classes=()))
    assert (frozen.batch, frozen.unit, frozen.classes) == (BATCH, 8, ("zéro", "one"))


@pytest.mark.parametrize(
    "changes",
    [
        {"unit": 7},
        {"labels": np.zeros(N - 1)},
        {"ids": np.array(["a"] * N)},
        {"factors": {"f": np.zeros((N, 2))}},
        {"factors": {"id": np.zeros(N)}},
        {"factors": {"sample": np.zeros(N)}},
        {"factors": {"../up": np.zeros(N)}},
        {"factors": {"c": np.zeros(N, complex)}},
    ],
    ids=str,
)
def test_a_split_that_makes_no_sense_is_refused(store: FeatureStore, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        store.begin(split_info(**changes))


# What can be opened


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match="no feature store") as error:
        FeatureStore.open(tmp_path / "none")
    assert "cvbench extract" in str(error.value)
    assert not (tmp_path / "none").exists()


def test_a_foreign_store_is_refused(tmp_path: Path) -> None:
    zarr.create_group(str(tmp_path / "foreign"))
    for mode in ("r", "a"):
        with pytest.raises(IntegrityError, match="not one of cvbench"):
            FeatureStore.open(tmp_path / "foreign", mode)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(IntegrityError, match="not empty"):
        FeatureStore.open(tmp_path / "full", "a")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("root", ['{"attributes": {"cvbench": {"format": 99}}}', "[]", "{", '{"attributes": []}'])
def test_newer_or_broken_roots_are_refused(tmp_path: Path, root: str) -> None:
    (tmp_path / "zarr.json").write_text(root)
    with pytest.raises(IntegrityError):
        FeatureStore.open(tmp_path, "a")


def test_reading_cannot_write(store: FeatureStore) -> None:
    extract(store)
    reader = FeatureStore.open(store.url)
    for attempt in (
        lambda: reader.begin(split_info()),
        lambda: reader.declare(GROUP, FINGERPRINT, SPECS),
        lambda: reader.writer(GROUP, TAPS, UNITS[0]),
    ):
        with pytest.raises(UsageError, match="for reading"):
            attempt()


def test_what_is_not_there_says_what_extracts_it(store: FeatureStore) -> None:
    declare(store)
    with pytest.raises(DataUnavailableError) as error:
        store.layer(GROUP, "blocks.0").read(0, 4)
    made = "--dataset digits --split all --backbone test_vit --image-size 32 --view pooled"
    assert error.value.fix == f"cvbench extract {made} --store {store.url}"
    with pytest.raises(DataUnavailableError) as error:
        store.samples("folder-my-birds", "all")
    assert error.value.fix == f"cvbench extract --dataset folder:PATH --store {store.url}"


def test_unknown_names(store: FeatureStore) -> None:
    extract(store)
    with pytest.raises(UnknownNameError) as error:
        store.layer(GROUP, "blocks.2")
    assert "blocks.1" in error.value.did_you_mean
    with pytest.raises(DataUnavailableError, match="holds nothing of"):
        store.layer(GroupKey("digits", "all", "convnext", "pooled"), "blocks.0")
    with pytest.raises(DataUnavailableError, match="holds nothing of cub200/test"):
        store.samples("cub200", "test")


@pytest.mark.parametrize("name", ["", "..", "a/b", "../../x", "a\0b", "samples", "ledger", "results", ".hidden", "é"])
def test_names_that_could_leave_the_store_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        GroupKey(name, "all", "vit", "pooled")
    with pytest.raises(UsageError):
        GroupKey("digits", "all", name, "pooled")


# Damage is seen by readers

READS: list[Callable[[FeatureLayer], object]] = [
    lambda layer: layer.read(8, 16),
    lambda layer: layer.read(9, 10),
    lambda layer: layer.numpy(),
    lambda layer: np.asarray(layer.dask()),
]


@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("damage", ["flip", "halve", "empty", "delete"])
def test_readers_name_the_key_and_unit_of_damage(store: FeatureStore, codec: str, damage: str) -> None:
    extract(store, codec=codec)
    key = f"{GROUP.path}/blocks.0/c.1.0"
    data = store.objects.get(key) or b""
    store.objects.delete(key)
    changed = {"flip": data[:9] + bytes([data[9] ^ 4]) + data[10:], "halve": data[: len(data) // 2], "empty": b""}
    if damage in changed:
        store.objects.create(key, changed[damage])
    layer = FeatureStore.open(store.url).layer(GROUP, "blocks.0")
    np.testing.assert_array_equal(layer.read(0, 8), features(SPECS[0])[:8])
    for read in READS:
        with pytest.raises(IntegrityError) as error:
            read(layer)
        assert key in str(error.value)
        assert "unit 1" in str(error.value)


# I2, F16: two runs that begin a split


def test_of_two_runs_with_other_seeds_the_later_is_told_of_the_seed(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes between the sample table of the first and its record, and waits for that."""
    waits, right = threading.Event(), awaiting.awaited
    put = type(store.ledger).put

    def put_late(ledger: Any, key: str, record: Any, **named: Any) -> bool:
        if record.get("seed") == 0:
            assert waits.wait(60)
        return put(ledger, key, record, **named)

    def awaited(look: Any) -> Any:
        assert look() is None
        waits.set()
        return right(look)

    monkeypatch.setattr(type(store.ledger), "put", put_late)
    monkeypatch.setattr(splits, "awaited", awaited)
    monkeypatch.setattr("cvbench.storage.features.awaited.PATIENCE", 60.0)
    first = threading.Thread(target=store.begin, args=(split_info(),))
    first.start()
    while store.objects.get("digits/all/samples/id/zarr.json") is None:
        time.sleep(0.01)
    turned = split_info(seed=1, ids=split_info().ids[::-1].copy())
    with pytest.raises(FingerprintMismatchError, match="seed"):
        FeatureStore.open(store.objects, "a").begin(turned)
    first.join(60)
    assert store.split("digits", "all").seed == 0
    assert verify(store, deep=True).ok


def test_a_sample_table_that_a_stopped_run_left_is_said_as_such(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvbench.storage.features.awaited.PATIENCE", 0.0)
    store.make()
    splits.write_samples(store.objects, "digits/all/samples", split_info().columns())
    turned = split_info(seed=1, ids=split_info().ids[::-1].copy())
    with pytest.raises(IntegrityError, match="no record names yet") as caught:
        store.begin(turned)
    assert caught.value.why == "another run is under way, or one was stopped"
    assert "cvbench store gc --orphans" in (caught.value.fix or "")
    gc(store, orphans=True)  # what the message says
    assert store.begin(turned).seed == 1
