"""A repair that is killed anywhere ends as if it had run once, whoever comes next; and nothing wrong is ever sealed."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import xarray

from cvbench.errors import IntegrityError, ResourceError
from cvbench.storage.care.repair import open_damaged, repair
from cvbench.storage.care.verify import gc, verify
from cvbench.storage.features import FeatureStore
from cvbench.storage.features.journal import Journal
from cvbench.storage.features.keys import JOURNAL
from cvbench.storage.features.ledger import seal
from cvbench.storage.objects.base import Objects
from cvbench.storage.results.outcomes import ResultKey, put_partial, save_result
from tests.storage.objects.faulty import Fault, FaultyObjects, Killed
from tests.storage.small_store import GROUP, contents, extract, flip_bit

RESULT = ResultKey("digits", "all", "cka", "0123abcd")


def make(objects: Objects) -> None:
    """All of the tiny store that is not there."""
    store = FeatureStore.open(objects, "a")
    extract(store)
    put_partial(store, RESULT, 0, {"hsic": np.eye(2)})
    save_result(store, RESULT, xarray.Dataset({"cka": (("a", "b"), np.eye(2))}, coords={"a": ["x", "y"]}))


@cache
def sound() -> FaultyObjects:
    """The undisturbed store."""
    objects = FaultyObjects()
    make(objects)
    return objects


def damaged() -> FaultyObjects:
    """The store with two chunks swapped, one flipped, and a piece of structure of each sort harmed."""
    objects = FaultyObjects()
    objects.data.update(sound().data)
    data, a = objects.data, f"{GROUP.path}/blocks.0/c"
    data[f"{a}.0.0"], data[f"{a}.1.0"] = data[f"{a}.1.0"], data[f"{a}.0.0"]
    for key in (f"{GROUP.path}/blocks.1/c.2.0", "digits/zarr.json", GROUP.fingerprint, "digits/all/samples/id/c.0"):
        data[key] = flip_bit(data[key], 200)
    del data[f"{GROUP.path}/blocks.1/zarr.json"], data["zarr.json"]
    return objects


def mend(objects: Objects) -> None:
    """`store repair`."""
    report = repair(open_damaged(objects, writable=True))
    assert report.ok, report.left


def calls() -> int:
    """Store calls of a whole repair."""
    objects = damaged()
    mend(objects)
    return objects.calls


AGAIN: dict[str, Callable[[Objects], None]] = {"repair": mend, "extract": lambda _: None}


@pytest.mark.parametrize("then", AGAIN)
@pytest.mark.parametrize("fault", ["before", "after", "kill before", "kill after"])
def test_killed_at_any_call_it_ends_as_if_it_had_run_once(fault: Fault, then: str) -> None:
    expected, total = contents(sound()), calls()
    interrupted = 0
    for call in range(calls_until_the_journal() - 1, total + 1):  # before, nothing is changed
        objects = damaged()
        objects.fail(call, fault)
        with contextlib.suppress(Killed, ResourceError):
            mend(objects)
        objects.fail(0, fault)
        planned = JOURNAL in objects.data
        interrupted += planned
        if not planned and objects.data.keys() == damaged().data.keys():
            continue  # it had not begun
        AGAIN[then](objects)
        make(objects)
        assert contents(objects) == expected, call
    assert interrupted >= 8  # between the steps, not only before the first and after the last


def test_stopped_after_any_of_its_steps_in_any_order_the_next_extraction_ends_it() -> None:
    objects = begun()
    journal = Journal.get(objects)
    assert journal is not None
    steps = {step.key for step in journal.remove}
    a = f"{GROUP.path}/blocks.0/c"  # of the steps one of each sort, and both of the swapped chunks
    commit = next(key for key in steps if "/commits/000000" in key)
    chosen = [f"{a}.0.0", f"{a}.1.0", commit, GROUP.fingerprint, "ledger/digits/all/split.json"]
    assert steps >= {*chosen}
    expected = contents(sound())
    for done in itertools.chain.from_iterable(itertools.combinations(chosen, n) for n in range(len(chosen) + 1)):
        stopped = FaultyObjects()
        stopped.data.update({key: value for key, value in objects.data.items() if key not in done})
        stopped.data.update({key: sound().data[key] for key in journal.write[: len(done) % 3]})
        make(stopped)
        assert contents(stopped) == expected, done
        assert verify(FeatureStore.open(stopped), deep=True).ok


def calls_until_the_journal() -> int:
    objects = damaged()
    for call in range(1, calls() + 1):
        objects = damaged()
        objects.fail(call, "kill after")
        with contextlib.suppress(Killed):
            mend(objects)
        if JOURNAL in objects.data:
            return call
    raise AssertionError


def begun() -> FaultyObjects:
    """A store with a journal of which nothing was done."""
    objects = damaged()
    objects.fail(calls_until_the_journal(), "kill after")
    with contextlib.suppress(Killed):
        mend(objects)
    objects.fail(0, "before")
    return objects


def test_verify_says_that_a_repair_is_unfinished_and_a_dry_run_changes_nothing() -> None:
    objects = begun()
    before = dict(objects.data)
    assert JOURNAL in {p.key for p in verify(open_damaged(objects)).problems if p.kind == "unfinished"}
    planned = repair(open_damaged(objects), dry_run=True)
    assert objects.data == before
    done = repair(open_damaged(objects, writable=True))
    assert set(planned.forgotten) == set(done.forgotten)
    assert JOURNAL not in objects.data


def test_what_was_made_anew_in_the_meantime_stays() -> None:
    objects = begun()
    slow = Journal.get(objects)
    assert slow is not None
    make(objects)  # finishes the repair and makes everything again
    slow.carry_out(objects)  # a second process that had read the journal before
    made = {key: data for key, data in sound().data.items() if not key.startswith("ledger/")}
    assert objects.data.items() >= made.items()
    make(objects)
    assert contents(objects) == contents(sound())


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        seal({"format": 1}),
        seal({"format": 1, "remove": [["../victim", None]], "write": []}),
        seal({"format": 1, "remove": [["/etc/victim", "00"]], "write": []}),
        seal({"format": 1, "remove": [["notes.txt", None]], "write": []}),
        seal({"format": 1, "remove": [["zarr.json"]], "write": []}),
        seal({"format": 1, "remove": [["zarr.json", 7]], "write": []}),
        seal({"format": 1, "remove": [], "write": ["../zarr.json"]}),
        seal({"format": 1, "remove": [], "write": [3]}),
        seal({"format": 1, "remove": 3, "write": []}),
    ],
    ids=str,
)
def test_a_hostile_or_damaged_journal_is_refused_and_repair_plans_anew(content: bytes) -> None:
    objects = damaged()
    objects.data[JOURNAL] = content
    objects.data["notes.txt"] = b"mine"
    with pytest.raises(IntegrityError):
        FeatureStore.open(objects, "a")
    mend(objects)
    make(objects)
    assert objects.data.pop("notes.txt") == b"mine"
    assert contents(objects) == contents(sound())


def test_orphans_that_an_older_repair_left_are_mended() -> None:
    """Records forgotten, a flipped chunk still there: what a killed repair without a journal left."""
    objects = FaultyObjects()
    objects.data.update(sound().data)
    chunk = f"{GROUP.path}/blocks.0/c.1.0"
    objects.data[chunk] = flip_bit(objects.data[chunk], 100)
    for key in [key for key in objects.data if "/commits/" in key]:
        del objects.data[key]
    with pytest.raises(IntegrityError, match="not what this unit computed"):
        make(objects)
    mend(objects)
    make(objects)
    assert contents(objects) == contents(sound())


def test_swapped_orphans_are_refused_and_collected() -> None:
    """The same with two chunks swapped, each sound by its own checksum: only the unit can tell."""
    objects = FaultyObjects()
    objects.data.update(sound().data)
    a: Any = f"{GROUP.path}/blocks.0/c"
    objects.data[f"{a}.0.0"], objects.data[f"{a}.1.0"] = objects.data[f"{a}.1.0"], objects.data[f"{a}.0.0"]
    for key in [key for key in objects.data if "/commits/" in key]:
        del objects.data[key]
    mend(objects)
    with pytest.raises(IntegrityError, match="not what this unit computed"):
        make(objects)
    gc(FeatureStore.open(objects, "a"), orphans=True)
    make(objects)
    assert contents(objects) == contents(sound())
