"""One stored object <-> one block of rows, for any codec chain.

Uncompressed objects (the default) are the block's little-endian bytes in C order and four bytes of crc32c; they are
made and checked here without copies. Every other chain, and every shard, goes through zarr's own codec pipeline. A test
holds both ways equal.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError
from cvbench.storage.codecs import check_metadata, quiet
from cvbench.storage.keys import REPAIR

if TYPE_CHECKING:
    from cvbench.storage.objects import Buffer

_CRC = struct.Struct("<I")
_STEP = 1 << 20  # bytes read, then checked while still in the cache


class Encoding:
    """How the objects of one array are made, from its `zarr.json`.

    Attributes:
        path: The array's path in the store.
        shape: Shape of the array, (N, ...).
        dtype: NumPy dtype of the rows.
        rows: Rows of one object (chunk, or shard where there is one).
        block_shape: (rows, ...).
        raw: True without compression: the fast way.
    """

    def __init__(self, path: str, metadata: bytes) -> None:
        where = f"{path}/zarr.json"
        try:
            self.document: dict[str, Any] = json.loads(metadata)
        except ValueError as error:
            raise IntegrityError("the metadata of an array is not JSON", where=where) from error
        check_metadata(self.document, where)
        self.path = path
        self.shape: tuple[int, ...] = tuple(self.document["shape"])
        self.block_shape: tuple[int, ...] = tuple(self.document["chunk_grid"]["configuration"]["chunk_shape"])
        if self.block_shape[1:] != self.shape[1:]:
            raise IntegrityError("the chunks cut rows apart; not an array of ours", where=where)
        self.rows = int(self.block_shape[0])
        self.dtype = _numpy_dtype(self.document["data_type"])
        self.raw = [codec["name"] for codec in self.document["codecs"]] == ["bytes", "crc32c"]
        encoding = self.document["chunk_key_encoding"]
        self._separator: str = encoding.get("configuration", {}).get("separator", "/")

    @property
    def block_bytes(self) -> int:
        """Bytes of a decoded block."""
        return int(np.prod(self.block_shape)) * self.dtype.itemsize

    def key(self, index: int) -> str:
        """Key of the object that holds rows [index * rows, (index + 1) * rows)."""
        return self.path + "/" + self._separator.join(["c", str(index), *("0" for _ in self.block_shape[1:])])

    def encode(self, block: NDArray[Any]) -> tuple[Buffer, ...]:
        """The object of `block`, shape `block_shape`, C-contiguous, as parts to be joined."""
        if self.raw:
            import google_crc32c

            flat = block.reshape(-1).view(np.uint8)
            return flat.data, _CRC.pack(google_crc32c.extend(0, flat))
        store, array = self._template({})
        array[...] = block
        return (next(value.to_bytes() for key, value in store.items() if key != "zarr.json"),)

    def decode(self, data: bytes, key: str) -> NDArray[Any]:
        """The block of an object, checked by its crc32c.

        Raises:
            IntegrityError: The bytes are damaged; `key` is named.
        """
        if self.raw:
            import google_crc32c

            if len(data) != self.block_bytes + _CRC.size:
                raise damaged(key, f"{len(data)} bytes instead of {self.block_bytes + _CRC.size}")
            flat = np.frombuffer(data, np.uint8)[: -_CRC.size]
            if google_crc32c.extend(0, flat) != _CRC.unpack_from(data, len(flat))[0]:
                raise damaged(key, "its crc32c does not match")
            return flat.view(self.dtype).reshape(self.block_shape)
        try:
            # Damaged bytes reach native decoders here; whatever they raise means the same.
            return np.asarray(self._template({self._template_key: data})[1][...])
        except Exception as error:
            raise damaged(key, str(error) or type(error).__name__) from error

    def read_file(self, path: Path, key: str, out: NDArray[Any]) -> None:
        """Read a raw object of the local disk straight into `out`, shape `block_shape`, checked on the way.

        Raises:
            FileNotFoundError: No such object.
            IntegrityError: Its bytes are damaged.
        """
        import google_crc32c

        flat = out.reshape(-1).view(np.uint8)
        view, crc = flat.data, 0
        with open(path, "rb", buffering=0) as file:
            for start in range(0, len(flat), _STEP):
                stop = min(start + _STEP, len(flat))
                while start < stop:
                    got = file.readinto(view[start:stop])
                    if not got:
                        raise damaged(key, "it is too short")
                    crc = google_crc32c.extend(crc, flat[start : start + got])
                    start += got
            if file.read(_CRC.size + 1) != _CRC.pack(crc):
                raise damaged(key, "its crc32c does not match")

    @cached_property
    def _template_key(self) -> str:
        return self.key(0)[len(self.path) + 1 :]

    def _template(self, objects: Mapping[str, bytes]) -> tuple[dict[str, Any], Any]:
        """An array of one block in a fresh memory store, with this array's codecs."""
        import zarr
        from zarr.core.buffer import cpu
        from zarr.storage import MemoryStore

        document = self.document | {"shape": list(self.block_shape)}
        files = {"zarr.json": json.dumps(document).encode(), **objects}
        data: dict[str, Any] = {key: cpu.Buffer.from_bytes(value) for key, value in files.items()}
        with quiet():
            array: Any = zarr.open_array(MemoryStore(data), mode="r+")
        return data, array.with_config({"write_empty_chunks": True})


def damaged(key: str, why: str) -> IntegrityError:
    """The error for an object whose bytes are not what was written."""
    return IntegrityError("a stored object is damaged", where=key, why=why, fix=REPAIR)


def _numpy_dtype(data_type: Any) -> np.dtype[Any]:
    if isinstance(data_type, str):
        return np.dtype(data_type).newbyteorder("<")
    return np.dtype(f"<U{data_type['configuration']['length_bytes'] // 4}")
