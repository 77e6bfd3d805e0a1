"""From real trees of the ImageNet family through a small backbone to every benchmark: names and joins fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.errors import EvaluationSuspectError
from cvbench.jobs.evaluation.accuracy import accuracy
from cvbench.jobs.evaluation.imagenet_x import imagenet_x
from cvbench.jobs.evaluation.options import AccuracyOptions, EvalOptions, ImageNetXOptions, PugOptions
from cvbench.jobs.evaluation.pug import pug
from cvbench.jobs.evaluation.robustness import robustness
from cvbench.jobs.evaluation.shape_bias import evaluate
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.registry import entry_of
from cvbench.jobs.results.keep import stored_result
from cvbench.jobs.running.cluster import Cluster
from cvbench.storage.annotations import IMAGENET_X_FACTORS, SHAPE_CATEGORIES
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import list_results
from tests.jobs.evaluation.birds import one, rows
from tests.storage.datasets import imagenet_trees as trees

SETS = ("imagenet-val", "imagenetv2-matched-frequency", "imagenet-a", "imagenet-r", "imagenet-sketch")
OPTIONS = EvalOptions(partial=True, allow_chance=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with small trees of every set, their annotations, and a store of the logits of random weights."""
    root = tmp_path_factory.mktemp("imagenet")
    trees.write_val(root / "imagenet" / "val")
    trees.write_v2(root / "imagenetv2" / "imagenetv2-matched-frequency-format-val")
    trees.write_a(root / "imagenet-a")
    trees.write_r(root / "imagenet-r")
    trees.write_sketch(root / "imagenet-sketch" / "sketch")
    trees.write_cue(root / "cue-conflict", SHAPE_CATEGORIES)
    trees.write_pug(root / "PUG_ImageNet")
    lines = []
    for number, label in trees.VAL.items():
        flags = {name: int(name == "pose") for name in IMAGENET_X_FACTORS}
        record = {"file_name": trees.val_name(number), "class": label, **flags, "justification": None, "one_word": None}
        lines.append(json.dumps(record))
    (root / "imagenet_x_val_top_factor.jsonl").write_text("\n".join(lines) + "\n")
    (root / "prototypical_paths.csv").write_text(f"file_name\n{trees.val_name(17)}\n")
    (root / "imagenet_real_labels.json").write_text(json.dumps([[0]] * 50_000))
    for dataset in (*SETS, "cue-conflict", "pug-imagenet"):
        options = ExtractOptions(
            dataset,
            ("test_vit",),
            str(root / "s.zarr"),
            data_root=str(root),
            weights=("random",),
            views=("logits",),
            image_size=64,
            batch_size=8,
        )
        extract(options, Cluster(address="none"))
    return root


def test_accuracy_with_real_labels(root: Path) -> None:
    options = AccuracyOptions(OPTIONS, real=str(root))
    (found,) = accuracy([Selection(str(root / "s.zarr"), "imagenet-val")], options)
    assert one(found.result, metric="top1").n == len(trees.VAL)
    assert one(found.result, metric="ReaL top1").n == len(trees.VAL)


def test_robustness_over_all_sets(root: Path) -> None:
    result = robustness(str(root / "s.zarr"), [], None, [], OPTIONS).result
    assert result.attrs["sets"] == list(SETS[1:])
    assert {row.n for row in rows(result, metric="top1", dataset="imagenet-a", factor="")} == {8}
    assert {row.factor for row in rows(result, metric="top1", dataset="imagenet-r")} == {"", "art", "video_game"}
    assert one(result, metric="clean top1", dataset="imagenet-sketch").n == len(trees.VAL)
    assert "200 of 1000 outputs" in result.attrs["protocol"]["imagenet-a/test: test_vit@64"]


def test_imagenet_x_joins_by_file_name(root: Path) -> None:
    result = imagenet_x(Selection(str(root / "s.zarr")), ImageNetXOptions(str(root), shared=OPTIONS)).result
    assert one(result, metric="factor accuracy", factor="pose").n == len(trees.VAL) - 1, "a prototype is left out"
    assert one(result, metric="factor accuracy", factor="style").n == 0


def test_pug_and_cue_conflict_have_the_factors(root: Path) -> None:
    store = str(root / "s.zarr")
    result = pug(Selection(store), PugOptions(str(root / "PUG_ImageNet"), shared=OPTIONS)).result
    counts = {row.factor: row.n for row in rows(result, metric="subset accuracy") if row.n}
    assert counts == dict.fromkeys(("Worlds", "Camera_Roll", "Scene_Light"), 2 * len(trees.PUG_INDICES))
    assert {row.factor for row in rows(result, metric="accuracy at a value")} >= {"Camera_Roll=0", "Camera_Roll=45"}
    result = evaluate(Selection(store), OPTIONS).result
    assert one(result, metric="decided by shape").n == 32
    assert np.isfinite(one(result, metric="decided by texture").value or 0.0)


def test_every_result_says_how_to_make_it_again(root: Path, tmp_path: Path) -> None:
    store = str(shutil.copytree(root / "s.zarr", tmp_path / "s.zarr"))  # with these results, whatever ran before
    for key in list_results(FeatureStore.open(store)):
        FeatureStore.open(store).objects.delete(key.marker)
    accuracy([Selection(store, "imagenet-val")], AccuracyOptions(OPTIONS, real=str(root)))
    robustness(store, [], None, [], OPTIONS)
    imagenet_x(Selection(store), ImageNetXOptions(str(root), shared=OPTIONS))
    pug(Selection(store), PugOptions(str(root / "PUG_ImageNet"), shared=OPTIONS))
    evaluate(Selection(store), OPTIONS)
    opened = FeatureStore.open(store)
    kept = list_results(opened)
    assert {key.analysis for key in kept} == {"accuracy", "robustness", "imagenet-x", "pug", "shape-bias"}
    for key in kept:
        entry = entry_of(key.analysis)
        assert entry is not None
        words = entry.command(stored_result(opened, key))
        again = CliRunner().invoke(app, [*words, "--store", opened.url, "--format", "json"])
        assert [one["run"] for one in json.loads(again.stdout)["results"]] == [key.path]


def test_a_result_says_how_the_images_were_prepared(root: Path) -> None:
    (found,) = accuracy([Selection(str(root / "s.zarr"), "imagenet-a")], AccuracyOptions(OPTIONS))
    made = found.result.attrs["made_from"]["test_vit@64"]
    assert (made["model"], made["image_size"]) == ("test_vit", 64)
    assert {"mean", "std"} <= set(made["preprocess"])


def test_random_weights_are_not_reported_by_mistake(root: Path) -> None:
    plain = AccuracyOptions(EvalOptions(partial=True))
    with pytest.raises(EvaluationSuspectError, match="near chance"):
        accuracy([Selection(str(root / "s.zarr"), "imagenet-sketch")], plain)
