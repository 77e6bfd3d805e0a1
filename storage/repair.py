"""A way back from damage: forget what is damaged, so that the command that made it makes it again.

A record is removed before the objects that it names: at no time does the ledger promise what is not there. What was
sound stays, and a repeated extraction adopts it. Structure (the root, a split, a fingerprint, an array's metadata)
cannot be made again by one unit; it is left and named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cvbench.errors import IntegrityError
from cvbench.storage.features import FeatureStore
from cvbench.storage.keys import LEDGER
from cvbench.storage.ledger import Commit, unseal
from cvbench.storage.verify import Problem, verify


@dataclass(frozen=True)
class RepairReport:
    """What was (or with dry_run would be) forgotten.

    Attributes:
        forgotten: Keys of the records: commits of units, partials and results.
        removed: Keys of damaged objects that they named.
        left: What cannot be mended so.
    """

    url: str
    forgotten: tuple[str, ...]
    removed: tuple[str, ...]
    left: tuple[Problem, ...]
    dry_run: bool

    @property
    def ok(self) -> bool:
        """Whether nothing harmful is left."""
        return not self.left


def repair(store: FeatureStore, *, dry_run: bool = False) -> RepairReport:
    """Read every byte, and forget the units, partials and results that are damaged or not all there.

    Only while nothing writes to the store.

    Args:
        store: Opened for writing, unless `dry_run`.
        dry_run: Change nothing.
    """
    harmful = {problem.key: problem for problem in verify(store, deep=True).problems if problem.harmful}
    forgotten, removed = [], []
    for key in list(store.objects.list(f"{LEDGER}/")):
        if not _can_be_made_again(key):
            continue
        broken = [name for name in _named_by(store, key) if name in harmful]
        if key in harmful or broken:
            forgotten.append(key)
            removed += broken
    for key in [] if dry_run else [*forgotten, *removed]:
        store.objects.delete(key)
    left = tuple(problem for key, problem in harmful.items() if key not in {*forgotten, *removed})
    return RepairReport(store.url, tuple(forgotten), tuple(removed), left, dry_run)


def _can_be_made_again(key: str) -> bool:
    parts = key.split("/")
    return parts[1] in ("partials", "results") or parts[-2] == "commits"


def _named_by(store: FeatureStore, key: str) -> Iterator[str]:
    """The objects that a record names; none of a damaged record."""
    if not key.endswith(".json"):
        return
    try:
        record = unseal(store.objects.get(key) or b"", key)
        if key.split("/")[-2] == "commits":
            yield from (name for tap in Commit.from_dict(record, key).taps.values() for name in tap.objects)
        else:
            yield from record.get("objects", ())
    except (IntegrityError, KeyError, TypeError, AttributeError):
        return
