"""Records: canonical, self-checking, free of anything that varies."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvbench.errors import IntegrityError, UsageError
from cvbench.storage.features import BadSample, Commit, ObjectRecord, TapRecord, Unit
from cvbench.storage.features.fingerprint import canonical, differences
from cvbench.storage.features.keys import GroupKey, taps_digest
from cvbench.storage.features.ledger import Ledger, seal, unseal
from cvbench.storage.objects.memory import MemoryObjects
from tests.storage.small_store import flip_bit

COMMIT = Commit(
    Unit(3, 24, 32),
    {"b": TapRecord({"d/s/m/v/b/c.3": ObjectRecord(68, 64 * "f", 7)}, 0, -1.5, 2.0), "a": TapRecord({}, 2, None, None)},
    7,
    (BadSample(25, "x/é.png", "truncated", "…"),),
    {"torch": "2"},
    64 * "0",
)
PLACE = GroupKey("d", "s", "m", "v").commit(COMMIT.unit, COMMIT.taps)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(record=st.dictionaries(st.text(), JSON, max_size=4))
def test_records_come_back(record: dict[str, object]) -> None:
    assert unseal(seal(record), "k") == record
    assert seal(dict(reversed(record.items()))) == seal(record)


def test_every_bit_of_a_record_counts() -> None:
    data = seal(COMMIT.as_dict())
    for bit in range(8 * len(data)):
        with pytest.raises(IntegrityError) as error:
            unseal(flip_bit(data, bit), "some/key")
        assert error.value.where == "some/key"
    for cut in range(len(data)):
        with pytest.raises(IntegrityError):
            unseal(data[:cut], "some/key")


def test_commits_round_trip_through_json() -> None:
    back = Commit.from_dict(json.loads(json.dumps(COMMIT.as_dict())), PLACE)
    assert back == COMMIT
    assert back.same_work(replace(back, provenance={}))
    assert not back.same_work(replace(back, ok=8))
    older = COMMIT.in_format(1)
    assert Commit.from_dict(json.loads(json.dumps(older.as_dict())), PLACE) == older
    assert "fingerprint" not in older.as_dict()
    assert older.as_dict()["taps"]["b"]["objects"]["d/s/m/v/b/c.3"] == {"size": 68, "blake3": 64 * "f"}


def test_a_sound_envelope_with_a_strange_record_is_refused() -> None:
    objects = MemoryObjects("strange-record")
    objects.data["k"] = seal({"unit": 3})
    with pytest.raises(IntegrityError, match="cannot be understood"):
        Ledger(objects).commit("k")


def test_a_commit_under_the_key_of_another_is_refused() -> None:
    objects = MemoryObjects("moved-record")
    for unit, taps in ((2, "ab"), (3, "a")):
        key = GroupKey("d", "s", "m", "v").commit(Unit(unit, 0, 8), taps)
        objects.data[key] = seal(COMMIT.as_dict())
        with pytest.raises(IntegrityError, match="cannot be understood") as error:
            Ledger(objects).commit(key)
        assert error.value.where == key


def test_commit_keys_name_the_unit_and_the_set_of_taps() -> None:
    group = GroupKey("d", "s", "b", "v")
    assert group.commit(Unit(7, 0, 1), ["x", "y"]) == group.commit(Unit(7, 0, 1), ["y", "x"])
    assert group.commit(Unit(7, 0, 1), ["x"]).startswith("ledger/d/s/b/v/commits/000007-")
    assert taps_digest(["x"]) != taps_digest(["y"])
    assert taps_digest(["a", "b"]) == "e1220d74c5179666"  # frozen: old records must be found


def test_fingerprints_are_plain_json() -> None:
    assert canonical({"a": (1, 2.0)}) == {"a": [1, 2.0]}
    for wrong in ({"a": float("nan")}, {"a": object()}, {"a": b"x"}):
        with pytest.raises(UsageError):
            canonical(wrong)


@given(a=st.dictionaries(st.text("ab"), JSON, max_size=3), b=st.dictionaries(st.text("ab"), JSON, max_size=3))
def test_differences_are_empty_exactly_for_equal_fingerprints(a: dict[str, object], b: dict[str, object]) -> None:
    assert differences(a, a) == []
    if json.dumps(a, sort_keys=True) != json.dumps(b, sort_keys=True):
        assert differences(a, b) or differences(b, a)
