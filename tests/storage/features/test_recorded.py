"""What the ledger recorded is compared at read: what is sound in itself but not what was committed is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvbench.errors import CvbenchError, FingerprintMismatchError, IntegrityError
from cvbench.jobs.catalogue.store import info
from cvbench.storage.care.verify import verify
from cvbench.storage.features import FeatureLayer, FeatureStore
from cvbench.storage.features.encoding import Encoding
from cvbench.storage.features.keys import GroupKey
from cvbench.storage.features.ledger import seal
from cvbench.storage.features.nodes import ArraySpec, root_node
from cvbench.storage.objects.memory import MemoryObjects
from tests.storage.small_store import (
    FINGERPRINT,
    GROUP,
    MAP_SPEC,
    MAPS,
    SPECS,
    TAPS,
    UNITS,
    contents,
    declare,
    extract,
    features,
    flip_bit,
    split_info,
    write_unit,
)

FORMAT_1 = Path(__file__).parents[2] / "fixtures" / "format-1"
LAYER = f"{GROUP.path}/blocks.0"
READS: list[Callable[[FeatureLayer], object]] = [
    lambda layer: layer.read(0, 16),
    lambda layer: layer.read(1, 2),
    lambda layer: layer.numpy(),
    lambda layer: np.asarray(layer.dask()),
]


class Sharded(MemoryObjects):
    """Memory where many small objects are dear, as on S3."""

    sharded = True


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureStore:
    if request.param == "folder":
        return FeatureStore.open(tmp_path / "s", "a")
    return FeatureStore.open(MemoryObjects(f"recorded-{request.node.name}"), "a")


def put(store: FeatureStore, key: str, data: bytes) -> None:
    """Replace an object."""
    store.objects.delete(key)
    store.objects.create(key, data)


def swap(store: FeatureStore, one: str, two: str) -> None:
    """Put each object in the other's place."""
    first, second = store.objects.get(one) or b"", store.objects.get(two) or b""
    assert first
    assert first != second
    put(store, one, second)
    put(store, two, first)


def reopened(store: FeatureStore) -> FeatureStore:
    return FeatureStore.open(store.objects)


def assert_refused(store: FeatureStore, group: GroupKey, tap: str, *keys: str) -> None:
    """Every way of reading names the key, of unit 0 or 1 in this order, and the unit; `verify` names all keys."""
    for read in READS:
        with pytest.raises(IntegrityError) as error:
            read(reopened(store).layer(group, tap))
        assert any(f"{key} (unit {unit} of {group.path}/{tap})" in str(error.value) for unit, key in enumerate(keys))
    for deep in (False, True):
        problems = verify(reopened(store), deep=deep).problems
        assert {(p.key, p.unit) for p in problems if p.harmful} == {(key, unit) for unit, key in enumerate(keys)}


@pytest.mark.parametrize("codec", ["none", "zstd", "blosc-lz4", "bitround5+blosc-zstd"])
def test_two_chunks_swapped_are_refused(store: FeatureStore, codec: str) -> None:
    extract(store, codec=codec)
    swap(store, f"{LAYER}/c.0.0", f"{LAYER}/c.1.0")
    assert_refused(store, GROUP, "blocks.0", f"{LAYER}/c.0.0", f"{LAYER}/c.1.0")


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_a_chunk_of_another_run_is_refused(store: FeatureStore, codec: str) -> None:
    extract(store, codec=codec)
    stale = Encoding(LAYER, store.objects.get(f"{LAYER}/zarr.json") or b"")
    put(store, f"{LAYER}/c.0.0", b"".join(stale.encode(features(SPECS[0])[:8] + np.float16(1))))
    assert_refused(store, GROUP, "blocks.0", f"{LAYER}/c.0.0")


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_two_shards_swapped_are_refused(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvbench.storage.features.units.INNER_BYTES", 100)
    store = FeatureStore.open(Sharded(f"shards-{codec}"), "a")
    extract(store, [MAP_SPEC], MAPS, codec=codec)
    layer = store.layer(MAPS, "blocks.0")
    assert "sharding_indexed" in str(layer._encoding.document)
    np.testing.assert_array_equal(layer.numpy(), features(MAP_SPEC))
    assert verify(store).problems == verify(store, deep=True).problems == ()
    first, second = (layer._encoding.key(index) for index in (0, 1))
    if codec == "none":  # the index says the same of both, and each inner chunk has its own sound crc32c
        tails = {(store.objects.get(key) or b"")[-4:] for key in (first, second)}
        assert len(tails) == 1
    swap(store, first, second)
    assert_refused(store, MAPS, "blocks.0", first, second)


def test_a_record_keeps_the_checksum_that_readers_compare(store: FeatureStore) -> None:
    extract(store)
    for commit in store.commits(GROUP):
        for tap in commit.taps.values():
            for key, record in tap.objects.items():
                data = store.objects.get(key) or b""
                assert record.crc32c == int.from_bytes(data[-4:], "little")


def test_an_object_that_no_record_names_is_not_read(store: FeatureStore) -> None:
    extract(store)
    key = next(key for key in store.objects.list(GROUP.commits) if "/000000-" in key)
    record = store.ledger.get(key) or {}
    record["taps"]["blocks.0"]["objects"] = {}
    put(store, key, seal(record))
    with pytest.raises(IntegrityError, match="does not name"):
        reopened(store).layer(GROUP, "blocks.0").read(0, 8)


# Stores of format 1 are compared by size and blake3, and keep their format.


@pytest.fixture
def older(tmp_path: Path) -> FeatureStore:
    shutil.copytree(FORMAT_1, tmp_path / "older")
    return FeatureStore.open(tmp_path / "older", "a")


def test_swapped_chunks_of_format_1_are_refused(older: FeatureStore) -> None:
    swap(older, f"{LAYER}/c.0.0", f"{LAYER}/c.1.0")
    for read in READS:
        with pytest.raises(IntegrityError, match="blake3") as error:
            read(reopened(older).layer(GROUP, "blocks.0"))
        assert f"{LAYER}/c." in str(error.value)
    assert verify(older).ok  # its records hold no checksum that could be compared cheaply
    assert not verify(older, deep=True).ok


def test_a_store_of_format_1_goes_on_in_its_format(older: FeatureStore) -> None:
    before = contents(older.objects)
    declare(older, [MAP_SPEC], MAPS, codec="bitround5+zstd")
    write_unit(older, UNITS[1], [MAP_SPEC], MAPS)
    declare(older, SPECS[:1], replace(GROUP, backbone="another"))
    write_unit(older, UNITS[0], SPECS[:1], replace(GROUP, backbone="another"))
    added = {
        key: json.loads(older.objects.get(key) or b"")
        for key in contents(older.objects).keys() - before.keys()
        if key.endswith(".json") and key.startswith("ledger/")
    }
    assert len(added) == 4
    for record in added.values():
        assert "crc32c" not in str(record)
        assert "fingerprint" not in record["record"] or record["record"]["format"] == 1
    assert older.objects.get("zarr.json") == root_node(1)
    assert verify(older, deep=True).problems == ()
    assert len(reopened(older).layer(MAPS, "blocks.0").units) == len(UNITS)


def test_a_lost_fingerprint_of_format_1_cannot_be_made_again(older: FeatureStore) -> None:
    older.objects.delete(GROUP.fingerprint)
    before = contents(older.objects)
    for fingerprint in (FINGERPRINT, {**FINGERPRINT, "weights": "other"}):
        with pytest.raises(IntegrityError, match="do not say"):
            FeatureStore.open(older.url, "a").declare(GROUP, fingerprint, SPECS)
    assert contents(older.objects) == before


# Metadata that changes meaning


def changed(store: FeatureStore, key: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change an object's JSON in place."""
    document = json.loads(store.objects.get(key) or b"")
    change(document)
    put(store, key, json.dumps(document).encode())


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "position": lambda d: d["attributes"].update(position=3),
    "grid": lambda d: d["attributes"].update(grid=[2, 3]),
    "prefix_tokens": lambda d: d["attributes"].update(prefix_tokens=2),
    "dims": lambda d: d["attributes"].update(dims=["sample", "token"]),
    "codec": lambda d: d["attributes"].update(codec="zstd"),
    "rows": lambda d: d.update(shape=[21, *d["shape"][1:]]),
    "fill value": lambda d: d.update(fill_value=0.0),
    "separator": lambda d: d["chunk_key_encoding"]["configuration"].update(separator="/"),
    "spaces": lambda d: None,  # other bytes that mean the same are other bytes
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_node_of_an_array_is_refused(store: FeatureStore, change: str) -> None:
    spec = ArraySpec("blocks.0", (4,), "float16", SPECS[0].dims, {"grid": [1, 4], "prefix_tokens": 1, "position": 0})
    extract(store, [spec])
    changed(store, f"{LAYER}/zarr.json", CHANGES[change])
    uses: list[Callable[[], object]] = [
        lambda: reopened(store).layer(GROUP, "blocks.0"),
        lambda: reopened(store).tree(),
        lambda: reopened(store).status("digits", "all", "test_vit@32", "pooled", "blocks.0"),
        lambda: FeatureStore.open(store.objects, "a").declare(GROUP, FINGERPRINT, [spec]),
        lambda: FeatureStore.open(store.objects, "a").writer(GROUP, ["blocks.0"], UNITS[0]),
    ]
    if not store.url.startswith("memory"):
        uses.append(lambda: info(store.url))
    for use in uses:
        with pytest.raises(IntegrityError) as error:
            use()
        assert error.value.where == f"{LAYER}/zarr.json"


def test_a_node_whose_record_is_lost_is_taken_only_as_it_was(store: FeatureStore) -> None:
    spec = ArraySpec("blocks.0", (4,), "float16", SPECS[0].dims, {"position": 0})
    extract(store, [spec])
    sound = contents(store.objects)
    store.objects.delete(GROUP.array("blocks.0"))
    with pytest.raises(CvbenchError):
        reopened(store).layer(GROUP, "blocks.0")
    extract(FeatureStore.open(store.objects, "a"), [spec])
    assert contents(store.objects) == sound
    store.objects.delete(GROUP.array("blocks.0"))
    changed(store, f"{LAYER}/zarr.json", CHANGES["position"])
    with pytest.raises(IntegrityError, match="another form"):
        extract(FeatureStore.open(store.objects, "a"), [spec])


@pytest.mark.parametrize("name", ["c.0", "zarr.json"])
def test_another_sample_table_is_refused(store: FeatureStore, name: str) -> None:
    declare(store)
    other = FeatureStore.open(MemoryObjects(f"other-table-{store.url}-{name}"), "a")
    other.begin(split_info(labels=(np.arange(22) + 1) % 2))
    key = f"digits/all/samples/label/{name}"
    data = other.objects.get(key) or b""
    put(store, key, data.replace(b"sample", b"elpmas") if name == "zarr.json" else data)
    with pytest.raises(IntegrityError) as error:
        reopened(store).samples("digits", "all")
    assert error.value.where == key


# Fingerprints


OTHER = {**FINGERPRINT, "weights": "other"}


def test_a_lost_fingerprint_is_named_refuses_others_and_is_made_again_by_the_same(store: FeatureStore) -> None:
    extract(store)
    sound = contents(store.objects)
    store.objects.delete(GROUP.fingerprint)
    for deep in (False, True):
        problems = verify(reopened(store), deep=deep).problems
        assert [(problem.kind, problem.key) for problem in problems] == [("missing", GROUP.fingerprint)]
    uses: list[Callable[[], object]] = [
        lambda: reopened(store).tree(),
        lambda: reopened(store).layer(GROUP, "blocks.0"),
        lambda: reopened(store).fingerprint(GROUP),
    ]
    for use in uses:
        with pytest.raises(IntegrityError, match="is lost") as error:
            use()
        assert error.value.where == GROUP.fingerprint
    harmed = contents(store.objects)
    writer = FeatureStore.open(store.objects, "a")
    with pytest.raises(FingerprintMismatchError, match="is lost"):
        writer.agree(GROUP, OTHER)
    with pytest.raises(FingerprintMismatchError, match="is lost"):
        writer.declare(GROUP, OTHER, SPECS)
    assert contents(store.objects) == harmed
    assert extract(FeatureStore.open(store.objects, "a")) == 0
    assert contents(store.objects) == sound


def test_a_foreign_fingerprint_is_named_and_nothing_is_added(store: FeatureStore) -> None:
    extract(store)
    put(store, GROUP.fingerprint, seal(store.frozen(OTHER, "none")))
    for deep in (False, True):
        problems = verify(reopened(store), deep=deep).problems
        assert [(problem.kind, problem.key) for problem in problems] == [("damaged", GROUP.fingerprint)]
    harmed = contents(store.objects)
    for fingerprint in (FINGERPRINT, OTHER):
        with pytest.raises(IntegrityError):
            FeatureStore.open(store.objects, "a").declare(GROUP, fingerprint, SPECS)
    with pytest.raises(IntegrityError, match="another fingerprint"):
        reopened(store).layer(GROUP, "blocks.0")
    assert contents(store.objects) == harmed


def test_a_commit_of_other_weights_among_the_rest_is_named(store: FeatureStore) -> None:
    extract(store)
    key = next(key for key in store.objects.list(GROUP.commits) if "/000001-" in key)
    record = store.ledger.get(key) or {}
    put(store, key, seal(record | {"fingerprint": 64 * "0"}))
    assert [problem.key for problem in verify(reopened(store)).problems] == [key]
    with pytest.raises(IntegrityError, match="another fingerprint") as error:
        reopened(store).layer(GROUP, TAPS[0])
    assert key in str(error.value)


def test_any_flipped_bit_of_a_shard_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvbench.storage.features.units.INNER_BYTES", 100)
    store = FeatureStore.open(Sharded("flipped-shards"), "a")
    extract(store, [MAP_SPEC], MAPS)
    encoding = store.encoding(MAPS, "blocks.0")
    key = encoding.key(0)
    data = store.objects.get(key) or b""
    record = store.commits(MAPS)[0].taps["blocks.0"].objects[key]
    for bit in range(0, 8 * len(data), 13):
        with pytest.raises(IntegrityError):
            encoding.decode(flip_bit(data, bit), key, record)
