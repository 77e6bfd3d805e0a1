"""Any order of work, faults, damage and care: readers never see a wrong number, nothing committed is lost without a
word, and repair with the same work ends with the bytes of a store that nothing disturbed (I1-I4, I7, I10-I12)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from cvbench.errors import CvbenchError, IntegrityError, ResourceError
from cvbench.storage.care.repair import open_damaged, repair
from cvbench.storage.care.verify import gc, verify
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import ResultKey, get_partial, list_partials, put_partial
from tests.storage.objects.faulty import Fault, FaultyObjects, Killed
from tests.storage.small_store import GROUP, SPECS, UNITS, contents, declare, extract, features, flip_bit, write_unit

RESULT = ResultKey("digits", "all", "cka", "0123abcd")
FAULTS: list[Fault] = ["before", "after", "kill before", "kill after"]


def measured(unit: int) -> dict[str, NDArray[np.float64]]:
    """The right partial of a unit."""
    return {"sum": np.full(3, float(unit) + 0.5)}


def all_work(objects: FaultyObjects) -> None:
    """What makes a whole store of whatever is there."""
    store = FeatureStore.open(objects, "a")
    extract(store)
    for unit in UNITS:
        put_partial(store, RESULT, unit.index, measured(unit.index))


def undisturbed() -> dict[str, str]:
    """Key -> digest of the store that nothing disturbed."""
    objects = FaultyObjects()
    all_work(objects)
    return contents(objects)


EXPECTED = undisturbed()


class CareMachine(RuleBasedStateMachine):
    """Work and care in any order, over objects that fail, lag and rot."""

    @initialize()
    def start(self) -> None:
        self.objects = FaultyObjects()
        self.damaged: set[str] = set()
        self.sound: dict[str, bytes] = {}
        declare(FeatureStore.open(self.objects, "a"))
        self.measure(0)

    def keep(self) -> None:
        """Remember what is now there and sound."""
        self.sound |= {key: data for key, data in self.objects.data.items() if key not in self.damaged}

    @contextlib.contextmanager
    def failing(self, call: int, fault: Fault) -> Iterator[None]:
        """The n-th call from now fails, in whatever is run."""
        self.objects.fail(call, fault)
        with contextlib.suppress(CvbenchError, Killed):
            yield
        self.objects.fail(0, fault)

    @rule(unit=st.integers(0, 2))
    def write(self, unit: int) -> None:
        with contextlib.suppress(CvbenchError):  # damage that is met, or a split that a repair has forgotten
            write_unit(FeatureStore.open(self.objects, "a"), UNITS[unit])
        self.keep()

    @rule(unit=st.integers(0, 2))
    def measure(self, unit: int) -> None:
        with contextlib.suppress(IntegrityError):
            put_partial(FeatureStore.open(self.objects, "a"), RESULT, unit, measured(unit))
        self.keep()

    @rule(call=st.integers(1, 60), fault=st.sampled_from(FAULTS))
    def work_that_fails(self, call: int, fault: Fault) -> None:
        with self.failing(call, fault):
            all_work(self.objects)
        self.keep()

    @rule(call=st.integers(1, 40), fault=st.sampled_from(FAULTS))
    def repair_that_fails(self, call: int, fault: Fault) -> None:
        with self.failing(call, fault):
            repair(open_damaged(self.objects, writable=True))
        self.forget()

    @precondition(lambda self: len(self.damaged) < 3)
    @rule(data=st.data())
    def rot(self, data: st.DataObject) -> None:
        kinds = [[k for k in sorted(self.objects.data) if part in k] for part in ("partials/", "/c.", "commits/", "")]
        key = data.draw(st.sampled_from(data.draw(st.sampled_from([kind for kind in kinds if kind]))))
        if key not in self.damaged and self.objects.data[key]:
            bit = data.draw(st.integers(0, 8 * len(self.objects.data[key]) - 1))
            self.objects.data[key] = flip_bit(self.objects.data[key], bit)
            self.damaged.add(key)

    @rule()
    def lag(self) -> None:
        """New records do not show in listings for a while; work and reading go on."""
        self.objects.hidden = {key for key in self.objects.data if "/commits/" in key}
        with contextlib.suppress(IntegrityError):
            FeatureStore.open(self.objects).pending(GROUP, [spec.tap for spec in SPECS], UNITS)
        self.objects.hidden = set()

    @rule()
    def collect(self) -> None:
        with contextlib.suppress(IntegrityError):  # while a record is damaged, orphans cannot be told
            gc(FeatureStore.open(self.objects, "a"), orphans=True)
        self.forget()

    @rule()
    def mend(self) -> None:
        assert repair(open_damaged(self.objects, writable=True)).ok
        assert not verify(open_damaged(self.objects), deep=True).problems or self.only_awaited()
        self.forget()

    def only_awaited(self) -> bool:
        """Whether all that verify still finds is missing and made by the same work, or left from a crash."""
        found = verify(open_damaged(self.objects), deep=True).problems
        return all(problem.kind in ("missing", "orphan", "leftover") for problem in found)

    def forget(self) -> None:
        """What is gone or was made again is damaged no more."""
        self.damaged = {
            key for key in self.damaged if key in self.objects.data and self.objects.data[key] != self.sound.get(key)
        }

    @invariant()
    def no_wrong_number_is_read(self) -> None:
        with contextlib.suppress(CvbenchError):
            reader = FeatureStore.open(self.objects)
            for spec in SPECS:
                layer = reader.layer(GROUP, spec.tap)
                for unit in layer.units:
                    with contextlib.suppress(CvbenchError):
                        np.testing.assert_array_equal(layer.read_unit(unit), features(spec)[unit.start : unit.stop])
            for unit_index in list_partials(reader, RESULT):
                with contextlib.suppress(CvbenchError):
                    found = get_partial(reader, RESULT, unit_index)
                    assert found is not None
                    np.testing.assert_array_equal(found["sum"], measured(unit_index)["sum"])

    @invariant()
    def damage_is_named(self) -> None:
        if not self.damaged:
            return
        try:
            problems = verify(open_damaged(self.objects), deep=True).problems
        except (IntegrityError, ResourceError):
            assert "zarr.json" in self.damaged
            return
        named = {problem.key for problem in problems}
        assert self.damaged & self.objects.data.keys() <= named

    def teardown(self) -> None:
        if not hasattr(self, "objects"):
            return
        self.objects.fail(0, "before")
        repair(open_damaged(self.objects, writable=True))
        with contextlib.suppress(IntegrityError):
            gc(FeatureStore.open(self.objects, "a"), orphans=True)
        all_work(self.objects)
        gc(FeatureStore.open(self.objects, "a"), orphans=True)
        assert verify(FeatureStore.open(self.objects), deep=True).ok
        assert contents(self.objects) == EXPECTED


TestCareMachine = CareMachine.TestCase
TestCareMachine.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
