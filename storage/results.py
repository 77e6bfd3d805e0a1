"""Small outcomes: partials (one per unit and analysis) and results (labelled data sets)."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError, UsageError
from cvbench.storage.codecs import quiet
from cvbench.storage.keys import LEDGER, REPAIR, check_name
from cvbench.storage.ledger import digest as blake3_digest
from cvbench.storage.nodes import create_groups

if TYPE_CHECKING:
    import xarray

    from cvbench.storage.features import FeatureStore

_CRC = struct.Struct("<I")
_FIX = "cvbench store gc --orphans, then the same command again"


@dataclass(frozen=True, order=True)
class ResultKey:
    """Where an analysis of a split keeps its outcomes. `digest` names the layers and all parameters."""

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
        return f"{self.partials}{unit:06d}.safetensors"


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
    data = save({name: np.ascontiguousarray(arrays[name]).reshape(arrays[name].shape) for name in sorted(arrays)})
    name = key.partial(unit)
    created = store.objects.create(name, data, _CRC.pack(zlib.crc32(data)))
    store.objects.settle([name])
    return created


def get_partial(store: FeatureStore, key: ResultKey, unit: int) -> dict[str, NDArray[Any]] | None:
    """The partial of a unit, or None if it was not measured.

    Raises:
        IntegrityError: It is damaged; its key is named.
    """
    data = store.objects.get(key.partial(unit))
    return None if data is None else read_partial(data, key.partial(unit))


def read_partial(data: bytes, key: str) -> dict[str, NDArray[Any]]:
    """The arrays in the bytes of a partial, checked."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    body, trailer = data[: -_CRC.size], data[-_CRC.size :]
    if trailer != _CRC.pack(zlib.crc32(body)):
        raise IntegrityError("a stored partial is damaged", where=key, why="its crc32 does not match")
    try:
        arrays: dict[str, NDArray[Any]] = load(body)
    except SafetensorError as error:
        raise IntegrityError("a stored partial is damaged", where=key, why=str(error)) from error
    return arrays


def list_partials(store: FeatureStore, key: ResultKey) -> list[int]:
    """Indices of the units that were measured, ascending."""
    names = (name[len(key.partials) :] for name in store.objects.list(key.partials))
    return sorted(int(name.split(".")[0]) for name in names if name.endswith(".safetensors"))


def save_result(store: FeatureStore, key: ResultKey, result: xarray.Dataset) -> bool:
    """Keep a result as a zarr group; False if one is there, which then stands. The marker makes it exist, last.

    Raises:
        UsageError: Attributes that are not plain JSON.
        IntegrityError: A crashed attempt left other bytes.
    """
    if store.objects.size(key.marker) is not None:
        return False
    files = _files(result)
    create_groups(store.objects, key.path.rsplit("/", 1)[0])
    recorded: dict[str, dict[str, Any]] = {}
    for name in sorted(files):
        full = f"{key.path}/{name}"
        if not store.objects.create(full, files[name]) and store.objects.get(full) != files[name]:
            raise IntegrityError("a crashed attempt left another result", where=full, fix=_FIX)
        recorded[full] = {"size": len(files[name]), "blake3": blake3_digest(files[name])}
    store.objects.settle(recorded)
    return store.ledger.put(key.marker, {"objects": recorded})


def load_result(store: FeatureStore, key: ResultKey) -> xarray.Dataset | None:
    """A result in memory, every byte checked against its marker; None if there is none.

    Raises:
        IntegrityError: A part is missing or damaged; its key is named.
    """
    import xarray
    from zarr.core.buffer import cpu
    from zarr.storage import MemoryStore

    marker = store.ledger.get(key.marker)
    if marker is None:
        return None
    files: dict[str, Any] = {}
    for full, record in marker["objects"].items():
        data = store.objects.get(full)
        if data is None or blake3_digest(data) != record["blake3"]:
            raise IntegrityError("a stored result is missing or damaged", where=full, fix=REPAIR)
        files[full[len(key.path) + 1 :]] = cpu.Buffer.from_bytes(data)
    with quiet():
        result: xarray.Dataset = xarray.open_zarr(MemoryStore(files), consolidated=False, chunks=None).load()
    return result


def list_results(store: FeatureStore) -> list[ResultKey]:
    """All results of a store, sorted."""
    prefix = f"{LEDGER}/results/"
    names = (name[len(prefix) :].removesuffix(".json").split("/") for name in store.objects.list(prefix))
    return sorted(ResultKey(*parts) for parts in names if len(parts) == 4)


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
