"""Fine-tuning jobs: it learns, it survives a kill to the last bit, Ray gives the same, and the weights go back in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.engine.pictures.geometry import Geometry
from cvbench.errors import FingerprintMismatchError, IntegrityError, UnknownNameError, UsageError
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.results.row import COLUMNS
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Advanced, Event, Note
from cvbench.jobs.transfer import checkpoint
from cvbench.jobs.transfer.finetune import FinetuneOptions, finetune, make_task
from cvbench.jobs.transfer.finetune_data import Images
from cvbench.storage.datasets import open_dataset
from tests.forks import Start
from tests.jobs.images import write_folder
from tests.jobs.transfer.holding import DEADLINE, TOTAL, Training

HERE = Cluster(address="none", device="cpu", threads=1)


def options(out: Path, epochs: int = 1, model: str = "test_convnext", **changes: Any) -> FinetuneOptions:
    given: dict[str, Any] = {"weights": "random", "epochs": epochs, "image_size": 32, **changes}
    return FinetuneOptions("digits", model, str(out), **given)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[FinetuneOptions, Path, list[Event]]:
    """A small ConvNeXt, from scratch, two epochs."""
    folder = tmp_path_factory.mktemp("finetune")
    heard: list[Event] = []
    report = finetune(options(folder, 2), HERE, heard.append)
    assert not report.done_before
    return options(folder, 2), Path(report.weights), heard


def test_a_small_convnext_learns_the_digits(trained: tuple[FinetuneOptions, Path, list[Event]]) -> None:
    _, weights, heard = trained
    plain = checkpoint.read_plain(weights)
    top1 = plain["result"]["top1"]
    assert top1["value"] >= 0.9
    assert top1["low"] < top1["value"] < top1["high"]
    assert (top1["n"], plain["trained_on"]) == (397, 1400)
    counts = {name: (found["n"], found["unreadable"]) for name, found in plain["samples"].items()}
    assert counts == {"train": (1200, []), "val": (200, []), "test": (397, [])}
    assert [row["epoch"] for row in plain["curve"]] == [1, 2]
    assert plain["curve"][1]["loss"] < plain["curve"][0]["loss"]
    assert sum(event.samples for event in heard if isinstance(event, Advanced)) == 2 * 21 * 64
    assert any(isinstance(event, Note) and "epoch 2, step 42: rate" in event.text for event in heard)
    assert plain["identity"]["data"].keys() == {"train", "val", "test"}
    assert plain["identity"]["data"]["test"] == open_dataset("digits", split="test").digest


def test_the_weights_go_back_into_extract(trained: tuple[FinetuneOptions, Path, list[Event]], tmp_path: Path) -> None:
    _, weights, _ = trained
    plain = checkpoint.read_plain(weights)
    job = ExtractOptions(
        dataset="digits",
        split="test",
        backbones=("test_convnext", "test_vit"),
        store=str(tmp_path / "s.zarr"),
        weights=("random", f"test_convnext={weights}"),
        views=("logits",),
        image_size=32,
    )
    extract(job, Cluster(address="none"))
    from cvbench.storage.features import FeatureStore, GroupKey

    store = FeatureStore.open(tmp_path / "s.zarr")
    layer = store.layer(GroupKey("digits", "test", "test_convnext@32", "logits"), "logits")
    logits = layer.numpy()
    assert logits.shape == (397, 10)
    found = (logits.argmax(axis=1) == store.samples("digits", "test")["label"]).mean()
    assert found == pytest.approx(plain["result"]["top1"]["value"], abs=1e-9)


def test_the_same_again_trains_nothing_and_another_is_refused(
    trained: tuple[FinetuneOptions, Path, list[Event]],
) -> None:
    given, weights, _ = trained
    before = weights.read_bytes()
    report = finetune(given, HERE)
    assert report.done_before
    assert weights.read_bytes() == before
    with pytest.raises(FingerprintMismatchError, match="seed") as caught:
        finetune(options(Path(given.out), 2, seed=1), HERE)
    assert "recipe.epochs" not in str(caught.value)
    with pytest.raises(FingerprintMismatchError, match=r"recipe\.epochs"):
        finetune(options(Path(given.out), 3), HERE)
    with pytest.raises(FingerprintMismatchError, match="processes"):  # each draws its own shifts
        finetune(given, replace(HERE, actors=2))


def test_a_killed_run_goes_on_to_the_same_weights_bit_for_bit(start: Start, tmp_path: Path) -> None:
    whole, killed = Training(start, tmp_path / "whole"), Training(start, tmp_path / "killed", 6)
    process = killed.begin("none")
    killed.wait_for(6, process)  # in the middle of an epoch
    assert process.kill()
    held = killed.out / "test_vit@32-held.checkpoint.safetensors"
    assert checkpoint.read_plain(held)["step"] == 6
    for training in (whole, killed):
        process = training.begin("none")
        _, said = process.communicate(DEADLINE)
        assert process.returncode == 0, said
        assert training.steps() == [*range(1, TOTAL)]
    assert killed.weights() == whole.weights()  # weights, curve and accuracy
    assert not held.exists()


@pytest.mark.ray
def test_ray_train_gives_the_same(ray_here: None, tmp_path: Path) -> None:
    heard: list[Event] = []
    job: dict[str, Any] = {"train": ("val",), "batch_size": 32}
    here = finetune(options(tmp_path / "here", **job), HERE)
    alone = Cluster(address="local", device="cpu", threads=1, actors=1)
    there = finetune(options(tmp_path / "there", **job), alone, heard.append)
    assert Path(there.weights).read_bytes() == Path(here.weights).read_bytes()
    assert any(isinstance(event, Advanced) for event in heard)
    assert sorted(path.name.split(".")[-1] for path in (tmp_path / "there").iterdir()) == [
        *("csv", "json", "png", "safetensors", "svg")
    ]


@pytest.mark.ray
def test_two_processes_share_a_batch(ray_here: None, tmp_path: Path) -> None:
    job: dict[str, Any] = {
        "train": ("val",),
        "batch_size": 32,
        "recipe": "vtab_1k",
    }  # nothing random that is drawn per process
    here = finetune(options(tmp_path / "here", **job), HERE)
    two = Cluster(address="local", device="cpu", threads=1, actors=2)
    shared = finetune(options(tmp_path / "two", **job), two)
    one, both = load_file(here.weights), load_file(shared.weights)
    assert one.keys() == both.keys()
    for name, value in one.items():
        # The mean of two halves' gradients is that of the whole but for rounding; six steps of SGD at 0.01.
        torch.testing.assert_close(both[name], value, atol=1e-5, rtol=1e-4, msg=name)
    assert shared.numbers == here.numbers


def test_a_batch_that_cannot_be_shared(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be shared by 3") as caught:
        make_task(options(tmp_path), Cluster(device="cpu", actors=3))
    assert "--batch-size 66" in str(caught.value)


def test_what_cannot_be_trained_on(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 8, 2)
    folder = FinetuneOptions(f"folder:{tmp_path / 'pets'}", "test_vit", str(tmp_path / "out"), weights="random")
    with pytest.raises(UsageError, match="no split to train on") as caught:
        finetune(folder, HERE)
    assert "--train-split" in str(caught.value)
    for changes, error, said in (
        ({"train": ("train", "test")}, UsageError, "both trained and tested on"),
        ({"train": ("training",)}, UnknownNameError, "training"),
        ({"recipe": "moder"}, UnknownNameError, "modern"),
        ({"validate": True, "train": ("val",)}, UsageError, "no train and val"),
    ):
        with pytest.raises(error) as caught:
            finetune(options(tmp_path / "out", **changes), HERE)
        assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_validation_is_left_out_of_the_training(tmp_path: Path) -> None:
    report = finetune(options(tmp_path, validate=True, model="test_vit"), HERE)
    assert report.trained_on == 1200
    assert 0 < float(report.curve[0]["val_accuracy"] or 0) <= 1
    assert "trained on train," in report.variant


def test_images_are_the_same_from_memory_and_from_threads_and_bad_ones_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 12, 2, broken=(3,))
    dataset = open_dataset(f"folder:{tmp_path / 'pets'}")
    geometry = Geometry(size=(16, 16), resize=16)
    groups = [np.array([5, 2, 3, 0]), np.array([11, 7]), np.array([1, 4, 6])]
    kept, streamed = (Images([dataset, dataset], geometry, threads=2, cache=cache) for cache in (10**9, 0))
    assert len(kept) == 24
    for one, other, rows in zip(kept.batches(groups), streamed.batches(groups), groups, strict=True):
        assert torch.equal(one.images, other.images)
        assert one.rows.tolist() == other.rows.tolist() == [row for row in rows if row not in kept.bad]
        assert one.labels.tolist() == dataset.labels[one.rows].tolist()
    assert len(kept.bad) == 2
    assert len(streamed.bad) == 1
    assert ": " in next(iter(kept.bad.values()))


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    task = make_task(options(tmp_path), HERE)
    task.file("checkpoint.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(IntegrityError, match="damaged") as caught:
        finetune(options(tmp_path), HERE)
    assert "delete it" in str(caught.value)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.safetensors"
    checkpoint.save(path, {"a": torch.ones(2)}, {"step": 1})
    first = path.read_bytes()
    checkpoint.save(path, {"a": torch.ones(2)}, {"step": 1})
    assert path.read_bytes() == first
    tensors, plain = checkpoint.load(path)
    assert (tensors["a"].tolist(), plain) == ([1.0, 1.0], {"step": 1})
    assert [file.name for file in path.parent.iterdir()] == ["x.safetensors"]


def test_the_command(tmp_path: Path) -> None:
    words = ["transfer", "finetune", "--dataset", "digits", "--backbone", "test_vit", "--weights", "random"]
    words += ["--epochs", "1", "--image-size", "32", "--out", str(tmp_path), "--address", "none", "--threads", "1"]
    outcome = CliRunner().invoke(app, [*words, "--device", "cpu", "--format", "json"])
    assert outcome.exit_code == 0, outcome.output
    found = json.loads(outcome.stdout)
    (described,), rows = found["results"], found["rows"]
    report = described["attributes"]
    assert [row["metric"] for row in rows] == [f"fine-tuned, {name}" for name in ("top-1", "top-5", "mean per class")]
    place = {"run": report["weights"], "dataset": "digits", "split": "test", "backbone": "test_vit@32"}
    assert {**place, "analysis": "finetune"}.items() >= {key: described[key] for key in ("run", "analysis")}.items()
    assert all(row | place == row and (row["n"], row["n_failed"]) == (397, 0) for row in rows)
    kept = json.loads(next(Path(file) for file in report["files"] if file.endswith(".json")).read_text())
    assert [rows[0][key] for key in ("value", "low", "high")] == [
        kept["result"]["top1"][key] for key in ("value", "low", "high")
    ]
    assert all(Path(file).is_file() for file in report["files"])
    names = {Path(file).name.partition(".")[2] for file in report["files"]}
    assert names == {"safetensors", "json", "curve.svg", "curve.png", "curve.csv"}
    again = CliRunner().invoke(app, [*words, "--device", "cpu"])
    assert "next: cvbench extract --dataset digits --split test --backbone test_vit --weights" in again.stdout
    assert "--image-size 32" in again.stdout
    tidy = CliRunner().invoke(app, [*words, "--device", "cpu", "--format", "csv"])
    assert tidy.exit_code == 0, tidy.output
    header, first, *_ = tidy.stdout.splitlines()
    assert header == ",".join(COLUMNS)
    assert first.startswith(f'{report["weights"]},finetune,digits,test,test_vit@32,,,,"fine-tuned, top-1",')
