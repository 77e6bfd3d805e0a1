"""The ledger: small immutable records that say what exists in the store.

A record is JSON in a canonical form inside an envelope with its own blake3, so that a flipped bit in a record is seen
like one in a chunk. Commit records hold nothing that differs between two runs of the same work, no time and no host:
the bytes of a finished store do not depend on how it came about.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from cvbench.errors import IntegrityError
from cvbench.storage.keys import GroupKey
from cvbench.storage.objects import Objects
from cvbench.storage.units import Unit


@dataclass(frozen=True, order=True)
class BadSample:
    """A sample that could not be read. Its rows are NaN in every array."""

    row: int  # store position
    id: str
    reason: str  # short stable code
    message: str


@dataclass(frozen=True)
class ObjectRecord:
    """Size in bytes and blake3 of one object."""

    size: int
    blake3: str


@dataclass(frozen=True)
class TapRecord:
    """One layer of a committed unit: its objects by key, and what is in them (over readable samples only)."""

    objects: Mapping[str, ObjectRecord]
    nonfinite: int
    min: float | None  # of the finite values; None if there are none
    max: float | None


@dataclass(frozen=True)
class Commit:
    """The record by which a unit exists, for the taps it names."""

    unit: Unit
    taps: Mapping[str, TapRecord]
    ok: int
    bad: tuple[BadSample, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Commit:
        """The inverse of `as_dict`."""
        taps = {
            name: TapRecord(
                {key: ObjectRecord(**record) for key, record in tap["objects"].items()},
                tap["nonfinite"],
                tap["min"],
                tap["max"],
            )
            for name, tap in value["taps"].items()
        }
        bad = tuple(BadSample(**sample) for sample in value["bad"])
        return cls(Unit(**value["unit"]), taps, value["ok"], bad, value["provenance"])

    def same_work(self, other: Commit) -> bool:
        """Whether both say the same; provenance apart."""
        return (self.unit, self.taps, self.ok, self.bad) == (other.unit, other.taps, other.ok, other.bad)


def digest(*parts: Any) -> str:
    """blake3 of the joined parts, hex."""
    import blake3

    hasher = blake3.blake3()
    for part in parts:
        hasher.update(part)
    return hasher.hexdigest()


def seal(record: Mapping[str, Any]) -> bytes:
    """The bytes of a record: one line of JSON, with its digest."""
    body = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f'{{"blake3":"{digest(body.encode())}","record":{body}}}\n'.encode()


def unseal(data: bytes, key: str) -> dict[str, Any]:
    """The record in `data`.

    Raises:
        IntegrityError: Any bit differs from what `seal` made.
    """
    try:
        record: dict[str, Any] = json.loads(data)["record"]
        intact = seal(record) == data
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError("a record of the ledger is damaged", where=key, why=repr(error)) from error
    if not intact:
        raise IntegrityError("a record of the ledger is damaged", where=key, why="its digest does not match")
    return record


class Ledger:
    """Reads and writes records. Records never change, so what was read once is kept."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self._commits: dict[str, Commit] = {}

    def get(self, key: str) -> dict[str, Any] | None:
        """The record at `key`, checked; None if there is none."""
        data = self.objects.get(key)
        return None if data is None else unseal(data, key)

    def put(self, key: str, record: Mapping[str, Any], *, settle: bool = True) -> bool:
        """Create a record, durably unless the caller settles many at once; False if one was there."""
        created = self.objects.create(key, seal(record))
        if settle:
            self.objects.settle([key])
        return created

    def commit(self, key: str) -> Commit | None:
        """The commit record at `key`."""
        if key not in self._commits:
            record = self.get(key)
            if record is None:
                return None
            try:
                self._commits[key] = Commit.from_dict(record)
            except (KeyError, TypeError) as error:
                raise IntegrityError("a commit record lacks fields", where=key, why=repr(error)) from error
        return self._commits[key]

    def commits(self, group: GroupKey) -> list[Commit]:
        """All commit records of a group, in unit order."""
        return self._read(self.objects.list(group.commits))

    def _read(self, keys: Iterable[str]) -> list[Commit]:
        found = self._each(self.commit, (key for key in keys if key.endswith(".json")))
        return sorted((c for c in found if c is not None), key=lambda c: (c.unit, sorted(c.taps)))

    def missing(self, group: GroupKey, taps: Iterable[str], units: Iterable[Unit]) -> dict[Unit, list[str]]:
        """For each unit the taps that no commit covers, in the given order; units with none are left out.

        Listings of object stores may lag, so the record that this very request would have made is asked for by its
        key. If an older record is overlooked, the worst is that work is done twice and its objects are adopted.
        """
        wanted, plan = list(taps), list(units)
        covered: dict[int, set[str]] = {}
        listed = list(self.objects.list(group.commits))
        exact = {group.commit(unit, wanted): unit for unit in plan}
        for key in exact.keys() & set(listed):  # nothing to read: the key says it all
            covered[exact[key].index] = set(wanted)
        for record in self._read(key for key in listed if key not in exact):
            covered.setdefault(record.unit.index, set()).update(record.taps)
        left = {unit: [tap for tap in wanted if tap not in covered.get(unit.index, ())] for unit in plan}
        keys = {unit: group.commit(unit, taps) for unit, taps in left.items() if taps}
        there = dict(zip(keys, self._each(self.objects.size, keys.values()), strict=True))
        return {unit: left[unit] for unit in keys if there[unit] is None}

    def _each(self, call: Callable[[str], Any], keys: Iterable[str]) -> list[Any]:
        """`call` for every key; at once where each is a round trip to a service."""
        wanted = list(keys)
        if not self.objects.sharded or len(wanted) < 2:
            return [call(key) for key in wanted]
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(call, wanted))
