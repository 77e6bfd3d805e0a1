"""Nothing is decoded before its frame says that it fits: bombs of every codec and every kind of object."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import xarray
from numcodecs import Blosc, Zstd  # type: ignore[import-untyped]

from cvbench.errors import IntegrityError
from cvbench.storage.care.verify import verify
from cvbench.storage.features import FeatureStore
from cvbench.storage.features.encoding import Encoding
from cvbench.storage.features.frames import decoded_bytes
from cvbench.storage.features.keys import split_key
from cvbench.storage.features.ledger import digest, seal
from cvbench.storage.features.nodes import array_document
from cvbench.storage.results.export import export
from cvbench.storage.results.outcomes import ResultKey, load_result, save_result
from tests.storage.features.test_recorded import put
from tests.storage.small_store import GROUP, MAP_SPEC, SPECS, extract

SIZES = [0, 1, 255, 256, 257, 65_791, 65_792, 1_000_003]
BOMB = 3 << 30
RESULT = ResultKey("digits", "all", "cka", "0123abcd")


def values(size: int) -> bytes:
    return np.random.default_rng(size).integers(0, 9, size, np.uint8).tobytes()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("level", [1, 3, 19])
@pytest.mark.parametrize("checksum", [False, True])
def test_zstd_frames_say_their_size(size: int, level: int, checksum: bool) -> None:
    for data in (values(size), bytes(size)):
        frame = Zstd(level=level, checksum=checksum).encode(data)
        assert decoded_bytes("zstd", frame) == size


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("name", ["zstd", "lz4"])
@pytest.mark.parametrize("shuffle", [0, 1, 2])
def test_blosc_frames_say_their_size(size: int, name: str, shuffle: int) -> None:
    for data in (values(size), bytes(size)):
        frame = Blosc(cname=name, clevel=5, shuffle=shuffle, blocksize=0).encode(data)
        assert decoded_bytes("blosc", frame) == size


@pytest.mark.parametrize("kind", ["zstd", "blosc"])
def test_what_is_no_single_whole_frame_is_refused(kind: str) -> None:
    codec: Any = Zstd(level=1) if kind == "zstd" else Blosc()
    frame = bytes(codec.encode(values(1000)))
    skippable = b"\x50\x2a\x4d\x18\x00\x00\x00\x00"
    wrong = [frame + b"x", frame + frame, b"x" + frame[1:], skippable, skippable + frame]
    wrong += [frame[:cut] for cut in range(len(frame))]
    for data in wrong:
        with pytest.raises(ValueError, match=r"frame|block"):
            decoded_bytes(kind, data)


def test_a_zstd_frame_without_a_size_is_refused() -> None:
    frame = struct.pack("<I", 0xFD2FB528) + b"\x00\x00" + b"\x01\x00\x00"  # a window, then one empty last block
    with pytest.raises(ValueError, match="does not say"):
        decoded_bytes("zstd", frame)


def zstd_bomb(size: int = BOMB, said: int | None = None) -> bytes:
    """A valid frame of `size` zeros: blocks of one repeated byte, 128 KiB each for four bytes. `said` is a lie."""
    block = 1 << 17
    blocks = [block] * (size // block) + [size % block] * (size % block > 0)
    body = b"".join(
        (n << 3 | 1 << 1 | (i == len(blocks) - 1)).to_bytes(3, "little") + b"\0" for i, n in enumerate(blocks)
    )
    return struct.pack("<IBBQ", 0xFD2FB528, 0b11000000, 0x38, size if said is None else said) + body


def blosc_bomb(size: int = (2 << 30) - 17) -> bytes:
    """A header that announces so many bytes."""
    return struct.pack("<BBBBIII", 2, 1, 0x21, 2, size, 1 << 20, 116) + bytes(100)


def sealed(frame: bytes) -> bytes:
    return frame + struct.pack("<I", google_crc32c.value(frame))


def test_the_bomb_is_one() -> None:
    frame = zstd_bomb()
    assert len(frame) < 100_000
    assert decoded_bytes("zstd", frame) == BOMB
    assert len(Zstd().decode(zstd_bomb(1 << 20))) == 1 << 20


def plant(store: FeatureStore, key: str, data: bytes) -> None:
    """Put an object there, and name it in every record as if it had always been that one."""
    old = store.objects.get(key) or b""
    put(store, key, data)
    for name in list(store.objects.list("ledger/")):
        record = store.objects.get(name) or b""
        if name.endswith(".json") and f'"{key}"'.encode() in record and "/arrays/" not in name:
            body = store.ledger.get(name)
            put(store, name, seal(_renamed(body, key, old, data)))


def _renamed(value: Any, key: str, old: bytes, new: bytes) -> Any:
    if not isinstance(value, dict):
        return value
    found = {name: _renamed(item, key, old, new) for name, item in value.items()}
    if key in found:
        assert found[key]["blake3"] == digest(old)
        crc = {"crc32c": struct.unpack("<I", new[-4:])[0]} if "crc32c" in found[key] else {}
        found[key] = {"size": len(new), "blake3": digest(new), **crc}
    return found


class Decoded(BaseException):
    """Nothing may catch it: damaged bytes make decoders raise anything, and that is caught."""


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any call of a decoder fails the test."""

    def decode(*_: object) -> None:
        raise Decoded

    monkeypatch.setattr(Encoding, "_template", decode)


@pytest.mark.usefixtures("no_decoding")
@pytest.mark.parametrize(
    ("codec", "bomb"),
    [
        ("zstd", zstd_bomb()),
        ("bitround5+zstd", zstd_bomb()),
        ("blosc-lz4", blosc_bomb()),
        ("blosc-zstd", blosc_bomb()),
        ("zstd", b"".join([zstd_bomb(64), zstd_bomb()])),
    ],
)
def test_a_bomb_in_a_chunk_is_refused_before_it_is_decoded(codec: str, bomb: bytes, tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "s", "a")
    store_with(store, codec, bomb)
    reader = FeatureStore.open(tmp_path / "s")
    layer = reader.layer(GROUP, "blocks.0")
    for read in (lambda: layer.read(0, 8), layer.numpy, lambda: export(reader, GROUP, tmp_path / "out")):
        with pytest.raises(IntegrityError) as error:
            read()
        assert f"{GROUP.path}/blocks.0/c.0.0" in str(error.value)
    assert f"{GROUP.path}/blocks.0/c.0.0" in {p.key for p in verify(reader, deep=True).problems}


def store_with(store: FeatureStore, codec: str, bomb: bytes) -> None:
    """A store whose first chunk is the bomb, with records that name it; nothing of it was decoded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Encoding, "encode", lambda *_: (sealed(bomb),))
        patch.setattr(Encoding, "decode", lambda self, *_: np.zeros(self.block_shape, self.dtype))
        extract(store, SPECS[:1], codec=codec)


@pytest.mark.usefixtures("no_decoding")
def test_a_bomb_in_a_shard_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvbench.storage.features.units.INNER_BYTES", 100)
    inner = sealed(zstd_bomb())
    index = struct.pack("<8Q", *(number for i in range(4) for number in (i * len(inner), len(inner))))
    encoding = Encoding("a/t", array_document(MAP_SPEC, 22, 8, "zstd", sharded=True))
    with pytest.raises(IntegrityError, match="would decode to"):
        encoding.decode(inner * 4 + index + struct.pack("<I", google_crc32c.value(index)), "some/key")


def test_a_frame_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "s", "a")
    extract(store, SPECS[:1], codec="zstd")
    encoding = store.encoding(GROUP, "blocks.0")
    with pytest.raises(IntegrityError, match="damaged"):
        encoding.decode(sealed(zstd_bomb(said=encoding.block_bytes)), "some/key")


def test_a_bomb_in_the_sample_table_is_refused(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "s", "a")
    extract(store, SPECS[:1])
    key = "digits/all/samples/label/c.0"
    plant(store, key, sealed(zstd_bomb()))
    assert key in str(store.ledger.get(split_key("digits", "all")))
    with pytest.raises(IntegrityError, match="would decode to"):
        FeatureStore.open(tmp_path / "s").samples("digits", "all")


def test_a_bomb_in_a_result_is_refused(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "s", "a")
    extract(store)
    save_result(store, RESULT, xarray.Dataset({"cka": (("a", "b"), np.eye(2))}))
    plant(store, f"{RESULT.path}/cka/c/0/0", zstd_bomb())
    with pytest.raises(IntegrityError, match="would decode to"):
        load_result(FeatureStore.open(tmp_path / "s"), RESULT)


_CHILD = """
import resource, sys
from cvbench.errors import IntegrityError
from cvbench.storage.features import FeatureStore
from cvbench.storage.care.verify import verify
from tests.storage.small_store import GROUP
import numpy, zarr, blake3, google_crc32c, zarr.codecs
store = FeatureStore.open(sys.argv[1])
store.layer(GROUP, "blocks.0").commit
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    store.layer(GROUP, "blocks.0").numpy()
except IntegrityError:
    pass
else:
    raise SystemExit("it was read")
assert not verify(store, deep=True).ok
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    store_with(FeatureStore.open(tmp_path / "s", "a"), "zstd", zstd_bomb())
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path / "s")], cwd=root, check=True, capture_output=True, text=True
    )
    assert int(done.stdout) < 100_000  # KiB, of the 3 GiB that it would decode to
