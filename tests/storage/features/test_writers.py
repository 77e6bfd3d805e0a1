"""Writers of a feature store: bad samples, rows that do not fit, and two writers of one unit or split."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.errors import FingerprintMismatchError, IntegrityError, UsageError
from cvbench.storage.care.verify import gc, verify
from cvbench.storage.features import BadSample, FeatureStore, Unit
from cvbench.storage.features import awaited as awaiting
from cvbench.storage.features import split as splits
from tests.storage.small_store import (
    BATCH,
    GROUP,
    SPECS,
    TAPS,
    UNITS,
    contents,
    declare,
    features,
    split_info,
    write_unit,
)

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
