"""How much of each array of a store is there, by its ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cvbench.storage.features.encoding import Encoding
from cvbench.storage.features.keys import GroupKey
from cvbench.storage.features.ledger import Commit
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


def layer_info(group: GroupKey, tap: str, encoding: Encoding, commits: Sequence[Commit]) -> LayerInfo:
    """Sum up the commits of a group for one of its arrays."""
    ours = list({c.unit.index: c for c in commits if tap in c.taps}.values())
    return LayerInfo(
        group,
        tap,
        encoding.shape,
        encoding.dtype.name,
        committed=sum(len(c.unit) for c in ours),
        bad=sum(len(c.bad) for c in ours),
        nonfinite=sum(c.taps[tap].nonfinite for c in ours),
        bytes=sum(o.size for c in ours for o in c.taps[tap].objects.values()),
        codec=str(encoding.document["attributes"].get("codec", "")),
    )
