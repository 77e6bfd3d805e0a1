"""What a command asks of a store grows with its units, and with nothing faster."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import FrameType

import numpy as np
import pytest

from cvbench.storage.features import FeatureStore
from cvbench.storage.features.units import plan_units
from tests.storage.objects.faulty import FaultyObjects
from tests.storage.small_store import FINGERPRINT, GROUP, SPECS, TAPS, UNIT, features, split_info, write_unit


def store_of(units: int) -> FaultyObjects:
    """A store of so many units of both taps; `features` repeat, so any unit may be written from its own rows."""
    objects = FaultyObjects()
    n = units * UNIT
    store = FeatureStore.open(objects, "a")
    store.begin(split_info(n))
    store.declare(GROUP, FINGERPRINT, SPECS)
    rows = {spec.tap: features(spec, n) for spec in SPECS}
    for unit in plan_units(n, UNIT):
        with store.writer(GROUP, TAPS, unit) as writer:
            for tap, values in rows.items():
                writer.write(tap, 0, values[unit.start : unit.stop])
            writer.commit()
    return objects


STORES = {units: store_of(units) for units in (8, 16, 32)}


def calls(units: int, use: Callable[[FeatureStore], object]) -> int:
    """Store calls of one use of a store that was just opened."""
    objects = STORES[units]
    store = FeatureStore.open(objects)
    objects.fail(0, "before")
    use(store)
    return objects.calls


def read_all(store: FeatureStore) -> None:
    for tap in TAPS:
        store.layer(GROUP, tap).numpy()


def all_units(store: FeatureStore) -> list[object]:
    return [*store.pending(GROUP, TAPS, plan_units(store.split("digits", "all").n, UNIT))]


USES: dict[str, tuple[Callable[[FeatureStore], object], int]] = {
    "info": (lambda store: store.tree(), 2),  # size and bytes of a record
    "nothing to do": (all_units, 0),  # the keys of the records say it all
    "each commit": (lambda store: [*store.each_commit(GROUP)], 2),
    "read all layers": (read_all, 2 + 2 * len(TAPS)),  # of each record and of each chunk, once
}


@pytest.mark.parametrize("use", USES)
def test_calls_are_linear_in_units(use: str) -> None:
    call, each = USES[use]
    counted = {units: calls(units, call) for units in STORES}
    assert counted[16] - counted[8] == 8 * each
    assert counted[32] - counted[16] == 16 * each


def steps(use: Callable[[], object]) -> int:
    """Calls of functions, Python's and C's, of one use."""
    counted = Counter[str]()

    def profile(frame: FrameType, event: str, _: object) -> None:
        counted[event] += 1

    sys.setprofile(profile)
    try:
        use()
    finally:
        sys.setprofile(None)
    return counted["call"] + counted["c_call"]


def test_a_writer_is_made_in_as_many_steps_in_any_store() -> None:
    """Not after a list of all units, which once cost more than what is written of one."""
    stores = {units: FeatureStore.open(STORES[units], "a") for units in STORES}
    for store in stores.values():  # what a store reads once, it has read
        store.writer(GROUP, TAPS, plan_units(8, UNIT)[0])
    counted = {
        units: steps(partial(store.writer, GROUP, TAPS, plan_units(units * UNIT, UNIT)[-1]))
        for units, store in stores.items()
    }
    assert len({*counted.values()}) == 1, counted


def test_a_listing_of_the_store_keeps_no_commit() -> None:
    store = FeatureStore.open(STORES[8])
    info = {layer.tap: (layer.committed, layer.nonfinite, layer.bad) for layer in store.tree()}
    assert info == dict.fromkeys(TAPS, (8 * UNIT, 0, 0))
    assert len([*store.each_commit(GROUP)]) == 8
    assert not store.ledger._commits
    assert [c.unit.index for c in store.commits(GROUP)] == list(range(8))
    assert len(store.ledger._commits) == 8


def test_a_layer_that_two_commits_cover_is_counted_once() -> None:
    """As after a lagging listing: another run has the same unit and tap in a record of its own."""
    objects = FaultyObjects()
    store = FeatureStore.open(objects, "a")
    store.begin(split_info())
    store.declare(GROUP, FINGERPRINT, SPECS)
    unit = plan_units(22, UNIT)[0]
    write_unit(store, unit)
    write_unit(store, unit, SPECS[:1])
    (first, second) = FeatureStore.open(objects).tree()
    assert (first.committed, second.committed) == (UNIT, UNIT)
    assert first.bytes == sum(o.size for o in store.commits(GROUP)[0].taps[TAPS[0]].objects.values())
    np.testing.assert_array_equal(store.layer(GROUP, TAPS[0]).numpy(), features(SPECS[0])[:UNIT])
