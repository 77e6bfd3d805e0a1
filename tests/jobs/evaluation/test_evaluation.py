"""Benchmarks from stored logits: what counts, what is refused, and what is kept."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cvbench.engine.statistics.holm import holm
from cvbench.errors import EvaluationSuspectError, IncompleteError, IntegrityError, UnknownNameError, UsageError
from cvbench.jobs.evaluation.accuracy import ENTRY as ACCURACY
from cvbench.jobs.evaluation.accuracy import accuracy
from cvbench.jobs.evaluation.calibration import calibrate
from cvbench.jobs.evaluation.labels import label_space
from cvbench.jobs.evaluation.options import AccuracyOptions, CalibrationOptions, EvalOptions
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.results.keep import stored_result
from cvbench.jobs.results.row import DIFFERENCE, TEST, VALUE
from cvbench.jobs.results.table import again
from cvbench.storage.annotations.synsets import classifier_synsets
from cvbench.storage.datasets.readers.imagenet_classes import imagenet_columns, imagenet_r_wnids, imagenet_wnids
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import list_results
from tests.jobs.evaluation.birds import BIRDS, DRAWN, FAST, LABELS, LOGITS, PART, SHARED, one, rows
from tests.jobs.logits_store import noisy_logits, write_logits


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 birds of 7 classes in two backbones, five of them unreadable."""
    folder = tmp_path_factory.mktemp("evaluation")
    write_logits(folder / "s.zarr", LOGITS, LABELS, BIRDS, bad=(0, 17, 18, 40, 69))
    return folder / "s.zarr"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(made, tmp_path / "s.zarr"))


def test_it_counts_the_readable_samples(store: str) -> None:
    (found,) = accuracy([Selection(store, backbones=("good", "fair"))], FAST)
    readable = np.setdiff1d(np.arange(70), (0, 17, 18, 40, 69))
    for name, logits in LOGITS.items():
        right = logits.argmax(axis=1) == LABELS
        row = one(found.result, backbone=name, metric="top1")
        assert (row.value, row.n, row.n_failed) == (right[readable].mean(), 65, 5)
        five = np.argsort(-logits, axis=1, kind="stable")[:, :5] == LABELS[:, None]
        assert one(found.result, backbone=name, metric="top5").value == five.any(axis=1)[readable].mean()
        mean = np.mean([right[readable][LABELS[readable] == k].mean() for k in range(7)])
        assert one(found.result, backbone=name, metric="mean per class").value == pytest.approx(mean)
    pair = one(found.result, backbone="good", backbone_b="fair", metric="top1")
    assert pair.value is not None
    assert pair.value > 0
    assert (pair.kind, pair.verdict, pair.n, pair.n_failed) == (DIFFERENCE, "resolved", 65, 5)
    exact = one(found.result, backbone="good", backbone_b="fair", metric="McNemar exact p")
    assert (exact.kind, exact.value) == (TEST, pair.p), "the one pair is the family"
    assert found.result.attrs["verdicts"][0].startswith("birds, top1: good is above fair (resolved): +")


def test_few_images_resolve_nothing_however_small_p_is(tmp_path: Path) -> None:
    """29 images, 25 of which one backbone alone gets right: McNemar's exact p is 6e-8."""
    labels = np.arange(30) % 3
    right = np.eye(3)[labels]
    wrong = np.where(np.arange(30)[:, None] < 4, right, np.eye(3)[(labels + np.arange(30) % 2 + 1) % 3])
    for n, said in (
        (29, "birds, top1: a and b (too few images to resolve): +"),
        (30, "birds, top1: a is above b (res"),
    ):
        logits = {"a": right[:n], "b": wrong[:n]}
        url = write_logits(tmp_path / f"{n}.zarr", logits, labels[:n], BIRDS[:3])
        (found,) = accuracy([Selection(url)], AccuracyOptions(EvalOptions(allow_chance=True)))
        assert found.result.attrs["verdicts"][0].startswith(said)
        p = one(found.result, backbone_b="b", metric="McNemar exact p").value
        assert p is not None
        assert p < 1e-6


def test_a_command_is_said_without_options_that_are_gone(store: str) -> None:
    (found,) = accuracy([Selection(store)], FAST)
    options = found.result.attrs["options"]
    older = replace(
        found.result, attrs={**found.result.attrs, "options": [*options, "--resamples", "50", "--seed", "3"]}
    )
    assert again(older, "accuracy") == again(found.result, "accuracy") == ["eval", "accuracy", *options]
    assert again(older, "calibration", draws=True)[-4:] == ["--resamples", "50", "--seed", "3"]


def test_the_result_is_kept_and_read_again(store: str) -> None:
    (found,) = accuracy([Selection(store)], AccuracyOptions(SHARED, per_class=True))
    assert accuracy([Selection(store)], AccuracyOptions(SHARED, per_class=True))[0].path == found.path
    opened = FeatureStore.open(store)
    (key,) = list_results(opened)
    kept = stored_result(opened, key)
    assert ACCURACY.rows_of(kept) == ACCURACY.rows_of(found.result)
    assert one(kept, backbone="good", metric="top1", factor="crow").run == found.path
    main = ACCURACY.main_rows(kept, ACCURACY.rows_of(kept))
    assert [(row.metric, row.kind) for row in main[:2]] == [("top1", DIFFERENCE), ("top1", VALUE)]
    words = ACCURACY.command(kept)
    assert words[:3] == ["eval", "accuracy", "--dataset"]
    assert "--per-class" in words
    assert accuracy([Selection(store)], FAST)[0].path != found.path, "other options, another result"


def test_the_headline_can_be_the_mean_per_class(tmp_path: Path) -> None:
    """One class has most samples: A is better on it, B on all others, so the two headlines name another winner."""
    labels = np.repeat(np.arange(7), (300, 20, 20, 20, 20, 20, 20))
    common = labels == 0
    ours = np.where(common, 9.0, 2.0).astype(np.float32), np.where(common, 2.0, 9.0).astype(np.float32)
    logits = {}
    for seed, (name, strength) in enumerate(zip("ab", ours, strict=True)):
        logits[name] = noisy_logits(labels, 7, 0.0, seed=seed)
        logits[name][np.arange(len(labels)), labels] += strength
    store = write_logits(tmp_path / "s.zarr", logits, labels, BIRDS)
    (plain,) = accuracy([Selection(store)], FAST)
    (mean,) = accuracy([Selection(store)], AccuracyOptions(SHARED, headline="mean-per-class"))
    assert plain.result.attrs["verdicts"][0].startswith("birds, top1: a is above b (resolved): +")
    assert mean.result.attrs["verdicts"][0].startswith("birds, mean per class: b is above a (resolved): +")
    pair = one(mean.result, backbone="a", backbone_b="b", metric="mean per class")
    means = [one(mean.result, backbone=name, metric="mean per class").value or 0.0 for name in "ab"]
    assert pair.value == pytest.approx(means[0] - means[1])
    assert one(mean.result, backbone="a", metric="top1") == replace(
        one(plain.result, backbone="a", metric="top1"), run=mean.path
    ), "both are always there"
    first = [ACCURACY.main_rows(found.result, ACCURACY.rows_of(found.result))[0] for found in (plain, mean)]
    assert [(row.metric, row.backbone_b) for row in first] == [("top1", "b"), ("mean per class", "b")]
    assert mean.path != plain.path
    words = ACCURACY.command(mean.result)
    assert words[words.index("--headline") + 1] == "mean-per-class"
    with pytest.raises(UnknownNameError, match="unknown --headline 'mean'"):
        AccuracyOptions(SHARED, headline="mean")


def test_a_part_of_a_data_set_is_not_its_number(tmp_path: Path) -> None:
    store = write_logits(tmp_path / "s.zarr", LOGITS, LABELS, BIRDS, units=3)
    with pytest.raises(IncompleteError) as caught:
        accuracy([Selection(store)], FAST)
    assert "48 of the 70 samples" in str(caught.value)
    assert "--partial" in str(caught.value)
    assert list_results(FeatureStore.open(store)) == []
    (found,) = accuracy([Selection(store)], AccuracyOptions(replace(SHARED, partial=True)))
    assert one(found.result, backbone="good", metric="top1").n == 48
    assert any("partial: 48 of the 70" in note for note in found.result.attrs["notes"])


def test_another_order_of_the_classes_is_explained(tmp_path: Path) -> None:
    wrong = np.roll(np.arange(7), 1)
    store = write_logits(tmp_path / "s.zarr", {"vit": LOGITS["good"][:, wrong]}, LABELS, BIRDS)
    with pytest.raises(EvaluationSuspectError) as caught:
        accuracy([Selection(store)], FAST)
    assert caught.value.exit_code == 2
    assert "in another order than the classifier's outputs" in str(caught.value)
    assert "renaming would make" in str(caught.value)
    assert list_results(FeatureStore.open(store)) == [], "explained, not reported"


def test_random_weights_are_explained_and_can_be_allowed(tmp_path: Path) -> None:
    same = np.zeros((70, 7), np.float32)
    same[:, 3] = 1
    guess = noisy_logits(LABELS, 7, 0.0, seed=3)
    for logits, said in ((same, "100 % of all samples get the same class"), (guess, "not told apart")):
        store = write_logits(tmp_path / f"{said[:3]}.zarr", {"vit": logits}, LABELS, BIRDS)
        with pytest.raises(EvaluationSuspectError) as caught:
            accuracy([Selection(store)], FAST)
        assert said in str(caught.value)
        assert "--allow-chance" in str(caught.value)
        (found,) = accuracy([Selection(store)], AccuracyOptions(replace(SHARED, allow_chance=True)))
        assert any("near chance" in note for note in found.result.attrs["notes"])


def test_what_cannot_be_evaluated_is_named(store: str, tmp_path: Path) -> None:
    other = write_logits(tmp_path / "o.zarr", {"vit": noisy_logits(LABELS, 1000, 9.0)}, LABELS, BIRDS)
    none = write_logits(tmp_path / "n.zarr", {"vit": LOGITS["good"]}, np.full(70, -1), BIRDS)
    infinite = LOGITS["good"].copy()
    infinite[3, 2] = np.inf
    broken = write_logits(tmp_path / "b.zarr", {"vit": infinite}, LABELS, BIRDS)
    cases: list[tuple[Selection, type[Exception], str]] = [
        (Selection(other), UsageError, "1,000 outputs, the data set 7 classes of its own"),
        (Selection(none), UsageError, "has a label"),
        (Selection(broken), IntegrityError, "logits of 1 readable samples are not finite"),
        (Selection(store, "bird"), UnknownNameError, "the store holds birds"),
    ]
    for selection, error, said in cases:
        with pytest.raises(error) as caught:
            accuracy([selection], FAST)
        assert said in str(caught.value)


def test_real_labels_are_of_imagenet_only(store: str, tmp_path: Path) -> None:
    (tmp_path / "imagenet_real_labels.json").write_text(str([[0]] * 50_000))
    with pytest.raises(UsageError, match="validation images, not of birds/all"):
        accuracy([Selection(store)], AccuracyOptions(SHARED, real=str(tmp_path)))


def test_calibration_from_a_store(store: str) -> None:
    (found,) = calibrate([Selection(store, backbones=("good",))], CalibrationOptions(SHARED, intervals=DRAWN))
    readable = np.setdiff1d(np.arange(70), (0, 17, 18, 40, 69))
    z = LOGITS["good"].astype(np.float64)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    confidence, right = p.max(axis=1)[readable], (p.argmax(axis=1) == LABELS)[readable]
    at = np.ceil(confidence * 15).astype(int)
    ece = sum(abs((confidence - right)[at == k].sum()) for k in range(1, 16)) / 65
    assert one(found.result, metric="ECE", factor="").value == pytest.approx(ece, abs=1e-6)
    nll = -np.log(p[np.arange(70), LABELS])[readable].mean()
    assert one(found.result, metric="NLL", factor="").value == pytest.approx(nll, rel=1e-6)
    bins = rows(found.result, metric="bin accuracy")
    assert (len(bins), sum(row.n for row in bins)) == (15, 65)
    halves = [one(found.result, metric="NLL", factor=f"held-out half, T {how}") for how in ("= 1", "fitted")]
    fitted = one(found.result, metric="temperature")
    assert halves[0].n == halves[1].n == 65 - fitted.n
    t = fitted.value
    assert fitted.low is not None
    assert fitted.high is not None
    assert t is not None
    assert fitted.low < t < fitted.high
    assert "sandwich" in found.result.attrs["intervals"]
    assert t is not None
    odd = readable[readable % 2 == 1]
    cooled = np.exp(z / t) / np.exp(z / t).sum(axis=1, keepdims=True)
    assert halves[1].value == pytest.approx(-np.log(cooled[odd, LABELS[odd]]).mean(), rel=1e-5)


def test_two_backbones_are_compared_by_their_calibration(store: str) -> None:
    both = Selection(store, backbones=("good", "fair"))
    result = calibrate([both], CalibrationOptions(SHARED, intervals=DRAWN))[0].result
    gaps = rows(result, metric="ECE, debiased", kind=DIFFERENCE, backbone_b="fair")
    assert [(row.backbone, row.backbone_b, row.factor) for row in gaps] == [
        ("good", "fair", ""),
        ("good", "fair", "held-out half, T fitted"),
    ]
    unadjusted = []
    for gap in gaps:
        wanted = {"metric": "ECE, debiased", "factor": gap.factor, "kind": VALUE}
        a, b = (one(result, backbone=name, **wanted) for name in ("good", "fair"))
        ends = np.array([(row.value, row.low, row.high) for row in (a, b, gap)], dtype=np.float64)
        value, low, high = ends[2]
        assert value == pytest.approx(ends[0, 0] - ends[1, 0])
        assert (low, high) == pytest.approx((ends[0, 1] - ends[1, 2], ends[0, 2] - ends[1, 1]))
        reach = value - low if value > 0 else high - value
        unadjusted.append(float(2 * stats.norm.sf(stats.norm.ppf(0.975) * abs(value) / reach)))
        assert gap.n == a.n
    assert [gap.p for gap in gaps] == pytest.approx(holm(unadjusted).tolist())
    assert [sentence.partition(":")[0] for sentence in result.attrs["verdicts"]] == [
        "birds, ECE, debiased",
        "birds, ECE, debiased, held-out half, T fitted",
    ]


def test_a_download_that_is_not_whole_is_no_benchmark(tmp_path: Path) -> None:
    labels = np.arange(40) % 10
    logits = {"vit": noisy_logits(labels, 10, 9.0)}
    store = write_logits(tmp_path / "s.zarr", logits, labels, tuple("0123456789"), dataset="digits")
    with pytest.raises(IncompleteError, match=r"digits/all has 40 samples, published are 1,797"):
        accuracy([Selection(store)], FAST)
    (found,) = accuracy([Selection(store)], AccuracyOptions(PART))
    assert found.result.attrs["notes"] == ["digits/all has 40 samples, published are 1,797"]


@pytest.mark.parametrize(
    ("name", "split", "spec", "published"),
    [("dtd-2", "test", "dtd:2", "1,880"), ("caltech101-102", "train", "caltech101:102", "3,060")],
)
def test_a_form_of_a_data_set_is_held_to_its_own_counts(
    tmp_path: Path, name: str, split: str, spec: str, published: str
) -> None:
    labels = np.arange(40) % 10
    logits = {"vit": noisy_logits(labels, 10, 9.0)}
    kind: dict[str, Any] = {"dataset": name, "split": split}
    store = write_logits(tmp_path / "s.zarr", logits, labels, tuple("0123456789"), **kind)
    with pytest.raises(IncompleteError) as caught:
        accuracy([Selection(store)], FAST)
    assert f"{spec}/{split} has 40 samples, published are {published}" in str(caught.value)
    assert f"cvbench datasets verify {spec}  # says" in str(caught.value)
    few = write_logits(tmp_path / "t.zarr", logits, labels, tuple("0123456789"), units=1, **kind)
    with pytest.raises(IncompleteError, match=f"cvbench extract --dataset {spec} --split {split}.* --view logits"):
        accuracy([Selection(few)], FAST)


def test_a_large_head_is_read_by_wordnet_id() -> None:
    synsets = classifier_synsets(21_841)
    assert synsets is not None
    space = label_space(imagenet_wnids(), 21_841, "here")
    assert space.columns is not None
    assert (space.width, int((space.targets < 0).sum())) == (999, 1), "teddy bear is missing"
    assert "never right" in space.protocol
    for label in (0, 500, 999):
        assert synsets[space.columns[space.targets[label]]] == imagenet_wnids()[label]
    assert space.labels(space.targets[[5, 900]]).tolist() == [5, 900]
    few = label_space(imagenet_r_wnids(), 1000, "here")
    assert few.columns is not None
    assert few.columns.tolist() == imagenet_columns(imagenet_r_wnids()).tolist()
    for classes, outputs in ((imagenet_wnids(), 10), (BIRDS, 1000), (("wren", "n01440764"), 1000)):
        with pytest.raises(UsageError, match="outputs, the data set"):
            label_space(classes, outputs, "here")
