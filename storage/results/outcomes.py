"""Small outcomes: partials (one per unit and analysis) and results (labelled data sets)."""

from __future__ import annotations

import json
import math
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError, UsageError, raise_if_lacking
from cvbench.storage.features.awaited import awaited, tidy
from cvbench.storage.features.codecs import ArrayForm, check_metadata, quiet
from cvbench.storage.features.encoding import check_chunk
from cvbench.storage.features.ledger import FORMAT, ObjectRecord, damaged
from cvbench.storage.features.ledger import digest as blake3_digest
from cvbench.storage.features.nodes import create_groups
from cvbench.storage.features.parse import Fields, read_json
from cvbench.storage.objects.keys import LEDGER, REPAIR, check_name, is_name

if TYPE_CHECKING:
    import xarray

    from cvbench.storage.features.store import FeatureStore

_CRC = struct.Struct("<I")
_PARTIAL = ".safetensors"
_SHORT = 8  # digits
_CHUNK = re.compile(r"(.+)/c(?:[./]\d+)*")
_MOST_PARTIAL, _MOST_RESULT = 2**30, 2**31  # bytes; ours have a few million


@dataclass(frozen=True, order=True)
class ResultKey:
    """Place of the outcomes of an analysis of a split. `digest` names the layers and all parameters."""

    dataset: str
    split: str
    analysis: str
    digest: str

    def __post_init__(self) -> None:
        for kind in ("dataset", "split", "analysis", "digest"):
            check_name(kind, getattr(self, kind))

    @property
    def name(self) -> str:
        """The four joined by `/`."""
        return f"{self.dataset}/{self.split}/{self.analysis}/{self.digest}"

    @property
    def short(self) -> str:
        """The first digits of the digest, which name a result for a person."""
        return self.digest[:_SHORT]

    @property
    def path(self) -> str:
        """Path of the zarr group."""
        return f"results/{self.name}"

    @property
    def marker(self) -> str:
        """Key of the record by which a result exists."""
        return f"{LEDGER}/results/{self.name}.json"

    @property
    def partials(self) -> str:
        """Prefix of the partials."""
        return f"{LEDGER}/partials/{self.name}/"

    def partial(self, unit: int) -> str:
        """Key of the partial of a unit."""
        return f"{self.partials}{unit:06d}{_PARTIAL}"


def put_partial(store: FeatureStore, key: ResultKey, unit: int, arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Keep what `measure` gave for a unit; False if a partial was there, which then stands.

    Args:
        arrays: Name -> float64 or int64 array of any shape.

    Raises:
        UsageError: Another dtype, which would lose the exact reduction.
    """
    from safetensors.numpy import save

    wrong = {name: str(a.dtype) for name, a in arrays.items() if a.dtype not in (np.float64, np.int64)}
    if wrong:
        raise UsageError(f"partials are float64 or int64 arrays, got {wrong}")
    name = key.partial(unit)
    ordered = {name: np.ascontiguousarray(arrays[name]).reshape(arrays[name].shape) for name in sorted(arrays)}
    data = save(ordered, metadata={"key": name})
    store.make()
    created = store.objects.create(name, data, _CRC.pack(zlib.crc32(data)))
    store.objects.settle([name])
    return created


def get_partial(store: FeatureStore, key: ResultKey, unit: int) -> dict[str, NDArray[Any]] | None:
    """The partial of a unit, or None if it was not measured.

    Raises:
        IntegrityError: It is damaged, or that of another unit or analysis; its key is named.
    """
    name = key.partial(unit)
    data = store.objects.take(name, _MOST_PARTIAL)
    return None if data is None else read_partial(data, name, store.ledger.format)


def read_partial(data: bytes, key: str, format: int = FORMAT) -> dict[str, NDArray[Any]]:
    """The arrays in the bytes of a partial of a store of that format, checked.

    A partial is a safetensors file (eight bytes of length, a JSON table, the values) and its crc32. No record of the
    ledger names it; from format 2 on it names its own key, so that one in another's place is told.

    Raises:
        IntegrityError: Anything is not as `put_partial` wrote it.
    """
    body, trailer = memoryview(data)[: -_CRC.size], data[-_CRC.size :]
    if trailer != _CRC.pack(zlib.crc32(body)):
        raise _damaged(key, "its crc32 does not match")
    length = int.from_bytes(body[:8], "little")
    if length > len(body) - 8:
        raise _damaged(key, "its table is longer than the file")
    table = Fields(read_json(bytes(body[8 : 8 + length]), key, "the table of a partial"), key)
    own = table.object("__metadata__").only("key").text("key") if "__metadata__" in table else None
    if own != key and (own is not None or format >= 2):
        raise _damaged(key, f"it is that of {own or 'no key'}")
    names = [name for name in table if name != "__metadata__"]
    return {name: _array(table.object(name), body[8 + length :]) for name in names}


def _array(fields: Fields, values: memoryview) -> NDArray[Any]:
    fields.only("dtype", "shape", "data_offsets")
    dtype = {"F64": "<f8", "I64": "<i8"}.get(fields.text("dtype"))
    shape, span = fields.integers("shape", most=len(values)), fields.integers("data_offsets", most=len(values))
    if dtype is None or len(shape) > 16 or len(span) != 2 or span[1] - span[0] != 8 * math.prod(shape):
        raise fields.wrong("", "the size of an array is not that of its values, or they are not float64 or int64")
    return np.frombuffer(bytes(values[slice(*span)]), dtype).reshape(shape).copy()


def _damaged(key: str, why: str) -> IntegrityError:
    return IntegrityError("a stored partial is damaged", where=key, why=why, fix=REPAIR)


def list_partials(store: FeatureStore, key: ResultKey) -> list[int]:
    """Indices of the units that were measured, ascending."""
    names = (name[len(key.partials) :] for name in store.objects.list(key.partials))
    return sorted(int(name[: -len(_PARTIAL)]) for name in names if re.fullmatch(rf"\d{{6,18}}{_PARTIAL}", name))


def save_result(store: FeatureStore, key: ResultKey, result: xarray.Dataset) -> bool:
    """Keep a result as a zarr group; False if one is there, which then stands. The marker makes it exist, last.

    Raises:
        UsageError: Attributes that are not plain JSON.
        IntegrityError: Another run is writing, or one that was stopped left, other bytes.
    """
    if store.objects.size(key.marker) is not None:
        return False
    files = _files(result)
    store.make()  # which may hold results alone
    create_groups(store.objects, key.path.rsplit("/", 1)[0])
    recorded: dict[str, dict[str, Any]] = {}
    for name in sorted(files):
        full = f"{key.path}/{name}"
        if not store.objects.create(full, files[name]) and store.objects.get(full) != files[name]:
            if awaited(lambda: store.objects.size(key.marker)) is not None:  # a faster one's, which stands
                return False
            raise IntegrityError(
                "there is another result, which no record names yet",
                where=full,
                why="another run is under way, or one was stopped",
                fix=f"the same command in a while; or, if no other run is under way, {tidy(store.objects.url)}",
            )
        recorded[full] = {"size": len(files[name]), "blake3": blake3_digest(files[name])}
    store.objects.settle(recorded)
    return store.ledger.put(key.marker, {"objects": recorded})


def load_result(store: FeatureStore, key: ResultKey) -> xarray.Dataset | None:
    """A result in memory, every byte checked against its marker; None if there is none.

    Raises:
        IntegrityError: A part is missing or damaged, or not of the form of a result; its key is named.
    """
    import xarray
    from zarr.core.buffer import cpu
    from zarr.storage import MemoryStore

    marker = store.ledger.get(key.marker)
    if marker is None:
        return None
    recorded = Fields(marker, key.marker).only("objects").each("objects", ObjectRecord.parse)
    if sum(record.size for record in recorded.values()) > _MOST_RESULT:
        raise IntegrityError(
            "a stored result is too large", where=key.marker, why=f"at most {_MOST_RESULT} bytes", fix=REPAIR
        )
    files: dict[str, bytes] = {}
    for full, record in recorded.items():
        if not full.startswith(f"{key.path}/"):
            raise IntegrityError(
                "a result names an object that is not its own", where=key.marker, why=repr(full), fix=REPAIR
            )
        data = store.objects.take(full, record.size)
        if data is None:
            raise IntegrityError("a stored result is missing or damaged", where=full, fix=REPAIR)
        record.check_digest(data, full)
        files[full[len(key.path) + 1 :]] = data
    _check_files(files, key.path)
    buffers: dict[str, Any] = {name: cpu.Buffer.from_bytes(data) for name, data in files.items()}
    try:
        # The bytes are those that the marker names, but a marker can be anybody's: whatever is raised means the same.
        with quiet():
            result: xarray.Dataset = xarray.open_zarr(MemoryStore(buffers), consolidated=False, chunks=None).load()
    except Exception as error:
        raise_if_lacking(error)
        why = str(error) or type(error).__name__
        raise IntegrityError("a stored result cannot be read", where=key.marker, why=why, fix=REPAIR) from error
    return result


def _check_files(files: Mapping[str, bytes], path: str) -> None:
    """Refuse nodes of a result that are not of ours, and chunks that would decode to more than their array has."""
    forms: dict[str, ArrayForm] = {}
    for name, data in files.items():
        if name.rpartition("/")[2] == "zarr.json":
            where = f"{path}/{name}"
            document = read_json(data, where, "the metadata of a result")
            if Fields(document, where).text("node_type") == "array":
                forms[name.rpartition("/")[0]] = check_metadata(document, where)
            else:
                Fields(document, where).mapping("attributes")
    total = sum(math.prod(form.shape) * form.itemsize for form in forms.values())
    if total > _MOST_RESULT:
        raise IntegrityError(
            "a stored result is too large", where=path, why=f"{total} bytes, at most {_MOST_RESULT}", fix=REPAIR
        )
    for name, data in files.items():
        match = _CHUNK.fullmatch(name)
        form = forms.get(match[1]) if match else None
        if form is not None:
            try:
                check_chunk(form.chain, data, form.chunk_bytes)
            except ValueError as error:
                raise damaged(f"{path}/{name}", str(error)) from error
        elif name.rpartition("/")[2] != "zarr.json":
            raise IntegrityError("a result holds what is no part of it", where=f"{path}/{name}", fix=REPAIR)


def list_results(store: FeatureStore) -> list[ResultKey]:
    """All results of a store, sorted."""
    prefix = f"{LEDGER}/results/"
    names = (name[len(prefix) :] for name in store.objects.list(prefix))
    found = (name.removesuffix(".json").split("/") for name in names if name.endswith(".json"))
    return sorted(ResultKey(*parts) for parts in found if len(parts) == 4 and all(map(is_name, parts)))


def _files(result: xarray.Dataset) -> dict[str, bytes]:
    from zarr.storage import MemoryStore

    try:
        json.dumps(result.attrs, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the attributes of a result must be plain JSON: {error}") from error
    # Text of one width needs no codec that other readers might lack.
    text = [name for name in result.variables if result[name].dtype.kind in "OT"]
    fixed = result.assign_coords({n: result[n].astype(np.str_) for n in text if n in result.coords})
    fixed = fixed.assign({n: result[n].astype(np.str_) for n in text if n not in result.coords})
    files: dict[str, Any] = {}
    with quiet():
        fixed.to_zarr(MemoryStore(files), mode="w", zarr_format=3, consolidated=False)
    return {name: value.to_bytes() for name, value in files.items()}
