"""Every benchmark on `scenes` and its variants: the same commands, on classes of the data set's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.errors import UsageError
from cvbench.jobs.evaluation.accuracy import accuracy
from cvbench.jobs.evaluation.imagenet_x import imagenet_x
from cvbench.jobs.evaluation.options import AccuracyOptions, ImageNetXOptions, PugOptions
from cvbench.jobs.evaluation.pug import pug
from cvbench.jobs.evaluation.robustness import SCENES_SETS, robustness
from cvbench.jobs.evaluation.shape_bias import evaluate
from cvbench.jobs.reading.pictures import boxes_of
from cvbench.jobs.reading.selection import Selection
from cvbench.storage.datasets import Dataset, open_dataset
from cvbench.storage.features import FeatureStore
from tests.jobs.evaluation.birds import SHARED, one, rows
from tests.jobs.logits_store import noisy_logits, write_logits


def write(store: Path, spec: str, logits: dict[str, NDArray[Any]] | None = None, split: str | None = None) -> Dataset:
    """Keep logits of a data set in its own order; without any, of two backbones that err."""
    dataset = open_dataset(spec, split=split)
    labels = dataset.labels
    made = logits or {name: noisy_logits(labels, len(dataset.classes), 3.0, seed) for seed, name in enumerate("ab")}
    write_logits(
        store,
        made,
        labels,
        dataset.classes,
        dataset=dataset.name,
        split=dataset.split,
        ids=dataset.ids,
        factors=dict(dataset.factors),
        unit=512,
    )
    return dataset


def right(dataset: Dataset, seed: int = 0) -> NDArray[np.bool_]:
    """(n,) bool: which samples the first backbone of `write` has right."""
    found: NDArray[np.bool_] = noisy_logits(dataset.labels, len(dataset.classes), 3.0, seed).argmax(1) == dataset.labels
    return found


def test_accuracy_of_scenes(tmp_path: Path) -> None:
    dataset = write(tmp_path / "s.zarr", "scenes")
    (found,) = accuracy([Selection(str(tmp_path / "s.zarr"), "scenes")], AccuracyOptions(shared=SHARED))
    assert one(found.result, backbone="a", metric="top1").value == pytest.approx(right(dataset).mean())


def test_pug_reads_a_grid_of_scenes(tmp_path: Path) -> None:
    """A backbone that errs where the object is small: that factor is low, and its curve rises."""
    dataset = open_dataset("scenes-pug")
    labels, sizes = dataset.labels, dataset.factors["size"]
    logits = np.eye(10, dtype=np.float32)[np.where(sizes < 0.5, (labels + 1) % 10, labels)]
    good = np.eye(10, dtype=np.float32)[labels]
    write(tmp_path / "s.zarr", "scenes-pug", {"short": logits, "all": good})
    result = pug(Selection(str(tmp_path / "s.zarr"), "scenes-pug"), PugOptions()).result
    for factor in np.unique(dataset.factors["subset"]).tolist():
        inside = dataset.factors["subset"] == factor
        expected = float((sizes[inside] >= 0.5).mean())
        assert one(result, backbone="short", metric="factor accuracy", factor=factor).value == pytest.approx(expected)
        assert one(result, backbone="all", metric="subset accuracy", factor=factor).value == 1
    curve = [row.value for row in rows(result, backbone="short", metric="accuracy at a value") if "size=" in row.factor]
    assert curve == [0, 0, 0, 1, 1, 1, 1, 1]
    assert not rows(result, metric="subset accuracy, reference labels")
    assert "output i is class i" in result.attrs["protocol"]


def test_pug_of_scenes_refuses_a_classifier_of_others(tmp_path: Path) -> None:
    labels = open_dataset("scenes-pug").labels
    write(tmp_path / "s.zarr", "scenes-pug", {"wide": noisy_logits(labels, 1000, 4.0)})
    with pytest.raises(UsageError, match="1,000 outputs, the data set 10 classes"):
        pug(Selection(str(tmp_path / "s.zarr"), "scenes-pug"), PugOptions())


def test_shape_bias_of_scenes(tmp_path: Path) -> None:
    """Backbones that decide by shape, and three times in four by texture."""
    dataset = open_dataset("scenes-cue-conflict")
    shape, texture = dataset.labels, dataset.factors["texture_label"]
    mostly = np.where(np.arange(len(dataset)) % 4 == 0, shape, texture)
    eye = np.eye(10, dtype=np.float32)
    write(tmp_path / "s.zarr", "scenes-cue-conflict", {"shape": eye[shape], "texture": eye[mostly]})
    result = evaluate(Selection(str(tmp_path / "s.zarr"), "scenes-cue-conflict"), SHARED).result
    conflict = shape != texture
    expected = float((mostly == shape)[conflict].mean())
    assert one(result, backbone="shape", metric="shape bias", factor="").value == 1
    assert one(result, backbone="texture", metric="shape bias", factor="").value == pytest.approx(expected)
    assert one(result, backbone="shape", metric="shape bias", factor="mushroom").n == 72
    assert "argmax of the 10 means" in result.attrs["protocol"]
    assert result.attrs["conflicts"] == 720


def test_shape_bias_of_scenes_refuses_a_classifier_of_others(tmp_path: Path) -> None:
    labels = open_dataset("scenes-cue-conflict").labels
    write(tmp_path / "s.zarr", "scenes-cue-conflict", {"wide": noisy_logits(labels, 1000, 4.0)})
    with pytest.raises(UsageError, match="an output for each of 10 classes"):
        evaluate(Selection(str(tmp_path / "s.zarr"), "scenes-cue-conflict"), SHARED)


@pytest.mark.parametrize("which", ["top", "multi"])
def test_error_ratios_of_scenes_are_of_their_own_table(tmp_path: Path, which: str) -> None:
    dataset = write(tmp_path / "s.zarr", "scenes")
    options = ImageNetXOptions(which=which)  # type: ignore[arg-type]
    result = imagenet_x(Selection(str(tmp_path / "s.zarr"), "scenes"), options).result
    hits = right(dataset)
    for name in ("pose", "smaller", "background", "color", "multiple_objects"):
        flags = dataset.factors["x_top"] == name if which == "top" else dataset.factors[f"x_{name}"]
        row = one(result, backbone="a", metric="error ratio", factor=name)
        assert row.n == flags.sum()
        assert row.value == pytest.approx((1 - hits[flags].mean()) / (1 - hits.mean()))
    assert one(result, backbone="a", metric="error ratio", factor="person_blocking").n == 0
    assert one(result, backbone="a", metric="accuracy overall").value == pytest.approx(hits.mean())


def test_flags_that_are_not_there_are_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "s.zarr", "scenes-fine")
    with pytest.raises(UsageError, match="files of ImageNet-X") as caught:
        imagenet_x(Selection(str(tmp_path / "s.zarr"), "scenes-fine"), ImageNetXOptions())
    assert caught.value.fix == "--annotations DIR"
    write(tmp_path / "t.zarr", "scenes")
    with pytest.raises(UsageError, match="files of ImageNet-X"):
        imagenet_x(Selection(str(tmp_path / "t.zarr"), "scenes"), ImageNetXOptions(error="metaclass"))


def test_robustness_finds_the_sets_that_shift_scenes(tmp_path: Path) -> None:
    """All that the store has, against its test split, though the training split is there too."""
    url = tmp_path / "s.zarr"
    clean = write(url, "scenes")
    write(url, "scenes", split="train")
    shifted = {name: write(url, name) for name in SCENES_SETS}
    result = robustness(str(url), [], None, [], SHARED).result
    assert result.attrs["clean"] == "scenes/test"
    assert result.attrs["sets"] == list(SCENES_SETS)
    base = right(clean).mean()
    for name, dataset in shifted.items():
        value = right(dataset).mean()
        found = [row for row in rows(result, backbone="a", metric="top1") if row.dataset == name and not row.factor]
        assert found[0].value == pytest.approx(value)
        drops = [row for row in rows(result, backbone="a", metric="top1 less clean") if row.dataset == name]
        assert drops[0].value == pytest.approx(value - base)
    kinds = {row.factor for row in rows(result, backbone="a", metric="top1") if row.dataset == "scenes-r"}
    assert {"", "poster", "neon", "mosaic"} <= kinds


def test_robustness_of_another_size(tmp_path: Path) -> None:
    url = tmp_path / "s.zarr"
    write(url, "scenes:96")
    write(url, "scenes-v2:96")
    result = robustness(str(url), [], None, [], SHARED).result
    assert (result.attrs["clean"], result.attrs["sets"]) == ("scenes-96/test", ["scenes-v2-96"])


def test_scenes_that_are_hard_by_design_may_be_near_chance(tmp_path: Path) -> None:
    labels = open_dataset("scenes-a").labels
    write(tmp_path / "s.zarr", "scenes-a", {"a": noisy_logits(labels, 10, 0.0)})
    result = robustness(str(tmp_path / "s.zarr"), ["scenes-a"], None, [], SHARED).result
    assert any("near chance" in note for note in result.attrs["notes"])


def test_boxes_of_scenes_are_found(tmp_path: Path) -> None:
    dataset = write(tmp_path / "s.zarr", "scenes")
    info = FeatureStore.open(str(tmp_path / "s.zarr")).split("scenes", "test")
    boxes = boxes_of(dataset, info)
    assert boxes is not None
    assert boxes.original.shape == (len(dataset), 4)
    assert (boxes.original[:, 2:] > 0).all()
