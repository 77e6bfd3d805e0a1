"""How much of each array of a store is there, by its ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cvbench.storage.features.encoding import Encoding
from cvbench.storage.features.keys import GroupKey
from cvbench.storage.features.ledger import Commit


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
    """What the commits of a group say of one of its arrays."""
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
