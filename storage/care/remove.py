"""Removing what is sound: data sets, backbones, views, layers and results, by a journal as a repair does it.

The records that say a thing is there go first, then its objects, then the nodes above that nothing else needs. Killed
at any point, the store can be read, and whoever opens it for writing next finishes the removal before anything else.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from cvbench.errors import DataUnavailableError, UsageError
from cvbench.hints import command
from cvbench.storage.features.journal import ANY, Journal, Step
from cvbench.storage.features.keys import GroupKey, RecordKey, record_key
from cvbench.storage.features.ledger import Commit
from cvbench.storage.features.nodes import group_keys
from cvbench.storage.features.store import FeatureStore
from cvbench.storage.objects.keys import is_name
from cvbench.storage.results.outcomes import ResultKey

_PART = re.compile(r".*/(?:zarr\.json|c(?:[./]\d+)*)")
_DEPTH = 5
"""dataset/split/backbone/view/layer"""


@dataclass(frozen=True)
class RemoveReport:
    """Report of what was (or with dry_run would be) removed.

    Attributes:
        splits, layers, results: Paths in the store.
        objects: How many objects and records.
        bytes: Of the committed features among them.
    """

    url: str
    splits: tuple[str, ...]
    layers: tuple[str, ...]
    results: tuple[str, ...]
    objects: int
    bytes: int
    dry_run: bool


def remove(
    store: FeatureStore, places: Sequence[str], results: Collection[ResultKey] = (), *, dry_run: bool = False
) -> RemoveReport:
    """Remove features and results. Only while nothing writes to the store.

    Args:
        store: Opened with mode "a" or "r+", or for reading with `dry_run`.
        places: "dataset", "dataset/split", "dataset/split/backbone", and so on to the view and the layer. With a data
            set or a split go its sample table and all results; else results stay, but for `results`.
        results: Single results.
        dry_run: Change nothing.

    Raises:
        UsageError: A place that is not of that form.
        DataUnavailableError: The store holds nothing there.
    """
    wanted = [_parsed(place) for place in places]
    keys = list(store.objects.list())
    records = [found for key in keys if (found := record_key(key)) is not None]
    for place, parts in zip(places, wanted, strict=True):
        _refuse_absent(store, place, parts, records)
    layers = [layer for layer in store.tree() if _covers(wanted, (*layer.group.path.split("/"), layer.tap))]
    taps: dict[GroupKey, set[str]] = {}
    for layer in layers:
        taps.setdefault(layer.group, set()).add(layer.tap)
    whole = {group.path for group in store.groups() if {*store.taps(group)} <= taps.get(group, set())}
    whole &= {group.path for group in taps} | {"/".join(parts) for parts in wanted if len(parts) == _DEPTH - 1}
    named = {key.marker for key in results}
    gone = {record for record in records if _is_gone(record, wanted, whole, taps) or record.key in named}
    shared = list(_shared_commits(store, {group: some for group, some in taps.items() if group.path not in whole}))
    steps = [*(record.key for record in gone), *(old for old, _, _ in shared)]
    steps += _objects(keys, gone, taps, whole, [record for record in records if record not in gone])
    journal = Journal(tuple(Step(key, ANY) for key in dict.fromkeys(steps)), (), store.ledger.format, True)
    if journal and not dry_run:
        for _, key, commit in shared:  # what stays of a commit, before the commit goes
            if commit.taps:
                store.ledger.put(key, commit.as_dict())
        journal.put(store.objects)
        journal.carry_out(store.objects)
    return RemoveReport(
        store.url,
        splits=tuple(sorted(record.path.rpartition("/")[0] for record in gone if record.kind == "split")),
        layers=tuple(layer.path for layer in layers),
        results=tuple(sorted(record.path for record in gone if record.kind == "result")),
        objects=len(journal.remove),
        bytes=sum(layer.bytes for layer in layers),
        dry_run=dry_run,
    )


def _parsed(place: str) -> tuple[str, ...]:
    parts = tuple(place.strip("/").split("/"))
    if len(parts) > _DEPTH or not all(map(is_name, parts)):
        raise UsageError(
            f"{place!r} is no place in a store", fix="dataset, dataset/split, and on with /backbone, /view and /layer"
        )
    return parts


def _refuse_absent(store: FeatureStore, place: str, parts: tuple[str, ...], records: Iterable[RecordKey]) -> None:
    for record in records:
        path = record.path.removesuffix("/samples") if record.kind == "split" else record.path
        full = (*path.split("/"), *([record.tap] if record.tap else []))
        if record.kind in ("split", "array", "fingerprint") and full[: len(parts)] == parts:
            return
    near = sorted({"/".join(layer.path.split("/")[: len(parts)]) for layer in store.tree()})
    raise DataUnavailableError(
        f"the store holds nothing of {place}",
        where=store.url,
        why=f"it holds {', '.join(near[:20])}{' ...' if len(near) > 20 else ''}" if near else None,
        fix=command("store info", store=store.url),
    )


def _covers(wanted: Iterable[tuple[str, ...]], path: tuple[str, ...]) -> bool:
    """Whether a place is, or lies below, one of those wanted; what stands beside a layer (`layer@...`) goes with it."""
    return any(
        path[: len(parts)] == parts
        or (len(parts) == _DEPTH and path[:-1] == parts[:-1] and path[-1].startswith(f"{parts[-1]}@"))
        for parts in wanted
    )


def _is_gone(
    record: RecordKey, wanted: Sequence[tuple[str, ...]], whole: set[str], taps: dict[GroupKey, set[str]]
) -> bool:
    if record.kind in ("commit", "fingerprint", "array"):
        if record.path in whole or _covers(wanted, tuple(record.path.split("/"))):
            return True
        return record.kind == "array" and record.tap in taps.get(GroupKey(*record.path.split("/")), ())
    if record.kind == "journal":
        return False
    place = tuple(record.path.removeprefix("results/").split("/")[:2])
    return any(place[: len(parts)] == parts for parts in wanted if len(parts) <= 2)


def _shared_commits(store: FeatureStore, taps: dict[GroupKey, set[str]]) -> Iterator[tuple[str, str, Commit]]:
    """(its key, the key of what stays of it, this) of each commit that names some of these layers, and others."""
    for group, removed in taps.items():
        for commit in store.commits(group):
            if removed & commit.taps.keys():
                left = {tap: record for tap, record in commit.taps.items() if tap not in removed}
                stays = replace(commit, taps=left)
                yield group.commit(commit.unit, commit.taps), group.commit(commit.unit, left), stays


def _objects(
    keys: Sequence[str],
    gone: Iterable[RecordKey],
    taps: dict[GroupKey, set[str]],
    whole: set[str],
    staying: Iterable[RecordKey],
) -> Iterator[str]:
    """Nodes and chunks of what goes, and nodes of the hierarchy that nothing else lies below."""
    paths = {record.path for record in gone if record.kind in ("split", "result", "fingerprint")} | whole
    paths |= {f"{group.path}/{tap}" for group, some in taps.items() if group.path not in whole for tap in some}
    heads = tuple(f"{path}/" for path in paths)
    yield from (key for key in keys if key.startswith(heads) and _PART.fullmatch(key))
    needed = {node for record in staying for node in group_keys(_group_of(record))}
    above = {node for path in paths for node in group_keys(path)}
    yield from sorted((above - needed) & {*keys})


def _group_of(record: RecordKey) -> str:
    """Path of the innermost node that a record needs to be there."""
    return record.path.rpartition("/")[0] if record.kind == "result" else record.path
