"""Blocks <-> bytes: the fast way equals zarr's, every codec comes back, damage is seen, strange metadata is refused."""

from __future__ import annotations

import errno
import json
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from zarr.storage import MemoryStore

from cvbench.errors import IntegrityError, ResourceError, UnknownNameError, UsageError
from cvbench.storage.features.codecs import check_metadata, parse_codec, quiet
from cvbench.storage.features.encoding import Encoding
from cvbench.storage.features.nodes import ArraySpec, array_document
from tests.storage.small_store import flip_bit

SPEC = ArraySpec("t", (3, 3, 5), "float16", ("sample", "row", "column", "channel"))
LOSSLESS = ["none", "zstd", "zstd-5", "blosc-zstd", "blosc-lz4", "blosc-lz4-1"]


def encoding_of(codec: str = "none", *, sharded: bool = False, spec: ArraySpec = SPEC) -> Encoding:
    return Encoding("a/t", array_document(spec, 20, 8, codec, sharded=sharded))


def block_of(encoding: Encoding) -> np.ndarray[Any, np.dtype[Any]]:
    block = np.random.default_rng(0).standard_normal(encoding.block_shape).astype(encoding.dtype)
    block[-1] = np.nan
    return block


def by_zarr(encoding: Encoding, block: np.ndarray[Any, np.dtype[Any]], index: int) -> bytes:
    """The object as zarr itself writes it, into an array of the full shape."""
    from zarr.core.buffer import cpu

    store = MemoryStore({"zarr.json": cpu.Buffer.from_bytes(json.dumps(encoding.document).encode())})
    with quiet():
        array: Any = zarr.open_array(store, mode="r+").with_config({"write_empty_chunks": True})
        array[index * encoding.rows : (index + 1) * encoding.rows] = block
    return store._store_dict[encoding.key(index).removeprefix("a/t/")].to_bytes()


@pytest.mark.parametrize("sharded", [False, True], ids=["chunks", "shards"])
@pytest.mark.parametrize("codec", [*LOSSLESS, "bitround5", "quantize2", "bitround5+zstd"])
def test_objects_are_those_that_zarr_writes(codec: str, sharded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "cvbench.storage.features.units.INNER_BYTES", 200
    )  # so that this tiny unit has a shard of several chunks
    encoding = encoding_of(codec, sharded=sharded)
    assert encoding.raw == (codec == "none" and not sharded)
    block = block_of(encoding)
    data = b"".join(encoding.encode(block))
    assert data == by_zarr(encoding, block, 1)
    back = encoding.decode(data, "k")
    if codec in LOSSLESS:
        np.testing.assert_array_equal(back, block)
    else:
        np.testing.assert_allclose(back.astype(float), block.astype(float), rtol=2**-5, atol=0.02)


@pytest.mark.parametrize("codec", ["none", "zstd", "blosc-zstd", "blosc-lz4", "bitround5+blosc-zstd"])
def test_any_flipped_bit_or_lost_byte_is_seen(codec: str) -> None:
    encoding = encoding_of(codec)
    data = b"".join(encoding.encode(block_of(encoding)))
    for bit in range(0, 8 * len(data), 37):
        with pytest.raises(IntegrityError) as error:
            encoding.decode(flip_bit(data, bit), "some/key")
        assert error.value.where == "some/key"
    for cut in (0, 1, len(data) // 2, len(data) - 1):
        with pytest.raises(IntegrityError):
            encoding.decode(data[:cut], "some/key")


@pytest.mark.parametrize(
    ("raised", "expected", "said"),
    [
        (RuntimeError("can't start new thread"), ResourceError, "no further thread"),
        (MemoryError("9 GiB"), ResourceError, "memory of this machine"),
        (OSError(errno.EIO, "a disk"), OSError, "a disk"),
        (RuntimeError("zstd: corrupt"), IntegrityError, "damaged"),
    ],
)
def test_only_what_a_decoder_raises_is_damage(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type[Exception], said: str
) -> None:
    encoding = encoding_of("zstd")
    data = b"".join(encoding.encode(block_of(encoding)))

    def failing(*given: object) -> Any:
        raise raised

    monkeypatch.setattr(encoding, "_template", failing)
    with pytest.raises(expected, match=said) as caught:
        encoding.decode(data, "k")
    assert ("store repair" in str(caught.value)) == (expected is IntegrityError)


def test_a_file_is_read_into_place_and_checked(tmp_path: Path) -> None:
    encoding = encoding_of()
    block = block_of(encoding)
    data = b"".join(encoding.encode(block))
    path, out = tmp_path / "c", np.zeros_like(block)
    path.write_bytes(data)
    read_file(encoding, path, out)
    np.testing.assert_array_equal(out, block)
    for wrong in (flip_bit(data, 100), flip_bit(data, 8 * len(data) - 3), data[:-1], data[:-20], data + b"x", b""):
        path.write_bytes(wrong)
        with pytest.raises(IntegrityError, match="damaged"):
            read_file(encoding, path, out)


def read_file(encoding: Encoding, path: Path, out: NDArray[Any]) -> None:
    with FileIO(path) as file:
        encoding.read_file(file, "k", out)


@pytest.mark.parametrize("name", ["zstdd", "pickle", "bitround5+", "", "blosc-gzip", "none+zstd"])
def test_unknown_codecs(name: str) -> None:
    with pytest.raises(UnknownNameError):
        parse_codec(name, "float16")


@pytest.mark.parametrize("name", ["zstd+bitround5", "zstd+blosc-lz4", "bitround", "bitround11", "bitround0", "zstd-99"])
def test_codecs_that_make_no_sense(name: str) -> None:
    with pytest.raises(UsageError):
        parse_codec(name, "float16")


def test_crc32c_is_always_last() -> None:
    for name in LOSSLESS:
        assert type(parse_codec(name, "float16")[1][-1]).__name__ == "Crc32cCodec"


def hostile() -> dict[str, dict[str, Any]]:
    good = json.loads(array_document(SPEC, 20, 8, "none", sharded=False))
    chunks = {"name": "regular", "configuration": {"chunk_shape": [2**31, 3, 3, 5]}}
    return {
        "object dtype": good | {"data_type": "object"},
        "named dtype": good | {"data_type": {"name": "vlen_pickle", "configuration": {}}},
        "pickle codec": good | {"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]},
        "nested codec": good
        | {"codecs": [{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "evil"}]}}]},
        "absurd shape": good | {"shape": [10**12, 3, 3, 10**6]},
        "negative shape": good | {"shape": [-1, 3, 3, 5]},
        "chunk bomb": good | {"chunk_grid": chunks},
        "zero chunk": good | {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 3, 3, 5]}}},
        "group": good | {"node_type": "group"},
        "v2": good | {"zarr_format": 2},
        "no codecs": {k: v for k, v in good.items() if k != "codecs"},
        "codec is text": good | {"codecs": ["bytes"]},
    }


@pytest.mark.parametrize("case", hostile(), ids=str)
def test_hostile_metadata_is_refused(case: str) -> None:
    with pytest.raises(IntegrityError) as error:
        check_metadata(hostile()[case], "a/zarr.json")
    assert error.value.where == "a/zarr.json"


def test_metadata_that_is_not_json() -> None:
    with pytest.raises(IntegrityError, match="not JSON"):
        Encoding("a", b"<html>")
