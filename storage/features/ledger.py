"""The ledger: small immutable records that say what exists in the store.

A record is JSON in a canonical form inside an envelope with its own blake3, so that a flipped bit in a record is seen
like one in a chunk. Commit records hold nothing that differs between two runs of the same work, no time and no host:
the bytes of a finished store do not depend on how it came about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cvbench.errors import IntegrityError
from cvbench.storage.features.keys import GroupKey, taps_digest
from cvbench.storage.features.parse import MOST_BYTES, Fields, read_json
from cvbench.storage.features.units import Unit
from cvbench.storage.objects.base import Objects
from cvbench.storage.objects.keys import LEDGER, REPAIR

FORMAT = 2
"""Of the store; raised when an older cvbench could misread a newer store. A store keeps the format it was made in.

1: the first. 2: records of objects have a `crc32c`, commits the digest of their group's `fingerprint`, and partials
name their own key."""

_MOST_OBJECT = 2**40  # bytes
_AT_ONCE = 256  # records that `each` holds
_OBJECT = re.compile(r"c([./]\d{1,16})*")


@dataclass(frozen=True, order=True, slots=True)
class BadSample:
    """A sample that could not be read. Its rows are NaN in every array."""

    row: int  # store position
    id: str
    reason: str  # short stable code
    message: str


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """One object: size in bytes, blake3, and what readers compare since it costs them nothing.

    Attributes:
        crc32c: Of a chunk, its last four bytes: the checksum of all before, little-endian. Of a shard, the crc32c of
            its inner chunks' last four bytes in order and those of its index (the checksum of a whole that contains
            checksums would be the same for any content). None in format 1, and for objects without one.
    """

    size: int
    blake3: str
    crc32c: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def parse(cls, fields: Fields) -> ObjectRecord:
        """The inverse of `as_dict`."""
        fields.only("size", "blake3", "crc32c")
        crc = fields.integer("crc32c", most=2**32 - 1) if "crc32c" in fields else None
        return cls(fields.integer("size", most=_MOST_OBJECT), fields.hex("blake3"), crc)

    def check_digest(self, data: Any, key: str) -> None:
        """Compare bytes with size and blake3.

        Raises:
            IntegrityError: They differ; `key` is named.
        """
        if len(data) != self.size:
            raise damaged(key, f"{len(data)} bytes instead of {self.size}")
        if digest(data) != self.blake3:
            raise damaged(key, "its blake3 is not the recorded one")


def damaged(key: str, why: str) -> IntegrityError:
    """The error for an object whose bytes are not what was written."""
    return IntegrityError("a stored object is damaged", where=key, why=why, fix=REPAIR)


@dataclass(frozen=True, slots=True)
class TapRecord:
    """One layer of a committed unit: its objects by key, and what is in them (over readable samples only)."""

    objects: Mapping[str, ObjectRecord]
    nonfinite: int
    min: float | None  # of the finite values; None if there are none
    max: float | None


@dataclass(frozen=True, slots=True)
class Commit:
    """The record by which a unit exists, for the taps it names."""

    unit: Unit
    taps: Mapping[str, TapRecord]
    ok: int
    bad: tuple[BadSample, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str | None = None  # `body_digest` of the group's fingerprint; None in format 1

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        plain: dict[str, Any] = asdict(self)
        for name, tap in self.taps.items():
            plain["taps"][name]["objects"] = {key: record.as_dict() for key, record in tap.objects.items()}
        if self.fingerprint is None:
            del plain["fingerprint"]
        return plain

    @classmethod
    def from_dict(cls, value: Any, where: str) -> Commit:
        """The inverse of `as_dict`.

        Args:
            where: Key of the record. If it is one of a commit, unit, taps and objects must be those of this place.

        Raises:
            IntegrityError: Fields are missing, unknown, or of a wrong type or value.
        """
        fields = Fields(value, where).only("unit", "taps", "ok", "bad", "provenance", "fingerprint")
        unit = _unit(fields.object("unit"))
        bad = tuple(_bad(item, unit) for item in fields.objects("bad"))
        if len({sample.row for sample in bad}) != len(bad):
            raise fields.wrong("bad", "a sample stands twice")
        if fields.integer("ok", most=len(unit)) != len(unit) - len(bad):
            raise fields.wrong("ok", "samples that are ok and bad do not add up to the unit")
        taps = fields.each("taps", _tap)
        made = fields.hex("fingerprint") if "fingerprint" in fields else None
        commit = cls(unit, taps, len(unit) - len(bad), bad, fields.mapping("provenance"), made)
        _check_place(commit, fields)
        return commit

    def same_work(self, other: Commit) -> bool:
        """Whether both say the same; provenance apart."""
        return self == replace(other, provenance=self.provenance)

    def in_format(self, number: int) -> Commit:
        """The commit as a store of that format holds it."""
        if number >= 2:
            return self
        taps = {
            name: replace(tap, objects={key: replace(record, crc32c=None) for key, record in tap.objects.items()})
            for name, tap in self.taps.items()
        }
        return replace(self, taps=taps, fingerprint=None)


def _unit(fields: Fields) -> Unit:
    fields.only("index", "start", "stop")
    start = fields.integer("start")
    return Unit(fields.integer("index"), start, fields.integer("stop", least=start + 1))


def _bad(fields: Fields, unit: Unit) -> BadSample:
    fields.only("row", "id", "reason", "message")
    row = fields.integer("row", least=unit.start, most=unit.stop - 1)
    return BadSample(row, fields.text("id"), fields.text("reason"), fields.text("message"))


def _tap(fields: Fields) -> TapRecord:
    fields.only("objects", "nonfinite", "min", "max")
    named = fields.each("objects", ObjectRecord.parse)
    objects = {key: named[key] for key in sorted(named, key=lambda key: (len(key), key))}  # c.2 before c.10
    return TapRecord(objects, fields.integer("nonfinite"), fields.number("min"), fields.number("max"))


def _check_place(commit: Commit, fields: Fields) -> None:
    """A record under another record's key, or one that names objects outside its group, is nobody's."""
    folder, _, name = fields.where.rpartition("/commits/")
    if not folder:
        return
    if name != f"{commit.unit.index:06d}-{taps_digest(commit.taps)}.json":
        raise fields.wrong("unit", "unit and taps are not those that the key of the record names")
    group = folder.removeprefix(f"{LEDGER}/")
    for tap, record in commit.taps.items():
        for key in record.objects:
            if not key.startswith(f"{group}/{tap}/") or not _OBJECT.fullmatch(key[len(f"{group}/{tap}/") :]):
                raise fields.wrong(f"taps.{tap}.objects", f"{key!r} is no object of this tap")


def digest(*parts: Any) -> str:
    """blake3 of the joined parts, hex."""
    import blake3

    hasher = blake3.blake3()
    for part in parts:
        hasher.update(part)
    return hasher.hexdigest()


def body_digest(record: Mapping[str, Any]) -> str:
    """blake3 of a record in its canonical form, hex: what names its content."""
    return digest(_body(record).encode())


def _body(record: Mapping[str, Any]) -> str:
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)


def seal(record: Mapping[str, Any]) -> bytes:
    """The bytes of a record: one line of JSON, with its digest."""
    body = _body(record)
    return f'{{"blake3":"{digest(body.encode())}","record":{body}}}\n'.encode()


def unseal(data: bytes, key: str) -> dict[str, Any]:
    """The record in `data`.

    Raises:
        IntegrityError: Any bit differs from what `seal` made.
    """
    try:
        record = Fields(read_json(data, key), key).raw("record")
    except IntegrityError as error:
        raise IntegrityError(
            "a record of the ledger is damaged", where=key, why=error.why or error.what, fix=REPAIR
        ) from error
    if not isinstance(record, dict) or not _is_sealed(data):
        raise IntegrityError(
            "a record of the ledger is damaged", where=key, why="its digest does not match", fix=REPAIR
        )
    return record


_HEAD = re.compile(rb'\{"blake3":"([0-9a-f]{64})","record":')


def _is_sealed(data: bytes) -> bool:
    """Whether the bytes are an envelope as `seal` writes it, with the digest of its body."""
    head = _HEAD.match(data)
    return head is not None and data.endswith(b"}\n") and digest(data[head.end() : -2]).encode() == head[1]


class Ledger:
    """Reads and writes records. Records never change, so what was read once is kept, except by `each`.

    Memory of what is kept: about 0.5 kB for each layer of each unit.
    """

    def __init__(self, objects: Objects, format: int = FORMAT) -> None:
        self.objects, self.format = objects, format
        self._commits: dict[str, Commit] = {}

    def get(self, key: str) -> dict[str, Any] | None:
        """The record at `key`, checked; None if there is none."""
        data = self.objects.take(key, MOST_BYTES)
        return None if data is None else unseal(data, key)

    def put(self, key: str, record: Mapping[str, Any], *, settle: bool = True) -> bool:
        """Create a record, durably unless the caller settles many at once; False if one was there."""
        created = self.objects.create(key, seal(record))
        if settle:
            self.objects.settle([key])
        return created

    def commit(self, key: str) -> Commit | None:
        """The commit record at `key`."""
        found = self._fresh(key)
        if found is not None:
            self._commits[key] = found
        return found

    def _fresh(self, key: str) -> Commit | None:
        """The commit record at `key`, not kept if it was not."""
        if key in self._commits:
            return self._commits[key]
        record = self.get(key)
        return None if record is None else Commit.from_dict(record, key)

    def commits(self, group: GroupKey) -> list[Commit]:
        """All commit records of a group, in unit order."""
        return self.read(self.objects.list(group.commits))

    def read(self, keys: Iterable[str]) -> list[Commit]:
        """The commit records under these keys, in unit order; other keys are passed over."""
        found = self._each(self.commit, (key for key in keys if key.endswith(".json")))
        return sorted((c for c in found if c is not None), key=lambda c: (c.unit, sorted(c.taps)))

    def each(self, keys: Iterable[str]) -> Iterator[Commit]:
        """The commit records under these keys one after another, in the order of the keys; none is kept.

        Memory: a few hundred records, however many there are.
        """
        wanted = [key for key in keys if key.endswith(".json")]
        for start in range(0, len(wanted), _AT_ONCE):
            yield from (c for c in self._each(self._fresh, wanted[start : start + _AT_ONCE]) if c is not None)

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
        for record in self.read(key for key in listed if key not in exact):
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
