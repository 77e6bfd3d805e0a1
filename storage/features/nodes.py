"""The zarr nodes of a store as documents: what goes into each `zarr.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from cvbench.errors import FingerprintMismatchError, IntegrityError, UsageError
from cvbench.hints import command
from cvbench.storage.features.codecs import parse_codec, quiet
from cvbench.storage.features.encoding import Encoding
from cvbench.storage.features.ledger import FORMAT
from cvbench.storage.features.parse import Fields
from cvbench.storage.features.units import layout
from cvbench.storage.objects.base import Objects
from cvbench.storage.objects.keys import LEDGER


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, indent=1).encode()


def root_node(format: int = FORMAT) -> bytes:
    """`zarr.json` of the root of a store of that format."""
    return _json({"zarr_format": 3, "node_type": "group", "attributes": {"cvbench": {"format": format}}})


GROUP = _json({"zarr_format": 3, "node_type": "group", "attributes": {}})
# An array, so that tools which walk the hierarchy pass our own records by; it has no elements.
LEDGER_NODE = _json(
    {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [0],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
        "attributes": {"about": "Records of cvbench lie under this key: fingerprints, commits, partials. No elements."},
    }
)


@dataclass(frozen=True)
class ArraySpec:
    """One tap's array.

    Attributes:
        tap: Name of the tap.
        shape: Shape of one sample, e.g. (C,) or (H, W, C).
        dtype: "float16" or "float32".
        dims: Names of the axes, ("sample", "channel") or ("sample", "row", "column", "channel").
        attrs: JSON attributes of the array.
    """

    tap: str
    shape: tuple[int, ...]
    dtype: str
    dims: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.dtype not in ("float16", "float32", "float64"):
            raise UsageError(f"features are float16, float32 or float64, got {self.dtype}")
        if len(self.dims) != len(self.shape) + 1 or self.dims[0] != "sample" or min(self.shape, default=0) < 1:
            raise UsageError(f"tap {self.tap}: dims {self.dims} do not fit samples of shape {self.shape}")

    @property
    def row_bytes(self) -> int:
        """Bytes of one sample."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


def array_document(spec: ArraySpec, n: int, unit: int, codec: str, *, sharded: bool) -> bytes:
    """`zarr.json` of the array of n samples, in whole chunks that divide the unit.

    Axes of different size get different names (`channel_384`, `channel_768`), since xarray opens all taps of a view as
    one data set, and there a name has one size. The plain names are in the attribute `dims`.
    """
    import zarr
    from zarr.storage import MemoryStore

    filters, compressors = parse_codec(codec, spec.dtype)
    rows, shard = layout(unit, spec.row_bytes, spatial=len(spec.shape) > 1, sharded=sharded)
    files: dict[str, Any] = {}
    with quiet():
        zarr.create_array(
            MemoryStore(files),
            shape=(n, *spec.shape),
            chunks=(rows, *spec.shape),
            shards=None if shard is None else (shard, *spec.shape),
            dtype=spec.dtype,
            fill_value=float("nan"),
            filters=filters,
            compressors=compressors,
            dimension_names=["sample", *(f"{d}_{k}" for d, k in zip(spec.dims[1:], spec.shape, strict=True))],
            chunk_key_encoding={"name": "default", "separator": "."},
            attributes={**spec.attrs, "dims": list(spec.dims), "codec": codec},
        )
    document: bytes = files["zarr.json"].to_bytes()
    return document


def constant_node(key: str, format: int = FORMAT) -> bytes:
    """The `zarr.json` of the root, of the ledger or of a group: the same bytes in every store."""
    return {"zarr.json": root_node(format), f"{LEDGER}/zarr.json": LEDGER_NODE}.get(key, GROUP)


def create_groups(objects: Objects, path: str) -> None:
    """Create the group nodes from below the root down to `path`."""
    for key in group_keys(path):
        if objects.size(key) is None:  # a second run writes nothing, not even a temporary file
            objects.create(key, GROUP)


def group_keys(path: str) -> Iterator[str]:
    """Keys of the group nodes on the way to `path`, outermost first."""
    pure = PurePosixPath(path)
    yield from (f"{node}/zarr.json" for node in reversed([pure, *pure.parents]) if node.name)


def create_array(objects: Objects, path: str, document: bytes) -> None:
    """Create an array's node, or accept one that is there and is the same.

    Raises:
        FingerprintMismatchError: An array of another shape, dtype, layout or codec is there.
        IntegrityError: It differs in what names and places the layer, and no record says that it is right.
    """
    key = f"{path}/zarr.json"
    if objects.create(key, document):
        return
    stored = objects.get(key) or b""
    refuse_other_array(path, stored, document, attributes=True)
    if stored != document:
        raise IntegrityError(
            "the metadata of an array, which no record names, is not what this run declares",
            where=key,
            fix=f"{command('store gc', orphans=True, store=objects.url)}  # then the same command again",
        )


def refuse_other_array(path: str, stored: bytes, document: bytes, *, attributes: bool = False) -> None:
    """Raise FingerprintMismatchError if two `zarr.json` mean different arrays; else do nothing.

    Args:
        attributes: Their attributes too, where no record says what they were.
    """
    there, wanted = Encoding(path, stored).document, Encoding(path, document).document
    fields = ["shape", "data_type", "chunk_grid", "codecs", "chunk_key_encoding"]
    fields += ["attributes", "dimension_names", "fill_value"] if attributes else []
    differing = [name for name in fields if there.get(name) != wanted.get(name)]
    if differing:
        raise FingerprintMismatchError(
            "the store holds this array in another form; nothing was written",
            where=f"{path}/zarr.json",
            why="; ".join(f"{name}: stored {there.get(name)}, now {wanted.get(name)}" for name in differing),
            fix="use another --store",
        )


def check_attributes(encoding: Encoding) -> None:
    """Refuse attributes of a feature array that say something else than `array_document` can have written.

    Raises:
        IntegrityError: Naming the attribute.
    """
    attributes = Fields(encoding.document, f"{encoding.path}/zarr.json").object("attributes")
    if len(attributes.texts("dims")) != len(encoding.shape):
        raise attributes.wrong("dims", "not one name for each axis")
    attributes.text("codec")
    for name in ("position", "prefix_tokens"):
        if name in attributes:
            attributes.integer(name)
    if "grid" in attributes and len(attributes.integers("grid", least=1)) != 2:
        raise attributes.wrong("grid", "expected rows and columns")
    if encoding.dtype.kind != "f":
        raise IntegrityError("features are numbers with a point", where=attributes.where, why=encoding.dtype.name)


def plain_dims(document: Mapping[str, Any]) -> Sequence[str]:
    """Axis names without sizes."""
    return [str(name) for name in document["attributes"]["dims"]]


def create_root(objects: Objects, format: int = FORMAT) -> None:
    """Create the nodes that make a location a store."""
    objects.create(f"{LEDGER}/zarr.json", LEDGER_NODE)
    objects.create("zarr.json", root_node(format))
    objects.settle([f"{LEDGER}/zarr.json", "zarr.json"])
