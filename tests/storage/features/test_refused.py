"""A feature store refuses what was made in another way, what it does not know, and what is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from cvbench.errors import DataUnavailableError, FingerprintMismatchError, IntegrityError, UnknownNameError, UsageError
from cvbench.storage.features import ArraySpec, FeatureLayer, FeatureStore, GroupKey
from tests.storage.small_store import (
    BATCH,
    FINGERPRINT,
    GROUP,
    SPECS,
    TAPS,
    UNITS,
    N,
    contents,
    declare,
    extract,
    features,
    split_info,
)

# I9, F21: never mix


def mismatches() -> dict[str, tuple[dict[str, Any], str]]:
    return {
        "weights": ({"weights": "abd"}, "weights: stored 'abc', now 'abd'"),
        "nested": ({"preprocess": {"mean": [0.5, 0.5, 0.4], "size": 32}}, "preprocess.mean: stored [0.5, 0.5, 0.5]"),
        "precision": ({"precision": "bf16"}, "precision: stored 'fp32', now 'bf16'"),
        "new field": ({"keep_bits": 5}, "keep_bits: stored nothing, now 5"),
    }


@pytest.mark.parametrize("case", mismatches(), ids=str)
def test_another_fingerprint_is_refused_before_any_write(store: FeatureStore, case: str) -> None:
    declare(store, SPECS[:1])
    before = contents(store.objects)
    change, message = mismatches()[case]
    with pytest.raises(FingerprintMismatchError) as error:
        store.declare(GROUP, FINGERPRINT | change, SPECS)
    assert message in str(error.value)
    assert contents(store.objects) == before


def test_every_differing_field_is_named(store: FeatureStore) -> None:
    declare(store)
    with pytest.raises(FingerprintMismatchError) as error:
        store.declare(GROUP, {"weights": "x"}, SPECS, codec="zstd")
    for name in ("weights", "precision", "preprocess.mean", "preprocess.size", "codec"):
        assert name in error.value.what


def test_an_array_of_another_form_is_refused(store: FeatureStore) -> None:
    declare(store)
    before = contents(store.objects)
    with pytest.raises(FingerprintMismatchError, match="in another form"):
        store.declare(GROUP, FINGERPRINT, [ArraySpec("new", (3,), "float16", ("sample", "channel")), wider()])
    assert contents(store.objects) == before


def wider() -> ArraySpec:
    return ArraySpec("blocks.0", (5,), "float16", ("sample", "channel"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("dataset_digest", "d2"), ("seed", 1), ("ids", np.array([f"x{i}" for i in range(N)]))],
)
def test_another_dataset_or_order_is_refused(store: FeatureStore, field: str, value: Any) -> None:
    store.begin(split_info())
    before = contents(store.objects)
    with pytest.raises(FingerprintMismatchError, match="order_digest" if field == "ids" else field):
        store.begin(split_info(**{field: value}))
    assert contents(store.objects) == before


def test_batch_and_unit_are_frozen_by_the_first_run(store: FeatureStore) -> None:
    store.begin(split_info())
    frozen = store.begin(split_info(batch=16, unit=32, classes=()))
    assert (frozen.batch, frozen.unit, frozen.classes) == (BATCH, 8, ("zéro", "one"))


@pytest.mark.parametrize(
    "changes",
    [
        {"unit": 7},
        {"labels": np.zeros(N - 1)},
        {"ids": np.array(["a"] * N)},
        {"factors": {"f": np.zeros((N, 2))}},
        {"factors": {"id": np.zeros(N)}},
        {"factors": {"sample": np.zeros(N)}},
        {"factors": {"../up": np.zeros(N)}},
        {"factors": {"c": np.zeros(N, complex)}},
    ],
    ids=str,
)
def test_a_split_that_makes_no_sense_is_refused(store: FeatureStore, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        store.begin(split_info(**changes))


# What can be opened


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match="no feature store") as error:
        FeatureStore.open(tmp_path / "none")
    assert "cvbench extract" in str(error.value)
    assert not (tmp_path / "none").exists()


def test_a_foreign_store_is_refused(tmp_path: Path) -> None:
    zarr.create_group(str(tmp_path / "foreign"))
    for mode in ("r", "a"):
        with pytest.raises(IntegrityError, match="not one of cvbench"):
            FeatureStore.open(tmp_path / "foreign", mode)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(IntegrityError, match="not empty"):
        FeatureStore.open(tmp_path / "full", "a")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("root", ['{"attributes": {"cvbench": {"format": 99}}}', "[]", "{", '{"attributes": []}'])
def test_newer_or_broken_roots_are_refused(tmp_path: Path, root: str) -> None:
    (tmp_path / "zarr.json").write_text(root)
    with pytest.raises(IntegrityError):
        FeatureStore.open(tmp_path, "a")


def test_reading_cannot_write(store: FeatureStore) -> None:
    extract(store)
    reader = FeatureStore.open(store.url)
    for attempt in (
        lambda: reader.begin(split_info()),
        lambda: reader.declare(GROUP, FINGERPRINT, SPECS),
        lambda: reader.writer(GROUP, TAPS, UNITS[0]),
    ):
        with pytest.raises(UsageError, match="for reading"):
            attempt()


def test_what_is_not_there_says_what_extracts_it(store: FeatureStore) -> None:
    declare(store)
    with pytest.raises(DataUnavailableError) as error:
        store.layer(GROUP, "blocks.0").read(0, 4)
    made = "--dataset digits --split all --backbone test_vit --image-size 32 --view pooled"
    assert error.value.fix == f"cvbench extract {made} --store {store.url}"
    with pytest.raises(DataUnavailableError) as error:
        store.samples("folder-my-birds", "all")
    assert error.value.fix == f"cvbench extract --dataset folder:PATH --store {store.url}"


def test_unknown_names(store: FeatureStore) -> None:
    extract(store)
    with pytest.raises(UnknownNameError) as error:
        store.layer(GROUP, "blocks.2")
    assert "blocks.1" in error.value.did_you_mean
    with pytest.raises(DataUnavailableError, match="holds nothing of"):
        store.layer(GroupKey("digits", "all", "convnext", "pooled"), "blocks.0")
    with pytest.raises(DataUnavailableError, match="holds nothing of cub200/test"):
        store.samples("cub200", "test")


@pytest.mark.parametrize("name", ["", "..", "a/b", "../../x", "a\0b", "samples", "ledger", "results", ".hidden", "é"])
def test_names_that_could_leave_the_store_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        GroupKey(name, "all", "vit", "pooled")
    with pytest.raises(UsageError):
        GroupKey("digits", "all", name, "pooled")


# Damage is seen by readers

READS: list[Callable[[FeatureLayer], object]] = [
    lambda layer: layer.read(8, 16),
    lambda layer: layer.read(9, 10),
    lambda layer: layer.numpy(),
    lambda layer: np.asarray(layer.dask()),
]


@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("damage", ["flip", "halve", "empty", "delete"])
def test_readers_name_the_key_and_unit_of_damage(store: FeatureStore, codec: str, damage: str) -> None:
    extract(store, codec=codec)
    key = f"{GROUP.path}/blocks.0/c.1.0"
    data = store.objects.get(key) or b""
    store.objects.delete(key)
    changed = {"flip": data[:9] + bytes([data[9] ^ 4]) + data[10:], "halve": data[: len(data) // 2], "empty": b""}
    if damage in changed:
        store.objects.create(key, changed[damage])
    layer = FeatureStore.open(store.url).layer(GROUP, "blocks.0")
    np.testing.assert_array_equal(layer.read(0, 8), features(SPECS[0])[:8])
    for read in READS:
        with pytest.raises(IntegrityError) as error:
            read(layer)
        assert key in str(error.value)
        assert "unit 1" in str(error.value)
