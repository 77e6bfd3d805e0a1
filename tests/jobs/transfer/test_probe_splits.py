"""Probes of transfer data sets: forms, trainval, the share that stands for a validation split, and partial samples."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.engine.probe.options import ProbeOptions
from cvbench.errors import IncompleteError
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.results.keep import Analysed
from cvbench.jobs.results.row import CHANCE
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.transfer.probe import ENTRY, ProbeRequest, probe
from cvbench.jobs.transfer.probe_splits import open_splits
from cvbench.storage.datasets import open_dataset
from cvbench.storage.features import FeatureStore
from tests.storage.datasets import transfer_trees as trees

FAST = ProbeOptions("clip_lbfgs", seeds=1)
SPLITS = {"dtd:2": ("train", "val", "test"), "pets": ("trainval", "test"), "caltech101": ("train", "test")}


def features(dataset: str, split: str, store: Path, root: Path | None = None, limit: int | None = None) -> None:
    options = ExtractOptions(
        dataset=dataset,
        split=split,
        backbones=("test_convnext",),
        store=str(store),
        data_root=None if root is None else str(root),
        weights=("random",),
        views=("head",),
        image_size=32,
        limit=limit,
        unit=32,
    )
    extract(options, Cluster(address="none"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small trees in the forms of their archives."""
    path = tmp_path_factory.mktemp("data")
    trees.write_dtd(path / "dtd" / "dtd")
    trees.write_pets(path / "oxford-iiit-pet")
    trees.write_caltech(path / "caltech101")
    return path


@pytest.fixture(scope="module")
def store(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Head features of every split that a probe wants."""
    path = tmp_path_factory.mktemp("probe") / "store.zarr"
    for dataset, splits in SPLITS.items():
        for split in splits:
            features(dataset, split, path, root)
    return path


def run(store: Path, *datasets: str, options: ProbeOptions = FAST) -> list[Analysed]:
    return probe(ProbeRequest(str(store), datasets, partial=True), options)


def test_it_runs_on_several_transfer_sets(store: Path) -> None:
    textures, pets = run(store, "dtd:2", "pets")
    assert (textures.selected.dataset, pets.selected.dataset) == ("dtd-2", "pets")
    assert textures.result.attrs["fitted_on"] == [[[2, 2, 4]]]
    assert pets.result.attrs["fitted_on"] == [[[3, 1, 4]]]
    assert (textures.result.attrs["val_split"], pets.result.attrs["train_split"]) == ("val", "trainval")
    line = textures.result.attrs["variant"]
    main = ENTRY.main_rows(textures.result, ENTRY.rows_of(textures.named))
    assert {row.factor for row in main} == {line, CHANCE}
    assert "penalty chosen on val; fitted on train + val, tested on test" in line
    assert "dtd:2/train has 2 samples, published are 1,880" in line
    assert run(store, "dtd-2")[0].path == textures.path  # by its name in the store
    for found in (textures, pets):
        words = ENTRY.command(found.named)
        again = CliRunner().invoke(app, [*words, "--store", str(store), "--format", "json"])
        assert again.exit_code == 0, again.output
        (made,) = json.loads(again.stdout)["results"]
        assert made["run"] == found.path  # the command makes the same result


def test_the_last_share_of_the_training_samples_validates(store: Path, root: Path) -> None:
    (found,) = run(store, "caltech101")
    line = found.result.attrs["variant"]
    assert "the last 10% of train by SHA-256 of the id (VTAB's share, not its members); fitted on train" in line
    assert "101 classes, where VTAB has 102 (caltech101:102)" in line
    assert found.result.attrs["fitted_on"] == [[[108, 12, 120]]]
    (fixed,) = run(store, "caltech101", options=replace(FAST, hold_out=0.0))
    assert "no validation" in fixed.result.attrs["variant"]
    assert fixed.path != found.path
    (few,) = run(store, "caltech101", options=replace(FAST, shots=5))
    assert few.result.attrs["fitted_on"] == [[[20, 12, 20]]]
    assert "fitted on the rest of train," in few.result.attrs["variant"]

    opened = FeatureStore.open(str(store))
    splits = open_splits(opened, "caltech101", ProbeRequest(str(store), ("caltech101",), partial=True), FAST)
    assert splits.held is not None
    ids = [str(name) for name in opened.split("caltech101", "train").ids[splits.roles["train"].samples.positions]]
    held = {name for name, chosen in zip(ids, splits.held, strict=True) if chosen}
    names = open_dataset("caltech101", data_root=root, split="train").ids
    assert held == set(sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[-12:])
    (layer,) = splits.roles["train"].selected.layers
    parts = splits.parts(layer)
    rows = splits.roles["train"].read(layer)
    np.testing.assert_array_equal(parts["val"].features, rows[splits.held])
    np.testing.assert_array_equal(parts["train"].features, rows[~splits.held])
    assert parts["val"].labels.tolist() == splits.roles["train"].samples.labels[splits.held].tolist()


def test_a_data_set_that_is_not_whole_is_refused(store: Path) -> None:
    with pytest.raises(IncompleteError, match="dtd:2/train has 2 samples, published are 1,880") as caught:
        probe(ProbeRequest(str(store), ("dtd-2",)), FAST)
    assert "--partial" in str(caught.value)


def test_features_of_a_part_of_the_samples_are_refused(tmp_path: Path) -> None:
    for split, limit in (("train", 64), ("val", None), ("test", 32)):
        features("digits", split, tmp_path / "s.zarr", limit=limit)
    words = ["transfer", "probe", "--dataset", "digits", "--store", str(tmp_path / "s.zarr"), "--recipe", "clip_lbfgs"]
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, IncompleteError)
    assert refused.exception.exit_code == 5
    with pytest.raises(IncompleteError, match="head features of 64 of the 1,200 samples of digits/train") as caught:
        probe(ProbeRequest(str(tmp_path / "s.zarr"), ("digits",)), FAST)
    assert "--split train" in str(caught.value)
    done = CliRunner().invoke(app, [*words, "--partial"])
    assert done.exit_code == 0, done.output
    for text in ("partial: 64 of the 1,200 samples of digits/train", "partial: 32 of the 397 samples of digits/test"):
        assert done.stdout.count(text) == 2, "above the numbers, and as a note"
