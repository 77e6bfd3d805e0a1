"""Names inside a store, and the keys made of them.

<dataset>/<split>/<backbone>/<view>/<tap>          feature array          <dataset>/<split>/samples/<column>
ledger/<dataset>/<split>/split.json                frozen settings of the sample axis
ledger/<dataset>/<split>/<backbone>/<view>/fingerprint.json, arrays/<tap>.json, commits/<unit>-<taps>.json
ledger/partials/<dataset>/<split>/<analysis>/<digest>/<unit>.safetensors
ledger/results/<dataset>/<split>/<analysis>/<digest>.json     marker of results/<dataset>/...
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cvbench.errors import UsageError
from cvbench.storage.units import Unit

LEDGER = "ledger"
REPAIR = "`cvbench store repair` with the same --store forgets what is damaged; the same `extract` makes it again"
"""The way back from damage, for error messages."""

_RESERVED = {LEDGER, "results", "partials", "samples"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@=+-]{0,199}")


def check_name(kind: str, name: str) -> str:
    """`name` if it is a safe path segment, so that no name leaves the store or hides another.

    Raises:
        UsageError: Empty, reserved, too long, or with characters outside `A-Za-z0-9._@=+-`.
    """
    if not is_name(name):
        raise UsageError(f"{name!r} cannot be the name of a {kind}", why="allowed: letters, digits and ._@=+-")
    return name


def is_name(name: str) -> bool:
    """Whether `check_name` accepts it: what lies under another name is not ours."""
    return _NAME.fullmatch(name) is not None and name not in _RESERVED and name != "zarr.json"


@dataclass(frozen=True, order=True)
class GroupKey:
    """One backbone's view of one split: the arrays of its taps lie beside each other."""

    dataset: str
    split: str
    backbone: str
    view: str

    def __post_init__(self) -> None:
        for kind in ("dataset", "split", "backbone", "view"):
            check_name(kind, getattr(self, kind))

    @property
    def path(self) -> str:
        """Path of the zarr group."""
        return f"{self.dataset}/{self.split}/{self.backbone}/{self.view}"

    @property
    def fingerprint(self) -> str:
        """Key of the fingerprint."""
        return f"{LEDGER}/{self.path}/fingerprint.json"

    @property
    def commits(self) -> str:
        """Prefix of the commit records."""
        return f"{LEDGER}/{self.path}/commits/"

    def array(self, tap: str) -> str:
        """Key of the record that a tap's array exists."""
        return f"{LEDGER}/{self.path}/arrays/{check_name('tap', tap)}.json"

    def commit(self, unit: Unit, taps: Iterable[str]) -> str:
        """Key of the record of `unit` for exactly these taps."""
        return f"{self.commits}{unit.index:06d}-{taps_digest(taps)}.json"


def taps_digest(taps: Iterable[str]) -> str:
    """16 hex digits that name a set of taps, in any order."""
    import blake3

    return blake3.blake3("\n".join(sorted(taps)).encode()).hexdigest()[:16]


def split_key(dataset: str, split: str) -> str:
    """Key of the frozen settings of a split."""
    return f"{LEDGER}/{check_name('dataset', dataset)}/{check_name('split', split)}/split.json"
