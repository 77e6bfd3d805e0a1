"""The feature store: what cvbench keeps of a data set's way through a backbone, in one Zarr hierarchy.

    <dataset>/<split>/<backbone>/<view>/<tap>     (N, ...) arrays, pre-allocated, written unit by unit
    <dataset>/<split>/samples/{id,label,...}      the sample table, in store order

Writing: `begin` a split, `declare` a group, then for each unit that is `missing` taps a `writer`, closed by its commit.
Reading: `tree`, `layer`, `samples`, `status`. Readers see committed units only.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError, IntegrityError, ResourceError, UnknownNameError, UsageError
from cvbench.hints import command
from cvbench.storage.features import making, tap_arrays
from cvbench.storage.features import split as splits
from cvbench.storage.features.encoding import Encoding
from cvbench.storage.features.inventory import Declared, LayerInfo, declared, layer_infos
from cvbench.storage.features.journal import resume
from cvbench.storage.features.keys import GroupKey
from cvbench.storage.features.layer import FeatureLayer
from cvbench.storage.features.ledger import FORMAT, BadSample, Commit, Ledger, ObjectRecord, TapRecord, body_digest
from cvbench.storage.features.nodes import ArraySpec, array_document, create_groups, refuse_other_array
from cvbench.storage.features.root import Mode, make_root, open_root
from cvbench.storage.features.split import SplitInfo
from cvbench.storage.features.units import Unit, is_unit
from cvbench.storage.features.writer import UnitWriter
from cvbench.storage.objects.base import Objects
from cvbench.storage.objects.keys import LEDGER, is_name
from cvbench.storage.objects.open import open_objects

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


class FeatureStore:
    """A feature store at a path or URL. Picklable; safe to open in any number of processes."""

    def __init__(self, objects: Objects, mode: Mode, format: int = FORMAT) -> None:
        self.objects, self.mode = objects, mode
        self.ledger = Ledger(objects, format)
        self._made = True  # where it is handed over: only `open` finds that there is none
        self._encodings: dict[tuple[GroupKey, str], Encoding] = {}
        self._fingerprints: dict[GroupKey, dict[str, Any]] = {}
        self._splits: dict[tuple[str, str], SplitInfo] = {}

    @classmethod
    def open(cls, url: str | Path | Objects, mode: Mode = "r") -> FeatureStore:
        """Open a store; with mode "a" what is written first, a split or a result, makes it if there is none.

        Mode "r+" is for what reads a store and keeps something there: it opens as "r" does and makes nothing, not even
        in a place that cannot be written. Only a repair that was interrupted is finished before, where it can be.

        Raises:
            DataUnavailableError: Nothing is there, and the mode is not "a".
            IntegrityError: Something is there that is no store of ours, or one of a newer format; or the root node is
                lost or damaged. Mode "a" writes a lost one anew, since it is a constant, and finishes a repair that was
                interrupted.
        """
        objects = url if isinstance(url, Objects) else open_objects(url)
        if mode == "a":
            resume(objects)
        elif mode == "r+":
            with suppress(ResourceError):  # a place that cannot be written is read as it is
                resume(objects)
        format, made = open_root(objects, mode)
        store = cls(objects, mode, format)
        store._made = made
        return store

    @property
    def url(self) -> str:
        """Path or URL."""
        return self.objects.url

    def __reduce__(self) -> tuple[Any, ...]:
        return (FeatureStore, (self.objects, self.mode, self.ledger.format))

    def __repr__(self) -> str:
        return f"FeatureStore({self.url!r}, mode={self.mode!r})"

    # Writing

    def make(self) -> None:
        """Make the place a store if it is none; whoever writes first does."""
        if not self._made:
            make_root(self.objects, self.ledger.format)
            self._made = True

    def begin(self, info: SplitInfo) -> SplitInfo:
        """Freeze a split and its sample table, or get what is frozen: unit, batch and classes then are the stored ones.

        Raises:
            FingerprintMismatchError: Another manifest, order or seed is frozen.
        """
        self._writable()
        make_root(self.objects, self.ledger.format)
        return splits.begin(self.ledger, info)

    def declare(
        self, group: GroupKey, fingerprint: Mapping[str, Any], arrays: Sequence[ArraySpec], *, codec: str = "none"
    ) -> None:
        """Create a group's arrays, after its fingerprint agreed with the stored one. More taps may be added any time.

        Args:
            group: Where; its split must have begun.
            fingerprint: All that affects bytes, as JSON; kept whole. The codec joins it.
            arrays: The arrays to create where absent.
            codec: See `storage.features.codecs`.

        Raises:
            FingerprintMismatchError: Before any write, naming every differing field with both values.
        """
        self._writable()
        frozen = self.split(group.dataset, group.split)
        wanted = self.frozen(fingerprint, codec)
        stored = making.agree(self.ledger, group, wanted)
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
            making.refuse_other(self.ledger.get(group.fingerprint) or {}, wanted, group)
        for tap in absent:
            tap_arrays.create(self.ledger, group, tap, documents[tap])
        self.objects.settle(group.array(tap) for tap in absent)

    def agree(self, group: GroupKey, fingerprint: Mapping[str, Any], *, codec: str = "none") -> dict[str, Any] | None:
        """The stored fingerprint of a group, or None if there is none. Writes nothing: with several groups to declare,
        ask for all of them first.

        A lost fingerprint is made again by `declare` if what is committed was made under the very same one.

        Raises:
            FingerprintMismatchError, IntegrityError: As `making.agree`.
        """
        return making.agree(self.ledger, group, self.frozen(fingerprint, codec))

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
        if not is_unit(unit, frozen.n, frozen.unit):
            raise UsageError(f"{unit} is no unit of {group.dataset}/{group.split}, which has units of {frozen.unit}")
        encodings = {tap: self.encoding(group, tap) for tap in taps}
        return UnitWriter(self.ledger, group, encodings, unit, body_digest(self.fingerprint(group)))

    def frozen(self, fingerprint: Mapping[str, Any], codec: str) -> dict[str, Any]:
        """The record that `declare` freezes for a group."""
        return making.frozen(self.ledger, fingerprint, codec)

    def _writable(self) -> None:
        if self.mode == "r":
            raise UsageError("the feature store was opened for reading", where=self.url, fix='open it with mode="a"')

    # Reading

    def groups(self) -> list[GroupKey]:
        """All declared groups, sorted; those whose fingerprint is lost too, while anything else of them is there."""
        return list(self.declared())

    def declared(self) -> dict[GroupKey, Declared]:
        """All groups, sorted, with their taps and the keys of their commits: one listing."""
        return declared(self.objects.list(f"{LEDGER}/"))

    def taps(self, group: GroupKey) -> list[str]:
        """The declared taps of a group, sorted by name."""
        prefix = f"{LEDGER}/{group.path}/arrays/"
        names = [key[len(prefix) : -len(".json")] for key in self.objects.list(prefix) if key.endswith(".json")]
        return [name for name in names if is_name(name)]

    def fingerprint(self, group: GroupKey) -> dict[str, Any]:
        """A copy of the record that `declare` froze: {"format", "codec", "fingerprint": {...}}; it may be changed.

        Raises:
            DataUnavailableError: The group was never declared.
            IntegrityError: It is damaged, or lost while other records of the group are there.
        """
        return copy.deepcopy(self._recorded(group))

    def _recorded(self, group: GroupKey) -> dict[str, Any]:
        if group not in self._fingerprints:
            stored = making.read_fingerprint(self.ledger, group)
            if stored is None:
                raise making.lost(group) if group in self.groups() else self._absent(group.path)
            self._fingerprints[group] = stored
        return self._fingerprints[group]

    def commits(self, group: GroupKey, listed: Sequence[str] | None = None) -> list[Commit]:
        """All commit records of a group, in unit order.

        Args:
            group: Whose.
            listed: Their keys, as `declared` has shown them; None: those that are there now.

        Raises:
            IntegrityError: One is damaged, or was made under another fingerprint than the stored one.
        """
        found = self.ledger.commits(group) if listed is None else self.ledger.read(listed)
        return list(self._checked(group, found))

    def each_commit(self, group: GroupKey, listed: Sequence[str] | None = None) -> Iterator[Commit]:
        """The commit records of a group one after another, as `commits` but in the order of their keys; none is kept.

        Raises:
            IntegrityError: As `commits`.
        """
        keys = self.objects.list(group.commits) if listed is None else listed
        return self._checked(group, self.ledger.each(keys))

    def _checked(self, group: GroupKey, commits: Iterable[Commit]) -> Iterator[Commit]:
        """Commits of a group, each refused if it was made under another fingerprint than the stored one."""
        made = None
        for commit in commits:
            made = made or body_digest(self._recorded(group))
            making.check_commit(group, commit, made)
            yield commit

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
        """The encoding of a tap's array.

        Raises:
            UnknownNameError: No such tap, but others: the nearest are named.
            DataUnavailableError: Nothing of the group is there.
        """
        if (group, tap) not in self._encodings:
            found = tap_arrays.read(self.ledger, group, tap)
            if found is None:
                known = self.taps(group)
                raise UnknownNameError.among("stored tap", tap, known) if known else self._absent(group.path)
            self._encodings[group, tap] = found
        return self._encodings[group, tap]

    def layer(self, group: GroupKey, tap: str, commits: Sequence[Commit] | None = None) -> FeatureLayer:
        """One tap's features, with the units of `commits`, of the group; None: with those that are committed now."""
        return FeatureLayer(self, group, tap, commits)

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
        return [
            info
            for group, found in self.declared().items()
            for info in layer_infos(
                group, {tap: self.encoding(group, tap) for tap in found.taps}, self.each_commit(group, found.commits)
            )
        ]

    def source(self, dataset: str, split: str | None = None) -> str:
        """The spec of files of one's own that a data set was extracted from; "" if none is recorded.

        It may be somebody else's: say it, and open it only if what it opens has the split's digest.
        """
        return self.sources([dataset], split).get(dataset, "")

    def sources(self, datasets: Collection[str], split: str | None = None) -> dict[str, str]:
        """Data set -> what `source` is of it, by one listing; those without one are left out."""
        found: dict[str, str] = {}
        for name, its in self.splits():
            if name in datasets and name not in found and split in (None, its):
                found |= {name: known} if (known := splits.read_source(self.ledger, name, its)) else {}
        return found

    def spec_to_type(self, dataset: str, split: str | None = None) -> str:
        """The spec of a data set for a command to paste: as recorded, that of a variant from its base."""
        from cvbench.storage.datasets import typed_spec
        from cvbench.storage.datasets.variant import parse_name
        from cvbench.storage.datasets.variant import suffix as transform_text

        base, transform = parse_name(dataset)
        with suppress(IntegrityError):  # a damaged record is told by whoever reads it, not by a hint
            if known := self.source(dataset, split) or self.source(dataset):
                return known
            if transform is not None and (known := self.source(base)):
                return known + transform_text(transform)
        return typed_spec(dataset)

    def _absent(self, path: str) -> DataUnavailableError:
        there = sorted({g.path for g in self.groups()})
        dataset = path.split("/", 1)[0]
        return DataUnavailableError(
            f"the store holds nothing of {path}",
            where=self.url,
            why=f"it holds: {', '.join(there) or 'nothing yet'}",
            fix=command("extract", dataset=self.spec_to_type(dataset), store=self.url),
        )
