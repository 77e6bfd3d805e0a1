"""A way back from damage: forget what is damaged, so that the command that made it makes it again.

A record goes with what is damaged of the objects that it names; what was sound stays, and the same command adopts it
where it equals what it computes. So units, partials and results come back, and so does structure: an array's metadata
and its record, a fingerprint, a split with its sample table. Nodes of the hierarchy are constants and are written at
once. All of it happens by a journal (see `journal`): a kill at any point ends as if the repair had run once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cvbench.errors import IntegrityError
from cvbench.storage.care.verify import Problem, VerifyReport, verify
from cvbench.storage.features.encoding import Encoding
from cvbench.storage.features.journal import Journal, Step, resume
from cvbench.storage.features.keys import JOURNAL, RecordKey, named_by, record_key
from cvbench.storage.features.ledger import unseal
from cvbench.storage.features.nodes import GROUP
from cvbench.storage.features.root import evidence
from cvbench.storage.features.store import FeatureStore
from cvbench.storage.objects.base import Objects
from cvbench.storage.objects.open import open_objects

_OF_ARRAY = re.compile(r"((?!results/).+)/(zarr\.json|c(?:[./]\d+)+)")


@dataclass(frozen=True)
class RepairReport:
    """Report of what was (or with dry_run would be) forgotten.

    Attributes:
        forgotten: Keys of the records: splits, fingerprints, arrays, commits of units, partials and results.
        removed: Keys of damaged objects that they named, and of damaged ones that no record names.
        written: Keys of nodes of the hierarchy that were written anew.
        awaited: Keys that are lost and that only the same command makes again.
        left: What cannot be mended so.
    """

    url: str
    forgotten: tuple[str, ...]
    removed: tuple[str, ...]
    written: tuple[str, ...]
    awaited: tuple[str, ...]
    left: tuple[Problem, ...]
    dry_run: bool

    @property
    def ok(self) -> bool:
        """Whether nothing harmful is left."""
        return not self.left


def open_damaged(url: str | Path | Objects, *, writable: bool = False) -> FeatureStore:
    """Open a store even if its root node is lost or damaged. Creates nothing, and finishes no repair.

    Raises:
        DataUnavailableError, IntegrityError: Nothing there looks like a store of ours.
    """
    objects = url if isinstance(url, Objects) else open_objects(url)
    known = evidence(objects)  # where root and records disagree, it is the root that is wrong
    format = FeatureStore.open(objects).ledger.format if known is None else known
    return FeatureStore(objects, "a" if writable else "r", format)


def repair(store: FeatureStore, *, dry_run: bool = False) -> RepairReport:
    """Read every byte, and forget the records that are damaged or whose objects are not all there as recorded.

    Only while nothing writes to the store.

    Args:
        store: From `open_damaged`, writable unless `dry_run`.
        dry_run: Change nothing.
    """
    objects = store.objects
    done = [] if dry_run else _finished(objects)
    store = FeatureStore(objects, store.mode, store.ledger.format)  # nothing that it has read before may stand
    plan = _plan(store, verify(store, deep=True))
    if plan.journal and not dry_run:
        plan.journal.put(objects)
        plan.journal.carry_out(objects)
    journals = [*done, plan.journal]
    steps = [step.key for journal in journals for step in journal.remove]
    written = dict.fromkeys(key for journal in journals for key in journal.write)
    return RepairReport(
        store.url,
        forgotten=tuple(dict.fromkeys(key for key in steps if record_key(key))),
        removed=tuple(dict.fromkeys(key for key in steps if not record_key(key) and key not in written)),
        written=tuple(written),
        awaited=plan.awaited,
        left=plan.left,
        dry_run=dry_run,
    )


def _finished(objects: Objects) -> list[Journal]:
    """The repair that was interrupted, now carried out; none if its journal is damaged: the next plan covers it."""
    try:
        journal = resume(objects)
    except IntegrityError:
        objects.delete(JOURNAL)
        return []
    return [] if journal is None else [journal]


@dataclass(frozen=True)
class _Plan:
    journal: Journal
    awaited: tuple[str, ...]
    left: tuple[Problem, ...]


def _plan(store: FeatureStore, report: VerifyReport) -> _Plan:
    """Plan the repair of the findings of a deep `verify`."""
    objects = store.objects
    kinds = dict(objects.survey())
    harmful = {problem.key: problem for problem in report.problems if problem.harmful and problem.key != JOURNAL}
    blocked = {key for key in harmful if any(k.startswith(f"{key}/") and kind != "folder" for k, kind in kinds.items())}
    places = {key: place for key in {*kinds, *harmful} if (place := record_key(key)) is not None}
    forgotten: set[str] = set()
    named: set[str] = set()  # damaged, and named by a record
    for key, place in places.items():
        broken = (_named_by(objects, place) if kinds.get(key) == "file" else set()) & harmful.keys()
        named |= broken
        if (broken or key in harmful) and key in kinds and not (broken | {key}) & blocked:
            forgotten.add(key)
    forgotten |= _made_unknown(objects, [place for key, place in places.items() if key in harmful], kinds)
    write = {k for k in harmful if k.rpartition("/")[2] == "zarr.json" and k not in named} - blocked
    gone = {k for key in forgotten for k in _named_by(objects, places[key]) & harmful.keys()}
    awaited = {key for key in harmful if key not in kinds and key in places}
    orphans = {problem.key for problem in report.problems if problem.kind == "orphan"}
    nodes = {f"{p.path}/{p.tap}/zarr.json" for p in map(places.__getitem__, forgotten | awaited) if p.kind == "array"}
    rotten = {key for key in orphans if key in nodes or _is_rotten(objects, key)}
    remove = sorted({*forgotten, *gone, *rotten, *(write & kinds.keys())})
    steps = tuple(Step(key, objects.blake3(key) if kinds.get(key) == "file" else None) for key in remove)
    left = {*harmful} - {*remove} - write - awaited
    return _Plan(
        Journal(steps, tuple(sorted(write)), store.ledger.format),
        tuple(sorted(awaited)),
        tuple(harmful[key] for key in sorted(left)),
    )


def _named_by(objects: Objects, place: RecordKey) -> set[str]:
    """The objects that a record names; none of a damaged record, or of one that names what is not its own."""
    try:
        return set(named_by(place, unseal(objects.get(place.key) or b"", place.key)))
    except IntegrityError:
        return set()


def _made_unknown(objects: Objects, lost: Sequence[RecordKey], kinds: Mapping[str, str]) -> set[str]:
    """Commits whose group has lost its fingerprint and that do not say by themselves how they were made.

    Without them, the next extraction could add features of other weights to theirs.
    """
    groups = {place.path for place in lost if place.kind == "fingerprint"}
    commits = [p for key in kinds if (p := record_key(key)) is not None and p.kind == "commit" and p.path in groups]
    return {place.key for place in commits if not _says_how(objects, place)}


def _says_how(objects: Objects, place: RecordKey) -> bool:
    try:
        return bool(unseal(objects.get(place.key) or b"", place.key).get("fingerprint"))
    except IntegrityError:
        return False


def _is_rotten(objects: Objects, key: str) -> bool:
    """Whether what no record names is a damaged chunk or node of an array: who comes to write it would refuse it."""
    match = _OF_ARRAY.fullmatch(key)
    if match is None:
        return False
    path, name = match.groups()
    try:
        node = objects.get(f"{path}/zarr.json")
        if node is None or node == GROUP:
            return False
        encoding = Encoding(path, node)
        if name != "zarr.json":
            encoding.decode(objects.get(key) or b"", key)
    except IntegrityError:
        return True
    return False
