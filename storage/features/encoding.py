"""One stored object <-> one block of rows, for any codec chain.

Uncompressed objects (the default) are the block's little-endian bytes in C order and four bytes of crc32c; they are
made and checked here without copies. Every other chain, and every shard, goes through zarr's own codec pipeline. A test
holds both ways equal.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from functools import cached_property
from io import FileIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError, raise_if_lacking
from cvbench.storage.features.codecs import Chain, check_metadata, quiet
from cvbench.storage.features.frames import decoded_bytes
from cvbench.storage.features.ledger import ObjectRecord, damaged, digest
from cvbench.storage.features.parse import read_json
from cvbench.storage.objects.keys import REPAIR

if TYPE_CHECKING:
    from cvbench.storage.objects.base import Buffer, Objects

_CRC = struct.Struct("<I")
_ENTRY = struct.Struct("<QQ")  # offset and length of an inner chunk, in the index at the end of a shard
_OTHER = "it is sound, but not what the ledger recorded: another object's bytes, or those of another run"
_STEP = 1 << 20  # bytes read, then checked while still in the cache


class Encoding:
    """Encoding of the objects of one array, from its `zarr.json`.

    Attributes:
        path: The array's path in the store.
        shape: Shape of the array, (N, ...).
        dtype: NumPy dtype of the rows.
        rows: Rows of one object (chunk, or shard where there is one).
        block_shape: (rows, ...).
        raw: True without compression: the fast way.

    Raises:
        IntegrityError: It is not the metadata of an array of ours.
    """

    def __init__(self, path: str, metadata: bytes) -> None:
        where = f"{path}/zarr.json"
        self.document: dict[str, Any] = read_json(metadata, where, "the metadata of an array")
        self._form = form = check_metadata(self.document, where)
        self.path = path
        self.shape, self.block_shape = form.shape, form.chunk
        if not self.shape or self.block_shape[1:] != self.shape[1:] or (form.inner or form.chunk)[1:] != self.shape[1:]:
            raise IntegrityError("the chunks cut rows apart; not an array of ours", where=where, fix=REPAIR)
        self.rows = self.block_shape[0]
        text = form.data_type == "text"
        self.dtype: np.dtype[Any] = np.dtype(f"<U{form.itemsize // 4}" if text else form.data_type).newbyteorder("<")
        self.raw = form.inner is None and form.chain == Chain(plain=True, compressor=None, checked=True)

    @property
    def block_bytes(self) -> int:
        """Bytes of a decoded block."""
        return self._form.chunk_bytes

    def key(self, index: int) -> str:
        """Key of the object that holds rows [index * rows, (index + 1) * rows)."""
        return self.path + "/" + self._form.separator.join(["c", str(index), *("0" for _ in self.block_shape[1:])])

    def encode(self, block: NDArray[Any]) -> tuple[Buffer, ...]:
        """The object of `block`, shape `block_shape`, C-contiguous, as parts to be joined."""
        if self.raw:
            import google_crc32c

            flat = block.reshape(-1).view(np.uint8)
            return flat.data, _CRC.pack(google_crc32c.extend(0, flat))
        store, array = self._template({})
        array[...] = block
        return (next(value.to_bytes() for key, value in store.items() if key != "zarr.json"),)

    def record(self, *parts: Buffer) -> ObjectRecord:
        """The record in the ledger of an object that `encode` gave."""
        size = sum(memoryview(part).nbytes for part in parts)
        return ObjectRecord(size, digest(*parts), self._mark(parts[-1]))

    def decode(self, data: bytes, key: str, record: ObjectRecord | None = None) -> NDArray[Any]:
        """The block of an object, after `check`.

        Raises:
            IntegrityError: The bytes are damaged or not those of `record`; `key` is named.
            ResourceError: There is no memory, or no thread, to decode them.
        """
        self.check(data, key, record)
        if self.raw:
            flat = np.frombuffer(data, np.uint8)[: -_CRC.size]
            return flat.view(self.dtype).reshape(self.block_shape)
        try:
            # Damaged bytes reach native decoders here; whatever they raise means the same, but for what is lacking.
            return np.asarray(self._template({self._template_key: data})[1][...])
        except OSError:  # of no decoder: nothing is read from a disk
            raise
        except Exception as error:
            raise_if_lacking(error)
            raise damaged(key, str(error) or type(error).__name__) from error

    def check(self, data: bytes, key: str, record: ObjectRecord | None = None) -> None:
        """Compare an object with its own checksums, with what its frames may decode to, and with the ledger.

        Nothing is decoded. Memory: none beyond `data`.

        Args:
            record: What the ledger says; one without a crc32c is compared by blake3. None: only the object itself.

        Raises:
            IntegrityError: They differ; `key` is named.
        """
        if record is not None and len(data) != record.size:
            raise damaged(key, f"{len(data)} bytes instead of {record.size}")
        form = self._form
        try:
            if form.inner is None:
                check_chunk(form.chain, data, self.block_bytes)
            else:
                inner = math.prod(form.inner) * form.itemsize
                for chunk in _inner_chunks(data, self._inner_count):
                    check_chunk(form.chain, chunk, inner)
        except ValueError as error:
            raise damaged(key, str(error)) from error
        if record is not None:
            self._compare(data, key, record)

    def _compare(self, data: bytes, key: str, record: ObjectRecord) -> None:
        if record.crc32c is None:
            record.check_digest(data, key)
        elif self._mark(data) != record.crc32c:
            raise damaged(key, _OTHER)

    def read_file(self, file: FileIO, key: str, out: NDArray[Any], record: ObjectRecord | None = None) -> None:
        """Read a raw object of the local disk straight into `out`, shape `block_shape`, checked on the way.

        Raises:
            IntegrityError: Its bytes are damaged or not those of `record`.
        """
        import google_crc32c

        flat = out.reshape(-1).view(np.uint8)
        view, crc = flat.data, 0
        if record is not None and record.size != len(flat) + _CRC.size:
            raise damaged(key, f"{len(flat) + _CRC.size} bytes instead of {record.size}")
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
        if record is not None and record.crc32c is None:
            if digest(view, _CRC.pack(crc)) != record.blake3:
                raise damaged(key, "its blake3 is not the recorded one")
        elif record is not None and record.crc32c != crc:
            raise damaged(key, _OTHER)

    def same_mark(self, objects: Objects, key: str, record: ObjectRecord) -> bool:
        """Whether the checksum that stands in an object is the recorded one; a few bytes are read.

        It tells a swapped or stale object, not a damaged one. True where the record holds no crc32c.
        """
        if record.crc32c is None:
            return True
        trailer = _CRC.size if self._form.inner is None else _index_bytes(self._inner_count)
        tail = objects.part(key, record.size - trailer, record.size)
        if self._form.inner is None:
            return self._mark(tail) == record.crc32c
        try:
            ends = [offset + size for offset, size in _index(tail, record.size)]
        except ValueError:
            return False
        marks = [objects.part(key, end - _CRC.size, end) for end in ends]
        return _mark_of(marks, tail) == record.crc32c

    def _mark(self, data: Buffer) -> int | None:
        """`ObjectRecord.crc32c` of an object; of a chunk, its last bytes suffice."""
        if not self._form.chain.checked:
            return None
        if self._form.inner is None:
            return int(_CRC.unpack(memoryview(data)[-_CRC.size :])[0])
        chunks = _inner_chunks(data, self._inner_count)
        return _mark_of([chunk[-_CRC.size :] for chunk in chunks], data)

    @cached_property
    def _inner_count(self) -> int:
        """Inner chunks of a shard."""
        return math.prod(self.block_shape) // math.prod(self._form.inner or self.block_shape)

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


def check_chunk(chain: Chain, data: Buffer, expected: int) -> None:
    """Raise ValueError unless an encoded chunk has its crc32c, if any, and says that it decodes to `expected` bytes."""
    import google_crc32c

    body = memoryview(data)
    if chain.checked:
        body, trailer = body[: -_CRC.size], body[-_CRC.size :]
        if len(trailer) < _CRC.size or (chain.compressor is None and len(body) != expected):
            raise ValueError(f"{len(data)} bytes instead of {expected + _CRC.size}")
        if google_crc32c.extend(0, np.frombuffer(body, np.uint8)) != _CRC.unpack(trailer)[0]:
            raise ValueError("its crc32c does not match")
    declared = decoded_bytes(chain.compressor, body)
    if declared != expected:
        raise ValueError(f"it would decode to {declared} bytes instead of {expected}")


def _index_bytes(count: int) -> int:
    return _ENTRY.size * count + _CRC.size


def _index(tail: Buffer, size: int) -> list[tuple[int, int]]:
    """Offset and length of the inner chunks of a shard of `size` bytes, from its last ones; ValueError if damaged."""
    import google_crc32c

    entries, trailer = memoryview(tail)[: -_CRC.size], memoryview(tail)[-_CRC.size :]
    if google_crc32c.extend(0, np.frombuffer(entries, np.uint8)) != _CRC.unpack(trailer)[0]:
        raise ValueError("the crc32c of its index does not match")
    found = list(_ENTRY.iter_unpack(entries))
    body = size - len(tail)
    if any(length < _CRC.size or offset + length > body for offset, length in found) or sum(n for _, n in found) > body:
        raise ValueError("its index names what is not in it")
    return found


def _inner_chunks(data: Buffer, count: int) -> list[memoryview]:
    view, tail = memoryview(data), _index_bytes(count)
    if len(view) < tail:
        raise ValueError("it is too short")
    return [view[offset : offset + length] for offset, length in _index(view[-tail:], len(view))]


def _mark_of(ends: Sequence[Buffer], tail: Buffer) -> int:
    import google_crc32c

    return int(google_crc32c.value(b"".join([*map(bytes, ends), bytes(memoryview(tail)[-_CRC.size :])])))
