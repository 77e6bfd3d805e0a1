"""Robustness from stored logits: a shifted set beside the clean images of its classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvbench.errors import EvaluationSuspectError, UsageError
from cvbench.jobs.evaluation.accuracy import accuracy
from cvbench.jobs.evaluation.options import AccuracyOptions
from cvbench.jobs.evaluation.robustness import robustness
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.results.row import CHANCE
from cvbench.storage.datasets.readers.imagenet_classes import imagenet_a_wnids, imagenet_columns, imagenet_wnids
from tests.jobs.evaluation.birds import PART, SHARED, one, rows
from tests.jobs.evaluation.imagenet_logits import imagenet_store
from tests.jobs.logits_store import noisy_logits, write_logits


def test_a_class_subset_is_scored_over_its_columns_on_both_sides(tmp_path: Path) -> None:
    url, made = imagenet_store(tmp_path)
    found = robustness(url, [], None, [], PART).result
    right = made["shifted"][:, made["columns"]].argmax(axis=1) == made["labels"]
    assert one(found, metric="top1", factor="", dataset="imagenet-r").value == right.mean()
    assert one(found, metric="top1", factor="toy").value == right[made["kinds"] == "toy"].mean()
    inside = made["clean"][np.ix_(made["columns"], made["columns"])].argmax(axis=1) == np.arange(200)
    counterpart = one(found, metric="clean top1")
    assert (counterpart.value, counterpart.n) == (inside.mean(), 200)
    drop = one(found, metric="top1 less clean")
    assert drop.value == pytest.approx(right.mean() - inside.mean())
    assert one(found, metric="mean top1 over sets").value == right.mean()
    assert found.attrs["protocol"] == {
        "imagenet-r/test: vit": "200 of 1000 outputs, selected before argmax and softmax"
    }
    (whole,) = accuracy([Selection(url, "imagenet-r")], AccuracyOptions(PART, masked=False))
    everything = made["shifted"].argmax(axis=1) == made["columns"][made["labels"]]
    assert one(whole.result, metric="top1").value == everything.mean()
    guessed = one(whole.result, metric="top1", factor=CHANCE), one(found, metric="top1", factor=CHANCE)
    assert [row.value for row in guessed] == [1 / 1000, 1 / 200], "over the outputs that take part"


def test_natural_adversarial_images_near_chance_refuse_no_other_set(tmp_path: Path) -> None:
    """A weak backbone is near 0 on ImageNet-A by design; on any other set that is explained, not reported."""
    url, _ = imagenet_store(tmp_path)
    labels = np.arange(2000) % 200
    noise = {"vit": noisy_logits(imagenet_columns(imagenet_a_wnids())[labels], 1000, 0.0, seed=5)}
    kind: dict[str, Any] = {"dataset": "imagenet-a", "split": "test", "unit": 512}
    write_logits(tmp_path / "in.zarr", noise, labels, imagenet_a_wnids(), **kind)
    found = robustness(url, [], None, [], PART).result
    assert {row.dataset for row in rows(found, metric="top1", factor="")} == {"imagenet-a", "imagenet-r"}
    assert any("imagenet-a/test: vit is near chance" in note for note in found.attrs["notes"])
    guess = {"vit": noisy_logits(np.arange(1000), 1000, 0.0, seed=6)}
    kind = {"dataset": "imagenet-sketch", "split": "test", "unit": 512}
    write_logits(tmp_path / "in.zarr", guess, np.arange(1000), imagenet_wnids(), **kind)
    with pytest.raises(EvaluationSuspectError, match="near chance"):
        robustness(url, [], None, [], PART)


def test_the_mean_over_sets_counts_imagenetv2_once(tmp_path: Path) -> None:
    url, _ = imagenet_store(tmp_path)
    variants = ("imagenetv2-threshold-0.7", "imagenetv2-matched-frequency", "imagenetv2-top-images")
    for seed, name in enumerate(variants):
        logits = {"vit": noisy_logits(np.arange(1000), 1000, 3.0 + seed, seed=seed)}
        kind: dict[str, Any] = {"dataset": name, "split": "test", "unit": 512}
        write_logits(tmp_path / "in.zarr", logits, np.arange(1000), imagenet_wnids(), **kind)
    found = robustness(url, [], None, [], PART).result
    top1 = {row.dataset: row.value or 0.0 for row in rows(found, metric="top1", factor="")}
    assert set(top1) == {*variants, "imagenet-r"}, "every set is still shown"
    mean = one(found, metric="mean top1 over sets")
    assert mean.factor == "imagenetv2-matched-frequency, imagenet-r"
    assert mean.value == pytest.approx((top1["imagenetv2-matched-frequency"] + top1["imagenet-r"]) / 2)
    assert mean.n == 1400
    said = "the mean over sets counts ImageNetV2 once, without imagenetv2-threshold-0.7, imagenetv2-top-images"
    assert said in found.attrs["notes"]
    other = robustness(url, ["imagenetv2-top-images", "imagenet-r"], None, [], PART).result
    assert one(other, metric="mean top1 over sets").factor == "imagenetv2-top-images, imagenet-r"


def test_robustness_says_what_is_missing(birds: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="logits of no shifted data set"):
        robustness(birds, [], None, [], SHARED)
    url, _ = imagenet_store(tmp_path)
    with pytest.raises(UsageError, match="800 classes of the shifted set are not in imagenet-r"):
        robustness(url, ["imagenet-val"], "imagenet-r", [], PART)
    alone = robustness(url, ["imagenet-r"], "imagenet-val", [], PART)
    assert alone.path.startswith("results/imagenet-val/val/robustness/")
