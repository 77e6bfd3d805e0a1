"""The frozen sample axis of a split: its settings, and the table of samples in store order."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import FingerprintMismatchError, IntegrityError, UsageError
from cvbench.storage.features.awaited import awaited, tidy
from cvbench.storage.features.codecs import quiet
from cvbench.storage.features.encoding import Encoding
from cvbench.storage.features.fingerprint import refuse_if_different
from cvbench.storage.features.keys import split_key
from cvbench.storage.features.ledger import Ledger, ObjectRecord, digest
from cvbench.storage.features.nodes import create_groups
from cvbench.storage.features.parse import MOST, Fields
from cvbench.storage.objects.base import Objects
from cvbench.storage.objects.keys import MAX_SOURCE, REPAIR, check_name, is_name

_ROWS = 65_536  # of one chunk of the sample table
_MOST_SAMPLES = 2**40
_MOST_CELL = 2**16  # bytes of a value: text of 16,384 characters


@dataclass(frozen=True, eq=False)
class SplitInfo:
    """Facts of a split that are fixed when its first sample is written.

    Attributes:
        dataset: Name of the data set, with `split` the place in the store.
        n: Number of samples N.
        dataset_digest: Digest of the data set's manifest.
        seed: Seed of the store order (`sample_order`).
        unit: Rows of a unit, a multiple of `batch`.
        batch: Rows of a batch.
        classes: Class names by label.
        ids: (N,) unicode, unique, in store order, like all that follow.
        labels: (N,) int64, -1 = none.
        factors: Name -> (N,) numbers or text.
        left_out: What the data set's reader found and did not take when the split was begun; only said, never compared.
        source: The spec of files of one's own when the split was begun, "" of a data set that its name opens. Only
            said: a store may come from others, so nobody opens it without a look at `dataset_digest`.
    """

    dataset: str
    split: str
    n: int
    dataset_digest: str
    seed: int
    unit: int
    batch: int
    classes: tuple[str, ...]
    ids: NDArray[Any]
    labels: NDArray[np.int64]
    factors: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    left_out: tuple[Mapping[str, Any], ...] = ()
    source: str = ""

    def columns(self) -> dict[str, NDArray[Any]]:
        """The sample table: id, label and the factors, as fixed-width arrays.

        Raises:
            UsageError: Wrong lengths, repeated ids, a unit that no batch divides, or a factor that is no array of
                numbers or text.
        """
        if self.n < 1 or self.unit < 1 or self.batch < 1 or self.unit % self.batch:
            raise UsageError(f"expected n >= 1 and a unit of whole batches, got {self.n=}, {self.unit=}, {self.batch=}")
        table = {"id": _fixed(self.ids, "id"), "label": np.asarray(self.labels, np.int64)}
        for name, values in self.factors.items():
            if check_name("factor", name) in {*table, "sample"}:  # "sample" is the axis
                raise UsageError(f"a factor cannot be named {name!r}")
            table[name] = _fixed(values, name)
        for name, values in table.items():
            if values.shape != (self.n,):
                raise UsageError(f"column {name!r} has shape {values.shape}, expected ({self.n},)")
        if len(np.unique(table["id"])) != self.n:
            raise UsageError(f"the sample ids of {self.dataset}/{self.split} are not unique")
        return table


def _fixed(values: Any, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind == "O":
        array = array.astype(np.str_)
    if array.dtype.kind == "U":
        return array.astype(f"<U{max(1, array.dtype.itemsize // 4)}")
    if array.dtype.kind not in "fiub":
        raise UsageError(f"column {name!r} has dtype {array.dtype}; numbers or text are kept")
    return array


def begin(ledger: Ledger, info: SplitInfo) -> SplitInfo:
    """Create the split, or return it with the settings that were frozen by the first run.

    The sample table is written first and `split.json` last, so a split that exists is complete; after a crash between
    the two, the same call goes on.

    Raises:
        FingerprintMismatchError: The split was begun with another manifest, order or seed.
        IntegrityError: Another run is writing, or one that was stopped left, a sample table of other content.
    """
    key = split_key(info.dataset, info.split)
    stored = _settings(ledger, info.dataset, info.split)
    if stored is None:
        table = info.columns()
        try:
            objects = write_samples(ledger.objects, f"{info.dataset}/{info.split}/samples", table)
        except IntegrityError:  # it is that of another run, which is about to write the record, or was stopped
            stored = awaited(lambda: _settings(ledger, info.dataset, info.split))
            if stored is None:
                raise
        else:
            stored = _freeze(ledger, info, objects, list(table))
    _refuse_other(stored, info, key)
    refuse_if_different(stored.identity, _identity(info), key)
    frozen = replace(info, unit=stored.unit, batch=stored.batch, classes=stored.classes)
    return replace(frozen, left_out=stored.left_out, source=stored.source)


def _freeze(ledger: Ledger, info: SplitInfo, objects: Mapping[str, ObjectRecord], columns: Sequence[str]) -> _Settings:
    """Write the record of a split whose sample table is there; what is recorded then, ours or a faster one's."""
    key = split_key(info.dataset, info.split)
    ledger.objects.settle(objects)
    record = _identity(info) | {"unit": info.unit, "batch": info.batch, "classes": list(info.classes)}
    record |= {"format": ledger.format, "columns": list(columns)}
    record |= {"left_out": [dict(entry) for entry in info.left_out]} if info.left_out else {}
    record |= {"source": info.source} if info.source else {}
    record |= {"objects": {name: {"size": o.size, "blake3": o.blake3} for name, o in objects.items()}}
    ledger.put(key, record)
    stored = _settings(ledger, info.dataset, info.split)
    if stored is None:
        raise IntegrityError(
            "a record vanished right after it was written",
            where=key,
            why="somebody removed it, or the disk or service does not keep what it said it kept",
            fix="the same command again",
        )
    return stored


def _refuse_other(stored: _Settings, info: SplitInfo, key: str) -> None:
    """Refuse other files under the same name, or the same files that have changed, in words.

    Raises:
        FingerprintMismatchError: Nothing was written.
    """
    if stored.identity["dataset_digest"] == info.dataset_digest or not (stored.source and info.source):
        return
    if stored.source != info.source:
        bare = info.source.partition("=")[2] if "=" in info.source.partition(":")[0] else info.source
        raise FingerprintMismatchError(
            f"the store's {info.dataset}/{info.split} is of other files; nothing was written",
            where=key,
            why=f"it is of {stored.source}, not of {info.source}",
            fix=f"give these a name of their own, --dataset {shlex.quote(f'NAME={bare}')}, or use another --store",
        )
    raise FingerprintMismatchError(
        f"the files of {info.dataset}/{info.split} are not those that were extracted; nothing was written",
        where=f"{key}: {info.source}",
        why=f"then {stored.identity['n']:,} samples, manifest {stored.identity['dataset_digest'][:12]}; "
        f"now {info.n:,}, {info.dataset_digest[:12]}: a file, a size, a label or a factor is another",
        fix="extract what is there now into another --store, or put the files back",
    )


def _identity(info: SplitInfo) -> dict[str, Any]:
    order = digest("\n".join(map(str, info.ids)).encode())
    return {"n": info.n, "dataset_digest": info.dataset_digest, "seed": info.seed, "order_digest": order}


@dataclass(frozen=True)
class _Settings:
    """A split's record: `identity` is n, dataset_digest, seed and order_digest."""

    identity: dict[str, Any]
    unit: int
    batch: int
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    objects: dict[str, ObjectRecord]
    left_out: tuple[Mapping[str, Any], ...]
    source: str


def _settings(ledger: Ledger, dataset: str, split: str) -> _Settings | None:
    """The record of a split, every field checked.

    Raises:
        IntegrityError: Fields are missing, unknown, or of a wrong type or value.
    """
    key = split_key(dataset, split)
    record = ledger.get(key)
    if record is None:
        return None
    fields = Fields(record, key)
    fields.only(
        *("n", "dataset_digest", "seed", "order_digest", "unit", "batch", "classes", "format", "columns", "objects"),
        *("left_out", "source"),
    )
    identity = {
        "n": fields.integer("n", least=1, most=_MOST_SAMPLES),
        "dataset_digest": fields.text("dataset_digest"),
        "seed": fields.integer("seed", least=-MOST),
        "order_digest": fields.hex("order_digest"),
    }
    batch = fields.integer("batch", least=1)
    unit = fields.integer("unit", least=batch)
    fields.integer("format", least=1, most=ledger.format)
    columns = fields.texts("columns")
    if unit % batch:
        raise fields.wrong("unit", "no whole number of batches")
    if columns[:2] != ("id", "label") or len(set(columns)) != len(columns) or not all(map(is_name, columns)):
        raise fields.wrong("columns", "expected id, label and names of factors")
    objects = fields.each("objects", ObjectRecord.parse)
    left_out = tuple(_left_out(entry) for entry in fields.objects("left_out")) if "left_out" in fields else ()
    source = fields.text("source") if "source" in fields else ""
    if len(source) > MAX_SOURCE or not source.isprintable():
        raise fields.wrong("source", "no name of files")
    return _Settings(identity, unit, batch, fields.texts("classes"), columns, objects, left_out, source)


def read_source(ledger: Ledger, dataset: str, split: str) -> str:
    """The source of a split, as in `SplitInfo`; "" also if it was never begun. Reads no sample table.

    Raises:
        IntegrityError: The record is damaged.
    """
    stored = _settings(ledger, dataset, split)
    return "" if stored is None else stored.source


def _left_out(entry: Fields) -> dict[str, Any]:
    entry.only("kind", "count", "names", "why")
    found: dict[str, Any] = {"kind": entry.text("kind"), "count": entry.integer("count")}
    return found | {"names": list(entry.texts("names")), "why": entry.text("why")}


def read_split(ledger: Ledger, dataset: str, split: str) -> SplitInfo | None:
    """The frozen split with its sample table, or None if it was never begun.

    Raises:
        IntegrityError: The record or the table is damaged; its key is named.
    """
    stored = _settings(ledger, dataset, split)
    if stored is None:
        return None
    path, n = f"{dataset}/{split}/samples", stored.identity["n"]
    table = {name: read_column(ledger.objects, f"{path}/{name}", n, stored.objects) for name in stored.columns}
    for name, kinds in {"id": "U", "label": "i"}.items():
        if table[name].dtype.kind not in kinds:
            raise IntegrityError(
                "a column of the sample table is of another type", where=f"{path}/{name}/zarr.json", fix=REPAIR
            )
    ids, labels = table.pop("id"), table.pop("label")
    frozen = {name: stored.identity[name] for name in ("n", "dataset_digest", "seed")}
    frozen |= {"unit": stored.unit, "batch": stored.batch, "classes": stored.classes, "left_out": stored.left_out}
    frozen |= {"source": stored.source}
    return SplitInfo(dataset, split, ids=ids, labels=labels, factors=table, **frozen)


def write_samples(objects: Objects, path: str, table: Mapping[str, NDArray[Any]]) -> dict[str, ObjectRecord]:
    """Create the arrays of the sample table; returns every object with size and digest."""
    create_groups(objects, path)
    written: dict[str, ObjectRecord] = {}
    for name, values in table.items():
        for key, data in sorted(_column_files(values).items(), key=lambda item: item[0] == "zarr.json"):
            full = f"{path}/{name}/{key}"
            if not objects.create(full, data) and objects.get(full) != data:
                raise IntegrityError(
                    "there is another sample table, which no record names yet",
                    where=full,
                    why="another run is under way, or one was stopped",
                    fix=f"the same command in a while; or, if no other run is under way, {tidy(objects.url)}",
                )
            written[full] = ObjectRecord(len(data), digest(data))
    return written


def _column_files(values: NDArray[Any]) -> dict[str, bytes]:
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    with quiet():
        array = zarr.create_array(
            MemoryStore(files),
            shape=values.shape,
            chunks=(min(len(values), _ROWS),),
            dtype=values.dtype,
            filters=None,
            compressors=[ZstdCodec(level=1), Crc32cCodec()],
            dimension_names=["sample"],
            chunk_key_encoding={"name": "default", "separator": "."},
            config={"write_empty_chunks": True},
        )
        array[...] = values
    return {key: value.to_bytes() for key, value in files.items()}


def read_column(objects: Objects, path: str, n: int, records: Mapping[str, ObjectRecord]) -> NDArray[Any]:
    """One column of the sample table, (n,).

    Args:
        records: What the split's record says of each object, by key.

    Raises:
        IntegrityError: An object of it is missing, damaged, or not the recorded one.
    """

    def recorded(key: str) -> bytes:
        if key not in records:
            raise IntegrityError("the record of a split does not name an object of its table", where=key, fix=REPAIR)
        data = objects.take(key, records[key].size)
        if data is None:
            raise IntegrityError(
                "an object of the sample table is missing",
                where=key,
                why="the record of the split names it",
                fix=REPAIR,
            )
        records[key].check_digest(data, key)
        return data

    node = f"{path}/zarr.json"
    encoding = Encoding(path, recorded(node))
    if encoding.shape != (n,) or encoding.rows > max(n, _ROWS) or encoding.dtype.itemsize > _MOST_CELL:
        raise IntegrityError(
            "a column is not that of its split", where=node, why=f"{encoding.shape} instead of ({n},)", fix=REPAIR
        )
    keys = [encoding.key(index) for index in range(-(-n // encoding.rows))]
    return np.concatenate([encoding.decode(recorded(key), key) for key in keys])[:n]
