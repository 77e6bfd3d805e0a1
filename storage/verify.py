"""Is the store what its ledger says? And: which objects does no record name?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cvbench.errors import IntegrityError
from cvbench.storage.encoding import Encoding
from cvbench.storage.features import FeatureStore
from cvbench.storage.keys import LEDGER
from cvbench.storage.ledger import Commit, ObjectRecord, body_digest, digest, unseal
from cvbench.storage.nodes import GROUP, LEDGER_NODE, group_keys, root_node
from cvbench.storage.results import read_partial
from cvbench.storage.stats import contents

Kind = Literal["missing", "damaged", "record", "orphan", "foreign", "leftover"]
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
        return self.kind in ("missing", "damaged", "record")


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` looked at and found."""

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


@dataclass
class _Walk:
    """All expected objects; damaged records are noted on the way."""

    store: FeatureStore
    problems: list[Problem] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    made: dict[str, dict[str, str | None]] = field(default_factory=dict)  # group -> commit key -> its fingerprint
    fingerprints: dict[str, str] = field(default_factory=dict)  # group -> digest of what is stored

    def expected(self) -> Iterator[_Expected]:
        """Every object that should be there, records included."""
        yield _Expected("zarr.json", check=_equals(root_node(self.store.ledger.format)))
        yield _Expected(f"{LEDGER}/zarr.json", check=_equals(LEDGER_NODE))
        groups: set[str] = set()
        for key in self.store.objects.list(f"{LEDGER}/"):
            if key == f"{LEDGER}/zarr.json":
                continue
            if key.startswith(f"{LEDGER}/partials/") and key.endswith(".safetensors"):
                yield _Expected(key, check=_reads_as_partial(key, self.store.ledger.format))
            elif key.endswith(".json"):
                yield _Expected(key)
                yield from self._named_by(key, groups)
        for path in sorted(groups):
            for key in group_keys(path):
                yield _Expected(key, check=_equals(GROUP))

    def _named_by(self, key: str, groups: set[str]) -> Iterator[_Expected]:
        try:
            record = unseal(self.store.objects.get(key) or b"", key)
            parts = key.split("/")
            if parts[-2] == "commits":
                commit = Commit.from_dict(record, key)
                self.commits.append(commit)
                self.made.setdefault("/".join(parts[1:-2]), {})[key] = commit.fingerprint
                groups.add("/".join(parts[1:-2]))
                yield from _of_commit(commit, "/".join(parts[1:-2]))
            elif parts[-2] == "arrays":
                node = record["node"]
                groups.add("/".join(parts[1:-2]))
                yield _Expected(node["key"], node["size"], node["blake3"], layer=node["key"].rsplit("/", 1)[0])
            elif parts[-1] == "fingerprint.json":
                groups.add("/".join(parts[1:-1]))
                self.fingerprints["/".join(parts[1:-1])] = body_digest(record)
            else:
                groups.add("/".join(parts[1:-1]) + "/samples" if parts[-1] == "split.json" else "/".join(parts[1:-1]))
                for name, value in record["objects"].items():
                    yield _Expected(name, value["size"], value["blake3"])
        except IntegrityError as error:
            self.problems.append(Problem("record", key, error.why or error.what, unit=_unit_of(key)))
        except (KeyError, TypeError, AttributeError) as error:
            self.problems.append(Problem("record", key, f"it lacks {error}", unit=_unit_of(key)))


def _mixed(walk: _Walk) -> Iterator[Problem]:
    """Groups whose fingerprint is lost or foreign, and commits that were made under another one than the rest."""
    broken = {problem.key for problem in walk.problems}
    for group, commits in walk.made.items():
        key, stored = f"{LEDGER}/{group}/fingerprint.json", walk.fingerprints.get(group)
        named = set(commits.values()) - {None}
        if key in broken:
            continue
        if stored is None:
            yield Problem("missing", key, f"{len(commits)} commits were made under it, but it is not there")
        elif len(named) == 1 and stored not in named:
            yield Problem("damaged", key, f"{len(commits)} commits were made under another fingerprint")
        else:
            for name, made in commits.items():
                if made not in (None, stored):
                    yield Problem("record", name, "made under another fingerprint than the stored one", _unit_of(name))


def _of_commit(commit: Commit, group: str) -> Iterator[_Expected]:
    for tap, record in commit.taps.items():
        for key, value in record.objects.items():
            yield _Expected(key, value.size, value.blake3, commit.unit.index, f"{group}/{tap}", record=value)


def _unit_of(key: str) -> int | None:
    match = re.search(r"/(\d{6})[-.]", key)
    return int(match[1]) if match else None


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
            existence, sizes, and the checksums at the ends of chunks: a swapped or stale object is told, not a
            damaged one.
    """
    walk = _Walk(store)
    seen: dict[str, _Expected] = {}
    encodings: dict[str, Encoding | None] = {}
    total = 0
    for item in walk.expected():
        if item.key in seen:
            continue
        seen[item.key] = item
        size, problem = _inspect(store, item, deep)
        if problem is None and not deep and not _same_mark(store, item, encodings):
            problem = Problem("damaged", item.key, "it is not the recorded object", item.unit, item.layer)
        total += size
        if problem is not None:
            walk.problems.append(problem)
    walk.problems += _mixed(walk)
    if deep:
        broken = {p.key for p in walk.problems if p.harmful}
        for commit in walk.commits:
            walk.problems += _count_again(store, commit, broken)
    harmless = [_stray(key) for key in store.objects.list() if key not in seen]
    harmless += [Problem("leftover", key, "an unfinished write") for key in store.objects.leftovers()]
    problems = (*walk.problems, *harmless)
    return VerifyReport(store.url, deep, len(seen), total, len(walk.commits), problems)


def _inspect(store: FeatureStore, item: _Expected, deep: bool) -> tuple[int, Problem | None]:
    """Size of an object, and what is wrong with it."""

    def problem(kind: Kind, message: str) -> Problem:
        return Problem(kind, item.key, message, item.unit, item.layer)

    size = store.objects.size(item.key)
    if size is None:
        return 0, problem("missing", "a record names it, but it is not there")
    if item.size is not None and size != item.size:
        return size, problem("damaged", f"{size} bytes instead of {item.size}")
    if deep and (item.blake3 is not None or item.check is not None):
        data = store.objects.get(item.key) or b""
        if item.blake3 is not None and digest(data) != item.blake3:
            return size, problem("damaged", "its blake3 is not the recorded one")
        try:
            if item.check is not None:
                item.check(data)
        except IntegrityError as error:
            return size, problem("damaged", error.why or error.what)
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


def _count_again(store: FeatureStore, commit: Commit, broken: set[str]) -> Iterator[Problem]:
    """Recorded against counted non-finite values, for layers whose objects are sound."""
    bad = {sample.row for sample in commit.bad}
    for record in commit.taps.values():
        if not record.objects or broken & record.objects.keys():
            continue
        path = next(iter(record.objects)).rsplit("/", 1)[0]
        node = f"{path}/zarr.json"
        metadata = store.objects.get(node)
        if metadata is None or node in broken:
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
            yield Problem("damaged", node, message, commit.unit.index, path)


def _stray(key: str) -> Problem:
    if _OURS.fullmatch(key):
        return Problem("orphan", key, "no commit names it: left by an attempt that did not finish, or still under way")
    return Problem("foreign", key, "not an object of a feature store")


def gc(store: FeatureStore, *, orphans: bool = False, dry_run: bool = False) -> GcReport:
    """Remove unfinished writes and, when asked, objects that no record names. Foreign objects stay.

    Only while nothing writes to the store: an object of a unit under way looks like an orphan.

    Raises:
        IntegrityError: A record is damaged, so that what it names cannot be told from an orphan.
    """
    removed = list(store.objects.leftovers())
    if orphans:
        report = verify(store)
        unreadable = [p.key for p in report.problems if p.kind == "record"]
        if unreadable:
            raise IntegrityError("orphans cannot be told while a record is damaged", where=unreadable[0])
        removed += [p.key for p in report.problems if p.kind == "orphan"]
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
