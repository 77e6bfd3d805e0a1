"""To read a store and keep something there: it opens as for reading, and makes nothing where no store is."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

from cvbench.errors import CvbenchError, DataUnavailableError, IntegrityError, ResourceError, UsageError
from cvbench.storage.features import FeatureStore
from cvbench.storage.features.journal import Journal, Step
from cvbench.storage.features.keys import JOURNAL
from cvbench.storage.features.root import Mode
from cvbench.storage.objects.base import Buffer
from cvbench.storage.results.outcomes import ResultKey, get_partial, put_partial
from tests.storage.objects.faulty import FaultyObjects
from tests.storage.small_store import GROUP, SPECS, UNITS, declare, extract, features, write_unit

PARTIAL = ResultKey("digits", "all", "cka", "0123abcd")


class LockedObjects(FaultyObjects):
    """Objects that can be read alone, once they are locked."""

    locked = False

    def create(self, key: str, *parts: Buffer) -> bool:
        if self.locked:
            raise ResourceError("the place cannot be written", where=key)
        return super().create(key, *parts)

    def delete(self, key: str) -> None:
        if self.locked:
            raise ResourceError("the place cannot be written", where=key)
        super().delete(key)


def stored() -> LockedObjects:
    objects = LockedObjects()
    extract(FeatureStore.open(objects, "a"))
    return objects


def test_nothing_is_made_where_no_store_is(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match="there is no feature store"):
        FeatureStore.open(tmp_path / "none.zarr", "r+")
    assert not list(tmp_path.iterdir())


def test_a_store_is_made_by_what_is_first_written_to_it(tmp_path: Path) -> None:
    for name in ("split", "partial"):
        store = FeatureStore.open(tmp_path / name, "a")
        assert store.groups() == []
        assert not (tmp_path / name).exists()
        if name == "split":
            declare(copy.deepcopy(store))  # as another process has it
        else:
            put_partial(store, PARTIAL, 0, {"hsic": np.eye(2)})
        assert FeatureStore.open(tmp_path / name).mode == "r"


def test_a_lost_root_is_said_as_to_a_reader() -> None:
    objects = stored()
    del objects.data["zarr.json"]
    before = dict(objects.data)
    for mode in ("r", "r+"):
        with pytest.raises(IntegrityError, match="the root node of the store is lost"):
            FeatureStore.open(objects, mode)
    assert objects.data == before
    assert FeatureStore.open(objects, "a").groups() == [GROUP]


def test_it_opens_without_a_right_to_write_and_fails_at_the_first_write() -> None:
    objects = stored()
    objects.locked = True
    store = FeatureStore.open(objects, "r+")
    np.testing.assert_array_equal(store.layer(GROUP, "blocks.0").numpy(), features(SPECS[0]))
    with pytest.raises(ResourceError, match="cannot be written"):
        put_partial(store, PARTIAL, 0, {"hsic": np.eye(2)})
    objects.locked = False
    assert put_partial(store, PARTIAL, 0, {"hsic": np.eye(2)})


def test_features_are_written_in_it_but_not_in_one_for_reading() -> None:
    objects = LockedObjects()
    declare(FeatureStore.open(objects, "a"))
    with pytest.raises(UsageError, match="opened for reading"):
        write_unit(FeatureStore.open(objects), UNITS[0])
    store = FeatureStore.open(objects, "r+")
    write_unit(store, UNITS[0])
    assert store.layer(GROUP, "blocks.0").units == [UNITS[0]]


def test_a_repair_that_was_interrupted_is_finished_where_that_can_be() -> None:
    objects = stored()
    put_partial(FeatureStore.open(objects, "a"), PARTIAL, 0, {"hsic": np.eye(2)})
    digest = objects.blake3(PARTIAL.partial(0))
    Journal((Step(PARTIAL.partial(0), digest),), (), 2).put(objects)
    objects.locked = True
    assert get_partial(FeatureStore.open(objects, "r+"), PARTIAL, 0) is not None
    assert JOURNAL in objects.data
    objects.locked = False
    assert get_partial(FeatureStore.open(objects, "r+"), PARTIAL, 0) is None
    assert JOURNAL not in objects.data


def test_one_listing_shows_groups_taps_and_commits() -> None:
    objects = stored()
    store = FeatureStore.open(objects)
    objects.calls = 0
    found = store.declared()
    assert objects.calls == 1
    assert list(found) == store.groups()
    assert list(found[GROUP].taps) == store.taps(GROUP)
    assert store.commits(GROUP, found[GROUP].commits) == store.commits(GROUP)
    assert len(found[GROUP].commits) == len(UNITS)


def test_who_asks_for_a_fingerprint_may_change_what_is_given() -> None:
    store = FeatureStore.open(stored())
    given = store.fingerprint(GROUP)
    given["fingerprint"].clear()
    assert store.fingerprint(GROUP)["fingerprint"]


@pytest.mark.parametrize("key", ["zarr.json", "c/0"])
@pytest.mark.parametrize(
    ("place", "other"),
    [
        ("bucket/r.zarr/digits", "bucket/r.zarr"),
        ("bucket/a.zarr/b.zarr/ledger/_runs/", "bucket/a.zarr/b.zarr"),
        ("bucket.zarr/digits", "bucket.zarr/digits.zarr"),
        ("bucket/r.zarr", "bucket/r.zarr.zarr"),
        ("bucket/birds", "bucket/birds.zarr"),
    ],
)
def test_no_store_in_a_store_is_offered(place: str, other: str, key: str) -> None:
    objects = FaultyObjects()
    objects.url = f"s3://{place}"
    objects.create(key, b"{}")
    modes: tuple[Mode, ...] = ("r", "a")
    for mode in modes:
        with pytest.raises(CvbenchError) as caught:
            FeatureStore.open(objects, mode)
        assert f" --store s3://{other} " in f" {caught.value.fix} ".replace(",", " ")


def test_no_store_is_made_in_a_store(tmp_path: Path) -> None:
    around = tmp_path / "s.zarr"
    FeatureStore.open(around, mode="a").make()
    for place in (around / "none", around / "digits" / "all"):
        with pytest.raises(IntegrityError, match="the place lies in a feature store") as caught:
            FeatureStore.open(place, mode="a")
        assert caught.value.why == f"the store {around} is around it"
        assert caught.value.fix == f"--store {around}, or another store of cvbench"
        assert not place.exists()
    FeatureStore.open(tmp_path / "beside.zarr", mode="a").make()
