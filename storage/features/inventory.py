"""How much of each array of a store is there, by its ledger."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cvbench.storage.features.encoding import Encoding
from cvbench.storage.features.keys import GroupKey
from cvbench.storage.features.ledger import Commit, TapRecord
from cvbench.storage.objects.keys import is_name


@dataclass(frozen=True)
class Declared:
    """Taps, sorted by name, and keys of the commits of a group, by one listing of the ledger."""

    taps: tuple[str, ...]
    commits: tuple[str, ...]


def declared(keys: Iterable[str]) -> dict[GroupKey, Declared]:
    """All groups of a ledger, sorted, by its keys; those whose fingerprint is lost too, while anything else is there.

    Args:
        keys: Sorted.
    """
    found: dict[tuple[str, ...], tuple[list[str], list[str]]] = {}
    for key in keys:
        parts = key.split("/")
        if len(parts) < 6 or parts[5] not in ("fingerprint.json", "arrays", "commits"):
            continue
        taps, commits = found.setdefault(tuple(parts[1:5]), ([], []))
        if parts[5] == "commits":
            commits.append(key)
        elif parts[5] == "arrays" and len(parts) == 7 and key.endswith(".json"):
            taps.append(parts[6].removesuffix(".json"))
    named = {GroupKey(*parts): lists for parts, lists in found.items() if all(map(is_name, parts))}
    return {group: Declared(tuple(filter(is_name, named[group][0])), tuple(named[group][1])) for group in sorted(named)}


@dataclass(frozen=True)
class LayerInfo:
    """One array of the store, and how much of it is there."""

    group: GroupKey
    tap: str
    shape: tuple[int, ...]
    dtype: str
    committed: int  # samples in committed units, bad ones included
    bad: int
    nonfinite: int
    bytes: int  # of the committed objects
    codec: str

    @property
    def path(self) -> str:
        """Path of the array in the store."""
        return f"{self.group.path}/{self.tap}"


def layer_infos(group: GroupKey, encodings: Mapping[str, Encoding], commits: Iterable[Commit]) -> list[LayerInfo]:
    """Sum up the commits of a group for each of these arrays.

    Args:
        encodings: By tap.
        commits: In the order of their keys, so that all of one unit come together. Memory: those of one unit.
    """
    totals = {tap: Counter[str]() for tap in encodings}
    for _, some in itertools.groupby(commits, lambda commit: commit.unit.index):
        # A tap stands twice only if a lagging listing had its first commit overlooked.
        latest = {tap: commit for commit in sorted(some, key=lambda c: sorted(c.taps)) for tap in commit.taps}
        for tap in latest.keys() & totals.keys():
            totals[tap].update(_counts(latest[tap], latest[tap].taps[tap]))
    return [_layer_info(group, tap, encoding, totals[tap]) for tap, encoding in encodings.items()]


def _counts(commit: Commit, record: TapRecord) -> dict[str, int]:
    size = sum(one.size for one in record.objects.values())
    return {"committed": len(commit.unit), "bad": len(commit.bad), "nonfinite": record.nonfinite, "bytes": size}


def _layer_info(group: GroupKey, tap: str, encoding: Encoding, total: Mapping[str, int]) -> LayerInfo:
    return LayerInfo(
        group,
        tap,
        encoding.shape,
        encoding.dtype.name,
        committed=total["committed"],
        bad=total["bad"],
        nonfinite=total["nonfinite"],
        bytes=total["bytes"],
        codec=str(encoding.document["attributes"].get("codec", "")),
    )
