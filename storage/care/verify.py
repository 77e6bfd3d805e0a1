"""Is the store what its ledger says? And: which objects does no record name?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cvbench.errors import IntegrityError
from cvbench.storage.features.encoding import Encoding
from cvbench.storage.features.keys import RecordKey, named_by, record_key
from cvbench.storage.features.ledger import Commit, ObjectRecord, body_digest, unseal
from cvbench.storage.features.nodes import GROUP, LEDGER_NODE, group_keys, root_node
from cvbench.storage.features.parse import Fields
from cvbench.storage.features.stats import contents
from cvbench.storage.features.store import FeatureStore
from cvbench.storage.objects.base import MOST_BYTES, TEMPORARY
from cvbench.storage.objects.keys import LEDGER, REPAIR
from cvbench.storage.results.outcomes import read_partial
from cvbench.storage.runs.log import is_log
from cvbench.storage.runs.under_way import refuse_under_way

Kind = Literal["missing", "damaged", "record", "unfinished", "orphan", "foreign", "leftover"]
_OURS = re.compile(r".*/(zarr\.json|c(\.\d+)+|c(/\d+)+|c)")


@dataclass(frozen=True)
class Problem:
    """One finding. `orphan` (not named by any commit), `foreign` and `leftover` objects do no harm; the others do."""

    kind: Kind
    key: str
    message: str
    unit: int | None = None
    layer: str | None = None  # path of the array

    @property
    def harmful(self) -> bool:
        """Whether something committed is not as recorded."""
        return self.kind in ("missing", "damaged", "record", "unfinished")


@dataclass(frozen=True)
class VerifyReport:
    """Report of what `verify` looked at and found."""

    url: str
    deep: bool
    objects: int
    bytes: int
    commits: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether everything committed is there as recorded."""
        return not any(problem.harmful for problem in self.problems)


@dataclass(frozen=True)
class GcReport:
    """Keys that were (or with dry_run would be) removed."""

    url: str
    removed: tuple[str, ...]
    dry_run: bool


@dataclass(frozen=True)
class _Expected:
    """One object that a record names. `size`/`blake3` None: only `check` tells."""

    key: str
    size: int | None = None
    blake3: str | None = None
    unit: int | None = None
    layer: str | None = None
    check: Callable[[bytes], None] | None = None
    record: ObjectRecord | None = None  # of a chunk or shard, with the checksum that stands at its end
    structural: bool = False  # small, and all the rest depends on it: read in any case
    because: str = "a record names it"


@dataclass
class _Walk:
    """All expected objects; damaged records, and what lies where objects belong, are noted on the way."""

    store: FeatureStore
    problems: list[Problem] = field(default_factory=list)
    commits: list[tuple[RecordKey, Commit]] = field(default_factory=list)

    fingerprints: dict[str, str] = field(default_factory=dict)  # group -> digest of what is stored

    def __post_init__(self) -> None:
        found = self.store.objects.survey()
        self.files = sorted(key for key, kind in found if kind == "file")
        self.others = {key: kind for key, kind in found if kind in ("link", "special")}
        self.folders = {key for key, kind in found if kind == "folder"}

    def expected(self) -> Iterator[_Expected]:
        """Every object that should be there, records included."""
        yield _Expected(
            "zarr.json",
            check=_equals(root_node(self.store.ledger.format)),
            structural=True,
            because="it makes this a store",
        )
        yield _Expected(f"{LEDGER}/zarr.json", check=_equals(LEDGER_NODE), structural=True, because="it is part of any")
        groups: set[str] = set()
        for place in self._records():
            if place.kind == "partial":
                yield _Expected(place.key, check=_reads_as_partial(place.key, self.store.ledger.format))
            else:
                yield _Expected(place.key)
                yield from self._named_by(place, groups)
            yield from _needed_by(place)
        for path in sorted(groups):
            for key in group_keys(path):
                yield _Expected(key, check=_equals(GROUP), structural=True, because=f"{path} lies below it")

    def _records(self) -> Iterator[RecordKey]:
        """The places of all records; something else in such a place is a problem."""
        placed = {key: record_key(key) for key in self.files if key.startswith(f"{LEDGER}/")}
        above = {
            key[:i] for key in (k for k, place in placed.items() if place) for i in range(len(key)) if key[i] == "/"
        }
        for key in sorted(self.folders):
            place = record_key(key)
            if place is not None and key not in above:
                self.problems.append(Problem("damaged", key, "a folder lies in the place of a record", place.unit))
        for place in placed.values():
            if place is not None and place.kind == "journal":
                message = "a repair was interrupted; another, or the same extract, finishes it"
                self.problems.append(Problem("unfinished", place.key, message))
            elif place is not None:
                yield place

    def _named_by(self, place: RecordKey, groups: set[str]) -> Iterator[_Expected]:
        key = place.key
        try:
            record = unseal(self.store.objects.get(key) or b"", key)
            named = named_by(place, record)
            if place.kind == "commit":
                self.commits.append((place, Commit.from_dict(record, key)))
                groups.add(place.path)
            else:  # a result's own node holds its attributes, and is named by its marker
                groups.add(place.path.rpartition("/")[0] if place.kind == "result" else place.path)
            if place.kind == "fingerprint":
                self.fingerprints[place.path] = body_digest(record)
        except IntegrityError as error:
            self.problems.append(Problem("record", key, error.why or error.what, place.unit))
            return
        layered = place.kind in ("commit", "array")
        for name, value in named.items():
            layer = _array_of(name) if layered else None
            structural = name.endswith("/zarr.json")
            chunk = ObjectRecord.parse(Fields(value, key)) if place.kind == "commit" else None
            yield _Expected(
                name, value["size"], value["blake3"], place.unit, layer, record=chunk, structural=structural
            )


def _mixed(walk: _Walk) -> Iterator[Problem]:
    """Commits that were made under another fingerprint than the stored one; of a lost one `_needed_by` tells."""
    made: dict[str, dict[str, str]] = {}
    for place, commit in walk.commits:
        if commit.fingerprint is not None:
            made.setdefault(place.path, {})[place.key] = commit.fingerprint
    for group, commits in made.items():
        stored, named = walk.fingerprints.get(group), set(commits.values())
        if stored is None:
            continue
        if len(named) == 1 and stored not in named:
            key = f"{LEDGER}/{group}/fingerprint.json"
            yield Problem("damaged", key, f"{len(commits)} commits were made under another fingerprint")
            continue
        message = "made under another fingerprint than the stored one"
        units = {place.key: place.unit for place, _ in walk.commits}
        yield from (Problem("record", name, message, units[name]) for name, how in commits.items() if how != stored)


def _array_of(key: str) -> str:
    """Path of the array that an object of a group is part of: <dataset>/<split>/<backbone>/<view>/<tap>."""
    return "/".join(key.split("/")[:5])


def _arrays_of(place: RecordKey, commit: Commit) -> Iterator[tuple[str, str]]:
    """(key of its record, path) of each array that a commit has rows of."""
    yield from ((f"{LEDGER}/{place.path}/arrays/{tap}.json", f"{place.path}/{tap}") for tap in commit.taps)


def _needed_by(place: RecordKey) -> Iterator[_Expected]:
    """The records without which one says nothing: deleted, they leave no other trace."""
    if place.kind in ("commit", "array", "fingerprint"):
        group = place.path
        because = f"{'commits' if place.kind == 'commit' else 'records'} of {group} need it"
        dataset, split = group.split("/")[:2]
        yield _Expected(f"{LEDGER}/{dataset}/{split}/split.json", because=because)
        if place.kind != "fingerprint":
            yield _Expected(f"{LEDGER}/{group}/fingerprint.json", because=because)


def _equals(expected: bytes) -> Callable[[bytes], None]:
    def check(data: bytes) -> None:
        if data != expected:
            raise IntegrityError("a node of the hierarchy was changed")

    return check


def _reads_as_partial(key: str, format: int) -> Callable[[bytes], None]:
    def check(data: bytes) -> None:
        read_partial(data, key, format)

    return check


def verify(store: FeatureStore, *, deep: bool = False) -> VerifyReport:
    """Compare the store with its ledger. Changes nothing.

    Args:
        deep: Read everything: blake3 of each object against its record, non-finite counts of each layer. Otherwise
            existence, sizes, the metadata of arrays and groups, and the checksums at the ends of chunks: a swapped or
            stale object is told, not a damaged one.
    """
    walk = _Walk(store)
    seen: dict[str, _Expected] = {}
    encodings: dict[str, Encoding | None] = {}
    behind: set[str] = set()  # a link, which is the problem and is named once
    total = 0
    for item in walk.expected():
        if item.key in seen:
            continue
        seen[item.key] = item
        if any(item.key.startswith(f"{other}/") for other in walk.others):
            behind.add(item.key)
            continue
        size, problem = _inspect(store, item, deep)
        if problem is None and not deep and not _same_mark(store, item, encodings):
            problem = Problem("damaged", item.key, "it is not the recorded object", item.unit, item.layer)
        total += size
        if problem is not None:
            walk.problems.append(problem)
    for key, path in {k: p for place, commit in walk.commits for k, p in _arrays_of(place, commit)}.items():
        if key not in seen:
            walk.problems.append(Problem("missing", key, "commits name this layer, but it is not there", layer=path))
    walk.problems += _mixed(walk)
    if deep:
        broken = {p.key for p in walk.problems if p.harmful} | behind
        for place, commit in walk.commits:
            walk.problems += _count_again(store, place, commit, broken)
    harmless = [_stray(key) for key in walk.files if not (key in seen or _is_leftover(key) or is_log(key))]
    harmless += [Problem("leftover", key, "an unfinished write") for key in store.objects.leftovers()]
    problems = (*walk.problems, *_out_of_place(walk.others, seen), *harmless)
    return VerifyReport(store.url, deep, len(seen), total, len(walk.commits), problems)


def _is_leftover(key: str) -> bool:
    return key.rpartition("/")[2].startswith(TEMPORARY)


def _out_of_place(others: Mapping[str, str], seen: Mapping[str, object]) -> Iterator[Problem]:
    """Links, devices and pipes: harmful where objects belong, else of no account, since nothing follows them."""
    for key, kind in sorted(others.items()):
        what = "a link; nothing here reads or writes through it" if kind == "link" else "a device, pipe or socket"
        if key.startswith(f"{LEDGER}/") or any(name.startswith(f"{key}/") for name in seen):
            yield Problem("damaged", key, what)
        elif key not in seen:  # else it was named when its object was looked at
            yield Problem("foreign", key, what)


def _inspect(store: FeatureStore, item: _Expected, deep: bool) -> tuple[int, Problem | None]:
    """Size of an object, and what is wrong with it."""

    def problem(kind: Kind, message: str) -> Problem:
        return Problem(kind, item.key, message, item.unit, item.layer)

    try:
        size = store.objects.size(item.key)
        if size is None:
            return 0, problem("missing", f"{item.because}, but it is not there")
        if item.size is not None and size != item.size:
            return size, problem("damaged", f"{size} bytes instead of {item.size}")
        if size > MOST_BYTES:
            return size, problem("damaged", f"{size} bytes are more than any object has")
        if not (deep or item.structural):
            return size, None
        if item.blake3 is not None and store.objects.blake3(item.key) != item.blake3:
            return size, problem("damaged", "its blake3 is not the recorded one")
        if item.check is not None:
            item.check(store.objects.get(item.key) or b"")
    except IntegrityError as error:
        return 0, problem("damaged", f"{error.what}: {error.why}" if error.why else error.what)
    return size, None


def _same_mark(store: FeatureStore, item: _Expected, encodings: dict[str, Encoding | None]) -> bool:
    """Whether the checksum at the end of a chunk is the recorded one; True where that cannot be told."""
    if item.record is None or item.layer is None:
        return True
    if item.layer not in encodings:
        try:
            encodings[item.layer] = Encoding(item.layer, store.objects.get(f"{item.layer}/zarr.json") or b"")
        except IntegrityError:  # named by itself
            encodings[item.layer] = None
    encoding = encodings[item.layer]
    return encoding is None or encoding.same_mark(store.objects, item.key, item.record)


def _count_again(store: FeatureStore, place: RecordKey, commit: Commit, broken: set[str]) -> Iterator[Problem]:
    """Recorded against counted non-finite values, for layers whose objects are sound."""
    bad = {sample.row for sample in commit.bad}
    for record in commit.taps.values():
        if not record.objects or broken & record.objects.keys():
            continue
        path = _array_of(next(iter(record.objects)))
        node = f"{path}/zarr.json"
        metadata = None if node in broken else store.objects.get(node)
        if metadata is None:
            continue
        count, start = 0, commit.unit.start
        try:
            encoding = Encoding(path, metadata)
            for key in record.objects:
                stop = min(start + encoding.rows, commit.unit.stop)
                stats = contents(encoding.decode(store.objects.get(key) or b"", key)[: stop - start])
                count += sum(n for row, n in stats.nonfinite.items() if start + row not in bad)
                start = stop
        except IntegrityError as error:  # the bytes are those of the record, and yet no rows
            yield Problem("damaged", error.where or node, error.why or error.what, commit.unit.index, path)
            continue
        if count != record.nonfinite:
            message = f"{count} values are not finite, recorded are {record.nonfinite}"
            yield Problem("damaged", place.key, message, commit.unit.index, path)


def _stray(key: str) -> Problem:
    if _OURS.fullmatch(key):
        return Problem("orphan", key, "no commit names it: left by an attempt that did not finish, or still under way")
    return Problem("foreign", key, "not an object of a feature store")


def gc(store: FeatureStore, *, orphans: bool = False, dry_run: bool = False, force: bool = False) -> GcReport:
    """Remove unfinished writes and, when asked, objects that no record names. Foreign objects stay.

    Only while nothing writes to the store: an object of a unit under way looks like an orphan.

    Args:
        force: Whatever the logs of runs say.

    Raises:
        UsageError: By its log, a run is under way.
        IntegrityError: A record is damaged, so that what it names cannot be told from an orphan.
    """
    careful = not (dry_run or force)
    known = refuse_under_way(store.objects) if careful else []
    removed = list(store.objects.leftovers())
    if orphans:
        report = verify(store)
        # Of a record that is lost altogether, the same command makes again what it named.
        unreadable = [
            p.key for p in report.problems if p.harmful and p.kind != "missing" and p.key.startswith(f"{LEDGER}/")
        ]
        if unreadable:
            raise IntegrityError("orphans cannot be told while a record is damaged", where=unreadable[0], fix=REPAIR)
        removed += [p.key for p in report.problems if p.kind == "orphan"]
    if careful:
        refuse_under_way(store.objects, known)  # one that began meanwhile may be whose objects were found
    for key in [] if dry_run else removed:
        store.objects.delete(key)
    return GcReport(store.url, tuple(removed), dry_run)


def as_dict(report: VerifyReport | GcReport) -> Mapping[str, Any]:
    """A report as plain JSON."""
    if isinstance(report, GcReport):
        return {"store": report.url, "removed": list(report.removed), "dry_run": report.dry_run}
    problems = [
        {"kind": p.kind, "key": p.key, "unit": p.unit, "layer": p.layer, "message": p.message} for p in report.problems
    ]
    counts = {"objects": report.objects, "bytes": report.bytes, "commits": report.commits}
    return {"store": report.url, "ok": report.ok, "deep": report.deep, **counts, "problems": problems}
