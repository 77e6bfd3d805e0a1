"""Exports are read by their formats' own libraries."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cvbench.errors import DataUnavailableError
from cvbench.storage.features import BadSample, FeatureStore
from cvbench.storage.results.export import export
from tests.storage.small_store import FINGERPRINT, GROUP, SPECS, TAPS, UNITS, declare, features, split_info, write_unit

ROWS = [*range(0, 3), *range(4, 8), *range(16, 22)]  # units 0 and 2, without the bad sample


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore.open(tmp_path / "s", "a")
    store.begin(split_info(ids=np.array([f"=cmd|{i}" if i == 0 else f"img/{i}.png" for i in range(22)])))
    store.declare(GROUP, FINGERPRINT, SPECS)
    write_unit(store, UNITS[0], bad=[BadSample(3, "img/3.png", "empty", "no bytes")])
    write_unit(store, UNITS[1], SPECS[:1])  # committed for one of the two layers
    write_unit(store, UNITS[2])
    return store


def test_npy(store: FeatureStore, tmp_path: Path) -> None:
    written = export(store, GROUP, tmp_path / "out")
    assert [len(w.taps) for w in written] == [1, 1, 0]
    for spec in SPECS:
        path = tmp_path / "out" / f"test_vit@32.pooled.{spec.tap}.npy"
        np.testing.assert_array_equal(np.load(path, mmap_mode="r", allow_pickle=False), features(spec)[ROWS])


def test_npz_and_safetensors(store: FeatureStore, tmp_path: Path) -> None:
    export(store, GROUP, tmp_path / "out", format="npz")
    export(store, GROUP, tmp_path / "out", format="safetensors")
    with np.load(tmp_path / "out" / "test_vit@32.pooled.npz", allow_pickle=False) as archive:
        zipped = dict(archive)
    tensors = load_file(tmp_path / "out" / "test_vit@32.pooled.safetensors")
    assert zipped.keys() == tensors.keys() == set(TAPS)
    for spec in SPECS:
        np.testing.assert_array_equal(zipped[spec.tap], features(spec)[ROWS])
        np.testing.assert_array_equal(tensors[spec.tap], features(spec)[ROWS])


def test_samples_csv_has_the_same_rows_and_runs_no_formula(store: FeatureStore, tmp_path: Path) -> None:
    export(store, GROUP, tmp_path / "out")
    with open(tmp_path / "out" / "samples.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [int(line["position"]) for line in table] == ROWS
    assert [int(line["row"]) for line in table] == list(range(len(ROWS)))
    assert table[0]["id"] == "'=cmd|0"
    assert table[1]["id"] == "img/1.png"
    assert [line["class"] for line in table[:2]] == ["zéro", "one"]
    assert float(table[2]["bbox_x"]) == 3.0


def test_one_layer_has_all_its_rows(store: FeatureStore, tmp_path: Path) -> None:
    export(store, GROUP, tmp_path / "out", taps=["blocks.0"])
    rows = [row for row in range(22) if row != 3]
    loaded = np.load(tmp_path / "out" / "test_vit@32.pooled.blocks.0.npy")
    np.testing.assert_array_equal(loaded, features(SPECS[0])[rows])
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["samples.csv", "test_vit@32.pooled.blocks.0.npy"]


def test_nothing_to_export(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path / "s", "a")
    declare(store)
    with pytest.raises(DataUnavailableError, match="no sample"):
        export(store, GROUP, tmp_path / "out")
