"""Names inside a store, and the keys made of them.

<dataset>/<split>/<backbone>/<view>/<tap>          feature array          <dataset>/<split>/samples/<column>
ledger/<dataset>/<split>/split.json                frozen settings of the sample axis
ledger/<dataset>/<split>/<backbone>/<view>/fingerprint.json, arrays/<tap>.json, commits/<unit>-<taps>.json
ledger/partials/<dataset>/<split>/<analysis>/<digest>/<unit>.safetensors
ledger/results/<dataset>/<split>/<analysis>/<digest>.json     marker of results/<dataset>/...
ledger/repair.json                                 journal of a repair that is under way

A key may come from a stranger's record, so nothing is opened, made or removed before `check_key` has seen its key, and
nothing that a record names is looked at before `named_by` has compared it with what that record may name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cvbench.errors import IntegrityError
from cvbench.storage.features.units import Unit
from cvbench.storage.objects.keys import LEDGER, NAME, REPAIR, RESERVED, check_key, check_name

JOURNAL = f"{LEDGER}/repair.json"
"""What a repair is about to do, so that a killed one is finished by whoever opens the store for writing next."""

_CHUNK = re.compile(r"c(?:[./]\d+)*")
_PART = re.compile(rf"(?:.+/)?(?:zarr\.json|{_CHUNK.pattern})")


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


RecordKind = Literal["split", "fingerprint", "array", "commit", "partial", "result", "journal"]
_SPLIT = rf"{LEDGER}/(?!(?:{'|'.join(sorted(RESERVED))})/)({NAME}/{NAME})"
_GROUP = rf"{_SPLIT[:-1]}/(?!samples/){NAME}/{NAME})"
_RECORDS: dict[RecordKind, re.Pattern[str]] = {
    "commit": re.compile(rf"{_GROUP}/commits/(\d{{6,18}})-[0-9a-f]{{16}}\.json"),
    "partial": re.compile(rf"{LEDGER}/partials/({NAME}/{NAME}/{NAME}/{NAME})/(\d{{6,18}})\.safetensors"),
    "split": re.compile(rf"{_SPLIT}/split\.json"),
    "fingerprint": re.compile(rf"{_GROUP}/fingerprint\.json"),
    "array": re.compile(rf"{_GROUP}/arrays/({NAME})\.json"),
    "result": re.compile(rf"{LEDGER}/results/({NAME}/{NAME}/{NAME}/{NAME})\.json"),
    "journal": re.compile(re.escape(JOURNAL)),
}


@dataclass(frozen=True)
class RecordKey:
    """Facts that the key of a record tells.

    Attributes:
        key: Where the record lies.
        kind: What it is.
        path: The zarr path that it speaks for, and below which alone it may name objects: of a group for its
            fingerprint, arrays and commits, of the sample table for a split, of a result for its marker.
        tap: Of an array's record.
        unit: Index of the unit of a commit or a partial.
    """

    key: str
    kind: RecordKind
    path: str
    tap: str | None = None
    unit: int | None = None

    def may_name(self, key: str, tap: str | None = None) -> bool:
        """Whether an object is one that this record can have made; `tap` is the one that a commit names it for."""
        if not key.startswith(f"{self.path}/"):
            return False
        below = key[len(self.path) + 1 :]
        if self.kind == "array":
            return below == f"{self.tap}/zarr.json"
        if self.kind == "commit":
            return below.startswith(f"{tap}/") and _CHUNK.fullmatch(below, len(f"{tap}/")) is not None
        return self.kind in ("split", "result") and _PART.fullmatch(below) is not None


def record_key(key: str) -> RecordKey | None:
    """Parse the key of a record; None where no record of ours lies.

    >>> record_key("ledger/digits/all/vit/pooled/commits/000003-0123456789abcdef.json")
    ... # doctest: +ELLIPSIS
    RecordKey(key='ledger/...', kind='commit', path='digits/all/vit/pooled', tap=None, unit=3)
    >>> record_key("ledger/digits/all/notes.json") is None
    True
    """
    for kind, pattern in _RECORDS.items():
        match = pattern.fullmatch(key)
        if match is None:
            continue
        path, rest = (*match.groups(), None, None)[:2]
        if kind == "split":
            path = f"{path}/samples"
        elif kind == "result":
            path = f"results/{path}"
        numbered = kind in ("commit", "partial")
        return RecordKey(
            key, kind, path or "", tap=rest if kind == "array" else None, unit=int(rest) if numbered and rest else None
        )
    return None


def named_by(key: RecordKey, record: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The objects that a record names, by key: {"size": bytes, "blake3": hex, ...} of each.

    Raises:
        IntegrityError: It names an object that is not its own, with the record and the name; or it lacks fields.
    """
    found: dict[str, Mapping[str, Any]] = {}
    try:
        for tap, name, value in _objects(key, record):
            if not key.may_name(check_key(name), tap):
                raise IntegrityError("it is not its own", where=name)
            if type(value["size"]) is not int or value["size"] < 0 or not isinstance(value["blake3"], str):
                raise TypeError(f"size and digest of {name}")
            found[name] = value
        for column in record["columns"] if key.kind == "split" else ():
            if f"{key.path}/{column}/zarr.json" not in found:
                raise IntegrityError("it is not its own", where=f"column {column!r}")
    except IntegrityError as error:
        raise IntegrityError(
            "a record names an object that is not its own",
            where=key.key,
            why=f"it names {str(error.where)[:200]}; its own lie below {key.path}/",
            fix=REPAIR,
        ) from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise IntegrityError(
            "a record of the ledger lacks fields", where=key.key, why=f"it lacks {error}", fix=REPAIR
        ) from error
    return found


def _objects(key: RecordKey, record: Mapping[str, Any]) -> Iterator[tuple[str | None, str, Mapping[str, Any]]]:
    """(tap, key, description) of each object named."""
    if key.kind == "commit":
        for tap, one in record["taps"].items():
            yield from ((tap, name, value) for name, value in one["objects"].items())
    elif key.kind == "array":
        yield None, record["node"]["key"], record["node"]
    elif key.kind in ("split", "result"):
        yield from ((None, name, value) for name, value in record["objects"].items())
