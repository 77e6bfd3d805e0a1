"""The feature store: what cvbench keeps of a data set's way through a backbone, in one Zarr hierarchy.

    <dataset>/<split>/<backbone>/<view>/<tap>     (N, ...) arrays, pre-allocated, written unit by unit
    <dataset>/<split>/samples/{id,label,...}      the sample table, in store order

Writing: `begin` a split, `declare` a group, then for each unit that is `missing` taps a `writer`, closed by its commit.
Reading: `tree`, `layer`, `samples`, `status`. Readers see committed units only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import (
    DataUnavailableError,
    FingerprintMismatchError,
    IntegrityError,
    UnknownNameError,
    UsageError,
)
from cvbench.hints import command
from cvbench.storage import split as splits
from cvbench.storage.encoding import Encoding
from cvbench.storage.fingerprint import canonical, refuse_if_different
from cvbench.storage.journal import resume
from cvbench.storage.keys import LEDGER, REPAIR, GroupKey, is_name, record_key
from cvbench.storage.layer import FeatureLayer
from cvbench.storage.ledger import (
    FORMAT,
    BadSample,
    Commit,
    Ledger,
    ObjectRecord,
    TapRecord,
    body_digest,
    digest,
    unseal,
)
from cvbench.storage.nodes import (
    ArraySpec,
    array_document,
    check_attributes,
    create_array,
    create_groups,
    create_root,
    refuse_other_array,
)
from cvbench.storage.objects import Objects
from cvbench.storage.objects_open import open_objects
from cvbench.storage.parse import MOST_BYTES, Fields, read_json
from cvbench.storage.split import SplitInfo
from cvbench.storage.units import Unit, plan_units
from cvbench.storage.writer import UnitWriter

__all__ = [
    "ArraySpec",
    "BadSample",
    "Commit",
    "FeatureLayer",
    "FeatureStore",
    "GroupKey",
    "LayerInfo",
    "ObjectRecord",
    "SplitInfo",
    "TapRecord",
    "Unit",
    "UnitWriter",
]

Mode = Literal["r", "a"]
_MADE_AGAIN = "the same `cvbench extract` as before writes it again"


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


class FeatureStore:
    """A feature store at a path or URL. Picklable; safe to open in any number of processes."""

    def __init__(self, objects: Objects, mode: Mode, format: int = FORMAT) -> None:
        self.objects, self.mode = objects, mode
        self.ledger = Ledger(objects, format)
        self._encodings: dict[tuple[GroupKey, str], Encoding] = {}
        self._splits: dict[tuple[str, str], SplitInfo] = {}

    @classmethod
    def open(cls, url: str | Path | Objects, mode: Mode = "r") -> FeatureStore:
        """Open a store; with mode "a" create it if there is none.

        Raises:
            DataUnavailableError: Mode "r" and nothing is there.
            IntegrityError: Something is there that is no store of ours, or one of a newer format; or the root node is
                lost or damaged. Mode "a" writes a lost one anew, since it is a constant, and finishes a repair that was
                interrupted.
        """
        objects = url if isinstance(url, Objects) else open_objects(url)
        if mode == "a":
            resume(objects)
        root = objects.get("zarr.json")
        if root is None:
            format = _refuse_if_nothing(objects, mode)
            create_root(objects, format)
            root = objects.get("zarr.json") or b""  # now ours, or that of a process that was faster
        return cls(objects, mode, _format_of(root, objects))

    @property
    def url(self) -> str:
        """Path or URL."""
        return self.objects.url

    def __reduce__(self) -> tuple[Any, ...]:
        return (FeatureStore, (self.objects, self.mode, self.ledger.format))

    def __repr__(self) -> str:
        return f"FeatureStore({self.url!r}, mode={self.mode!r})"

    # Writing

    def begin(self, info: SplitInfo) -> SplitInfo:
        """Freeze a split and its sample table, or get what is frozen: unit, batch and classes then are the stored ones.

        Raises:
            FingerprintMismatchError: Another manifest, order or seed is frozen.
        """
        self._writable()
        return splits.begin(self.ledger, info)

    def declare(
        self, group: GroupKey, fingerprint: Mapping[str, Any], arrays: Sequence[ArraySpec], *, codec: str = "none"
    ) -> None:
        """Create a group's arrays, after its fingerprint agreed with the stored one. More taps may be added any time.

        Args:
            group: Where; its split must have begun.
            fingerprint: All that affects bytes, as JSON; kept whole. The codec joins it.
            arrays: The arrays to create where absent.
            codec: See `storage.codecs`.

        Raises:
            FingerprintMismatchError: Before any write, naming every differing field with both values.
        """
        self._writable()
        frozen = self.split(group.dataset, group.split)
        wanted = self.frozen(fingerprint, codec)
        stored = self.agree(group, fingerprint, codec=codec)
        sharded = self.objects.sharded
        documents = {s.tap: array_document(s, frozen.n, frozen.unit, codec, sharded=sharded) for s in arrays}
        there = {tap: self.objects.get(f"{group.path}/{tap}/zarr.json") for tap in documents}
        absent = [tap for tap in documents if there[tap] is None or self.objects.size(group.array(tap)) is None]
        for tap, node_bytes in there.items():
            if node_bytes is not None:
                refuse_other_array(f"{group.path}/{tap}", node_bytes, documents[tap], attributes=tap in absent)
                if tap not in absent:
                    self.encoding(group, tap)  # as its record says
        if stored is not None and not absent:
            return
        create_groups(self.objects, group.path)
        if stored is None and not self.ledger.put(group.fingerprint, wanted):
            _refuse(self.ledger.get(group.fingerprint) or {}, wanted, group)
        for tap in absent:
            data = documents[tap]
            node = {"key": f"{group.path}/{tap}/zarr.json", "size": len(data), "blake3": digest(data)}
            record = {"format": self.ledger.format, "tap": tap, "node": node}
            known = self.ledger.get(group.array(tap))
            if known is not None and known != record:
                raise IntegrityError(
                    "an array's metadata is lost, and this version would write other bytes than were recorded",
                    where=f"{group.path}/{tap}/zarr.json",
                    fix=REPAIR,
                )
            create_array(self.objects, f"{group.path}/{tap}", data)
            self.ledger.put(group.array(tap), record, settle=False)
        self.objects.settle(group.array(tap) for tap in absent)

    def agree(self, group: GroupKey, fingerprint: Mapping[str, Any], *, codec: str = "none") -> dict[str, Any] | None:
        """The stored fingerprint of a group, or None if there is none. Writes nothing: with several groups to declare,
        ask for all of them first.

        A lost fingerprint is made again by `declare` if what is committed was made under the very same one.

        Raises:
            FingerprintMismatchError: It differs from the one given, naming every differing field with both values; or
                it is lost, and another one is named by what is committed.
            IntegrityError: The commits name another fingerprint than the stored one, or it is lost and they name none.
        """
        stored = self.ledger.get(group.fingerprint)
        wanted = self.frozen(fingerprint, codec)
        if stored is not None:
            _refuse(stored, wanted, group)
        self._check_made(group, wanted, lost=stored is None)
        return stored

    def _check_made(self, group: GroupKey, wanted: Mapping[str, Any], *, lost: bool) -> None:
        """Refuse to add to commits that were made under another fingerprint than `wanted`."""
        keys = [key for key in self.objects.list(group.commits) if key.endswith(".json")]
        # One commit tells whose fingerprint lies there; only where it is lost, what each was made under matters.
        for key in keys if lost else keys[:1]:
            commit = self.ledger.commit(key)
            made = None if commit is None else commit.fingerprint
            if lost and commit is not None and made is None:
                raise IntegrityError(
                    "the fingerprint of these features is lost, and their commits do not say what they were made with",
                    where=group.fingerprint,
                    why="a store of format 1 does not keep it; nothing was written",
                    fix="use another --store",
                )
            if made is not None and made != body_digest(wanted):
                if lost:
                    raise FingerprintMismatchError(
                        "the fingerprint of these features is lost, and they were made in another way than asked for; "
                        "nothing was written",
                        where=group.fingerprint,
                        why=f"{key} names another fingerprint",
                        fix="run with the settings of the first run, which writes it again; or use another --store",
                    )
                raise _foreign(group, key)

    def missing(self, group: GroupKey, taps: Sequence[str], unit: Unit) -> list[str]:
        """The taps of `unit` that are not committed."""
        return self.pending(group, taps, [unit]).get(unit, [])

    def pending(self, group: GroupKey, taps: Sequence[str], units: Iterable[Unit]) -> dict[Unit, list[str]]:
        """For each unit with anything to do, the taps that are not committed: one listing for all units."""
        return self.ledger.missing(group, taps, units)

    def writer(self, group: GroupKey, taps: Sequence[str], unit: Unit) -> UnitWriter:
        """A writer of these taps of one unit. The group must be declared."""
        self._writable()
        frozen = self.split(group.dataset, group.split)
        if unit not in plan_units(frozen.n, frozen.unit)[unit.index : unit.index + 1]:
            raise UsageError(f"{unit} is no unit of {group.dataset}/{group.split}, which has units of {frozen.unit}")
        encodings = {tap: self.encoding(group, tap) for tap in taps}
        return UnitWriter(self.ledger, group, encodings, unit, body_digest(self.fingerprint(group)))

    def frozen(self, fingerprint: Mapping[str, Any], codec: str) -> dict[str, Any]:
        """What `declare` freezes for a group."""
        return {"format": self.ledger.format, "codec": codec, "fingerprint": canonical(fingerprint)}

    def _writable(self) -> None:
        if self.mode != "a":
            raise UsageError("the feature store was opened for reading", where=self.url, fix='open it with mode="a"')

    # Reading

    def groups(self) -> list[GroupKey]:
        """All declared groups, sorted; those whose fingerprint is lost too, while anything else of them is there."""
        keys = (key.split("/") for key in self.objects.list(f"{LEDGER}/"))
        found = {tuple(p[1:5]) for p in keys if len(p) >= 6 and p[5] in ("fingerprint.json", "arrays", "commits")}
        return sorted(GroupKey(*parts) for parts in found if all(map(is_name, parts)))

    def taps(self, group: GroupKey) -> list[str]:
        """The declared taps of a group, sorted by name."""
        prefix = f"{LEDGER}/{group.path}/arrays/"
        names = [key[len(prefix) : -len(".json")] for key in self.objects.list(prefix) if key.endswith(".json")]
        return [name for name in names if is_name(name)]

    def fingerprint(self, group: GroupKey) -> dict[str, Any]:
        """What `declare` froze: {"format", "codec", "fingerprint": {...}}.

        Raises:
            DataUnavailableError: The group was never declared.
            IntegrityError: It is damaged, or lost while other records of the group are there.
        """
        stored = self.ledger.get(group.fingerprint)
        if stored is None:
            raise _lost(group) if group in self.groups() else self._absent(group.path)
        fields = Fields(stored, group.fingerprint).only("format", "codec", "fingerprint")
        fields.integer("format", least=1, most=self.ledger.format)
        fields.text("codec")
        fields.mapping("fingerprint")
        return stored

    def commits(self, group: GroupKey) -> list[Commit]:
        """All commit records of a group, in unit order.

        Raises:
            IntegrityError: One is damaged, or was made under another fingerprint than the stored one.
        """
        found = self.ledger.commits(group)
        if not found:
            return found
        made = body_digest(self.fingerprint(group))
        for commit in found:
            if commit.fingerprint not in (None, made):
                raise _foreign(group, group.commit(commit.unit, commit.taps))
        return found

    def split(self, dataset: str, split: str) -> SplitInfo:
        """The frozen settings and sample table of a split."""
        if (dataset, split) not in self._splits:
            found = splits.read_split(self.ledger, dataset, split)
            if found is None:
                raise self._absent(f"{dataset}/{split}")
            self._splits[dataset, split] = found
        return self._splits[dataset, split]

    def splits(self) -> list[tuple[str, str]]:
        """(dataset, split) of every split that was begun, sorted."""
        keys = (key.split("/") for key in self.objects.list(f"{LEDGER}/") if key.endswith("/split.json"))
        return sorted((parts[1], parts[2]) for parts in keys if len(parts) == 4 and all(map(is_name, parts[1:3])))

    def samples(self, dataset: str, split: str) -> dict[str, NDArray[Any]]:
        """The sample table in store order: id, label, factors; arrays (N,)."""
        info = self.split(dataset, split)
        return {"id": info.ids, "label": info.labels, **info.factors}

    def encoding(self, group: GroupKey, tap: str) -> Encoding:
        """How the objects of a tap's array are made.

        Raises:
            UnknownNameError: No such tap, but others: the nearest are named.
            DataUnavailableError: Nothing of the group is there.
        """
        if (group, tap) not in self._encodings:
            self._encodings[group, tap] = self._read_encoding(group, tap)
        return self._encodings[group, tap]

    def _read_encoding(self, group: GroupKey, tap: str) -> Encoding:
        path = f"{group.path}/{tap}"
        key = f"{path}/zarr.json"
        record, node = self.ledger.get(group.array(tap)), self.objects.take(key, MOST_BYTES)
        if record is None and node is None:
            known = self.taps(group)
            raise UnknownNameError.among("stored tap", tap, known) if known else self._absent(group.path)
        if record is None or node is None:
            lost = group.array(tap) if record is None else key
            raise IntegrityError("half of what describes an array is lost", where=lost, fix=_MADE_AGAIN)
        fields = Fields(record, group.array(tap)).only("format", "tap", "node")
        named = fields.object("node").only("key", "size", "blake3")
        if fields.text("tap") != tap or named.text("key") != key:
            raise fields.wrong("node", f"it is not that of {path}")
        ObjectRecord(named.integer("size"), named.hex("blake3")).check_digest(node, key)
        encoding = Encoding(path, node)
        check_attributes(encoding)
        return encoding

    def layer(self, group: GroupKey, tap: str) -> FeatureLayer:
        """One tap's features, with the units that are committed now."""
        return FeatureLayer(self, group, tap)

    def status(self, dataset: str, split: str, backbone: str, view: str, tap: str) -> NDArray[np.int8]:
        """(N,) int8: 0 not committed, 1 there, 2 the sample is unreadable."""
        layer = self.layer(GroupKey(dataset, split, backbone, view), tap)
        status = np.zeros(layer.shape[0], np.int8)
        for unit in layer.units:
            status[unit.start : unit.stop] = 1
        status[[sample.row for sample in layer.bad]] = 2
        return status

    def tree(self) -> list[LayerInfo]:
        """Every declared array with what is committed of it. Reads the ledger only."""
        return [info for group in self.groups() for info in self._group_infos(group)]

    def _group_infos(self, group: GroupKey) -> list[LayerInfo]:
        commits = self.commits(group)
        infos = []
        for tap in self.taps(group):
            ours = list({c.unit.index: c for c in commits if tap in c.taps}.values())
            encoding = self.encoding(group, tap)
            infos.append(
                LayerInfo(
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
            )
        return infos

    def _absent(self, path: str) -> DataUnavailableError:
        from cvbench.storage.datasets import typed_spec

        there = sorted({g.path for g in self.groups()})
        dataset = path.split("/", 1)[0]
        return DataUnavailableError(
            f"the store holds nothing of {path}",
            where=self.url,
            why=f"it holds: {', '.join(there) or 'nothing yet'}",
            fix=command("extract", dataset=typed_spec(dataset), store=self.url),
        )


def _refuse_if_nothing(objects: Objects, mode: Mode) -> int:
    """Of a place without a root node: the format of a store that may be made or mended there; else raise."""
    known = evidence(objects)
    if known and mode == "r":
        raise IntegrityError(
            "the root node of the store is lost", where=f"{objects.url}/zarr.json", fix=f"{REPAIR}; so does `extract`"
        )
    if mode == "r":
        raise DataUnavailableError(
            "there is no feature store",
            where=objects.url,
            fix=f"{command('extract', dataset='digits', store=objects.url)}  # makes one; or name another",
        )
    strays = [key for key, kind in objects.survey() if kind != "folder" and key != f"{LEDGER}/zarr.json"]
    if strays and not known:
        raise IntegrityError(
            "the place is not empty and holds no feature store",
            where=objects.url,
            why=f"there is {strays[0]}",
            fix="name a store of cvbench, or a place that does not exist yet, with --store",
        )
    return known or FORMAT


def evidence(objects: Objects) -> int | None:
    """The format of the records of ours that lie here, which make this a store even without its root node."""
    for key, kind in objects.survey(f"{LEDGER}/"):
        place = record_key(key) if kind == "file" else None
        if place is None or place.kind not in ("split", "fingerprint", "array"):
            continue
        try:
            format = unseal(objects.get(key) or b"", key).get("format")
        except IntegrityError:
            continue
        if type(format) is int and 1 <= format <= FORMAT:
            return format
    return None


def _format_of(root: bytes, objects: Objects) -> int:
    """The format of a store, from the attributes of its root.

    Raises:
        IntegrityError: The root is damaged, is none of ours, or is of a newer format.
    """
    url = objects.url
    try:
        node = Fields(read_json(root, url), url)
        version = node.object("attributes").object("cvbench").integer("format", least=1)
    except IntegrityError as error:
        _refuse_damaged_root(objects)
        raise IntegrityError(
            "there is a zarr store, but it is not one of cvbench", where=url, why=error.why or error.what
        ) from error
    if version > FORMAT:
        _refuse_damaged_root(objects)
        raise IntegrityError(
            f"the store has format {version}, this cvbench reads up to {FORMAT}", where=url, fix="use a newer cvbench"
        )
    return version


def _refuse_damaged_root(objects: Objects) -> None:
    """Say that a root node which is none of ours is a damaged one, where the records are ours."""
    if evidence(objects):
        raise IntegrityError("the root node of the store is damaged", where=f"{objects.url}/zarr.json", fix=REPAIR)


def _lost(group: GroupKey) -> IntegrityError:
    return IntegrityError(
        f"the fingerprint of {group.path} is lost, so nothing says how its features were made",
        where=group.fingerprint,
        fix=f"{_MADE_AGAIN}, and refuses any other",
    )


def _foreign(group: GroupKey, commit: str) -> IntegrityError:
    return IntegrityError(
        "features were made under another fingerprint than the one that is stored",
        where=group.fingerprint,
        why=f"{commit} names another",
        fix=REPAIR,
    )


def _refuse(stored: Mapping[str, Any], wanted: Mapping[str, Any], group: GroupKey) -> None:
    def flat(record: Mapping[str, Any]) -> dict[str, Any]:
        return {"format": record.get("format"), "codec": record.get("codec"), **record.get("fingerprint", {})}

    refuse_if_different(flat(stored), flat(wanted), group.fingerprint)
