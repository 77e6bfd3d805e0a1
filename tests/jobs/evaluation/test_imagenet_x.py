"""ImageNet-X from a store, against direct computations."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.errors import IncompleteError, UnknownNameError, UsageError
from cvbench.jobs.evaluation.imagenet_x import imagenet_x
from cvbench.jobs.evaluation.options import ImageNetXOptions, ImportOptions
from cvbench.jobs.evaluation.predictions import import_predictions
from cvbench.jobs.reading.selection import Selection
from cvbench.storage.annotations import IMAGENET_X_FACTORS
from cvbench.storage.datasets.readers.imagenet_classes import imagenet_wnids
from tests.jobs.evaluation.birds import DRAWN, SHARED, one, rows
from tests.jobs.logits_store import noisy_logits, write_logits

N = 1500


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """1,500 validation images with ImageNet-X annotations, the first 50 of them prototypes."""
    folder = tmp_path_factory.mktemp("imagenet-x")
    rng = np.random.default_rng(0)
    labels = np.arange(N) % 1000
    names = [f"ILSVRC2012_val_{i + 1:08d}.JPEG" for i in range(N)]
    flags = rng.random((N, 16)) < 0.2
    flags[:, 3] = False  # no image has this factor
    for which in ("top", "multi"):
        lines = []
        for name, label, row in zip(names, labels.tolist(), flags.tolist(), strict=True):
            chosen = row if which == "multi" else [f and not any(row[:i]) for i, f in enumerate(row)]
            named = dict(zip(IMAGENET_X_FACTORS, map(int, chosen), strict=True))
            lines.append(json.dumps({"file_name": name, "class": label, **named, "justification": "", "one_word": ""}))
        (folder / f"imagenet_x_val_{which}_factor.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "prototypical_paths.csv").write_text("file_name\n" + "".join(f"{name}\n" for name in names[:50]))
    real = [[label] if i % 3 else [(label + 1) % 1000] for i, label in enumerate(labels.tolist())]
    real[5] = real[65] = []
    (folder / "imagenet_real_labels.jsonl").write_text(json.dumps(real + [[]] * (50_000 - N)))
    logits = noisy_logits(labels, 1000, 4.0)
    wnids = imagenet_wnids()
    ids = [f"{wnids[label]}/{name}" for label, name in zip(labels, names, strict=True)]
    url = write_logits(
        folder / "s.zarr", {"vit": logits}, labels, wnids, dataset="folder-val", split="val", ids=ids, unit=512
    )
    return {"url": url, "folder": folder, "labels": labels, "flags": flags, "logits": logits, "names": names}


def options_of(made: dict[str, Any], **changes: Any) -> ImageNetXOptions:
    return ImageNetXOptions(str(made["folder"]), **{"shared": SHARED, "intervals": DRAWN, **changes})


@pytest.mark.parametrize(("which", "overall"), [("multi", "annotated"), ("top", "annotated"), ("multi", "full_val")])
def test_error_ratios_from_a_store(annotated: dict[str, Any], which: str, overall: str) -> None:
    options = options_of(annotated, which=which, overall=overall)
    result = imagenet_x(Selection(annotated["url"], "folder-val"), options).result
    right = (annotated["logits"].argmax(axis=1) == annotated["labels"]).tolist()
    kept = range(50, N)
    average = np.mean([right[i] for i in (kept if overall == "annotated" else range(N))])
    for factor, name in enumerate(IMAGENET_X_FACTORS):
        flags = annotated["flags"]
        first = [i for i in kept if flags[i, factor] and (which == "multi" or not flags[i, :factor].any())]
        row = one(result, metric="error ratio", factor=name)
        if not first:
            assert (row.value, row.low, row.n) == (None, None, 0)
            continue
        hits = sum(right[i] for i in first) / len(first)
        assert row.value == pytest.approx((1 - hits) / (1 - average))
        assert row.n == len(first)
    assert one(result, metric="accuracy overall").value == pytest.approx(average)
    assert (result.attrs["annotated"], result.attrs["prototypes_left_out"]) == (1450, 50)


def ece_by_hand(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """15 bins, lower < confidence <= upper, as ImageNet-X's reference and Guo et al. 2017 have it."""
    gaps = []
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            gaps.append(inside.mean() * abs(confidence[inside].mean() - right[inside].mean()))
    return float(sum(gaps))


@pytest.mark.parametrize("error", ["class", "real_class"])
def test_each_factor_has_its_calibration_error(annotated: dict[str, Any], error: str) -> None:
    options = options_of(annotated, which="multi", error=error)
    result = imagenet_x(Selection(annotated["url"], "folder-val"), options).result
    z, labels = annotated["logits"].astype(np.float64), annotated["labels"]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    wanted, counts = labels.copy(), np.arange(N) >= 50
    if error == "real_class":
        wanted[::3] = (labels[::3] + 1) % 1000
        counts[65] = False
    right, confidence = z.argmax(axis=1) == wanted, p.max(axis=1)
    for factor, name in enumerate(("", *IMAGENET_X_FACTORS)):
        has = counts & (annotated["flags"][:, factor - 1] if name else True)
        row = one(result, metric="calibration error", factor=name)
        assert row.n == has.sum()
        if not has.any():
            assert (row.value, row.low) == (None, None)
            continue
        # The softmax is float32: 1e-6 of a confidence.
        assert row.value == pytest.approx(ece_by_hand(confidence[has], right[has]), abs=2e-6)
        assert (row.low, row.high) == (None, None), "the plain one is biased: no interval is its own"
        debiased = one(result, metric="calibration error, debiased", factor=name)
        assert debiased.value is not None
        assert debiased.low is not None
        assert debiased.high is not None
        assert debiased.low <= debiased.value <= debiased.high
        assert debiased.low < debiased.high
        assert one(result, metric="calibration test p", factor=name).n == has.sum()
    assert "'calibration error, debiased' has" in result.attrs["intervals"]


def test_a_class_alone_has_no_calibration_error_in_imagenet_x(annotated: dict[str, Any], tmp_path: Path) -> None:
    store = shutil.copytree(annotated["url"], tmp_path / "s.zarr")
    guesses = dict(zip(annotated["names"], annotated["logits"].argmax(axis=1).tolist(), strict=True))
    (tmp_path / "p.json").write_text(json.dumps(guesses))
    import_predictions(ImportOptions(str(tmp_path / "p.json"), "folder-val", "named", str(store)))
    result = imagenet_x(Selection(str(store), "folder-val", backbones=("named",)), options_of(annotated)).result
    assert rows(result, metric="calibration error") == []
    assert any("calibration error is not defined" in note for note in result.attrs["notes"])


def test_other_errors_of_imagenet_x(annotated: dict[str, Any]) -> None:
    result = imagenet_x(Selection(annotated["url"], "folder-val"), options_of(annotated, error="real_class")).result
    predicted, labels = annotated["logits"].argmax(axis=1), annotated["labels"]
    hits = [predicted[i] == (labels[i] if i % 3 else (labels[i] + 1) % 1000) for i in range(50, N) if i != 65]
    row = one(result, metric="accuracy overall")
    assert row.value == pytest.approx(np.mean(hits))
    assert result.attrs["notes"] == ["1 of 1,450 annotated images have no ReaL label and are left out"]
    as_reference = options_of(annotated, error="real_class", unlabelled="wrong")
    other = imagenet_x(Selection(annotated["url"], "folder-val"), as_reference).result
    assert one(other, metric="accuracy overall").value == pytest.approx(sum(hits) / 1450)
    assert one(other, metric="accuracy overall").n == 1450
    assert other.attrs["notes"] == ["1 of 1,450 annotated images have no ReaL label and count as wrong"]
    assert "--unlabelled" in other.attrs["options"]
    with pytest.raises(UnknownNameError, match="--error"):
        options_of(annotated, error="real-class")
    with pytest.raises(UnknownNameError, match="--unlabelled"):
        options_of(annotated, unlabelled="right")


def test_backbones_are_compared_by_factor(annotated: dict[str, Any], tmp_path: Path) -> None:
    """The second is wrong wherever there is the first factor, and else as good: that factor alone is resolved."""
    logits, labels, flags = annotated["logits"], annotated["labels"], annotated["flags"]
    has = flags[:, 0]
    worse = logits.copy()
    worse[has, (labels[has] + 1) % 1000] += np.float32(20)
    ids = [f"{imagenet_wnids()[label]}/{name}" for label, name in zip(labels, annotated["names"], strict=True)]
    place: dict[str, Any] = {"dataset": "folder-val", "split": "val", "ids": ids, "unit": 512}
    url = write_logits(tmp_path / "s.zarr", {"a": logits, "b": worse}, labels, imagenet_wnids(), **place)
    kept = np.arange(N) >= 50
    top = kept & has
    right = {name: z.argmax(axis=1) == labels for name, z in (("a", logits), ("b", worse))}
    for overall in ("annotated", "full_val"):
        result = imagenet_x(Selection(url, "folder-val"), options_of(annotated, overall=overall)).result
        averaged = kept if overall == "annotated" else np.ones(N, bool)
        ratios = [(~right[name][top]).mean() / (~right[name][averaged]).mean() for name in "ab"]
        differences = rows(result, backbone="a", backbone_b="b", metric="error ratio")
        row = differences[0]
        assert row.factor == IMAGENET_X_FACTORS[0]
        assert row.value == pytest.approx(ratios[0] - ratios[1])
        assert row.low is not None
        assert row.high is not None
        assert row.low < ratios[0] - ratios[1] < row.high < 0
        assert len(differences) == 16
        assert row.p is not None
        assert row.p < 0.05
        assert row.verdict == "resolved"
        none = differences[3]
        assert (none.value, none.p, none.verdict) == (None, None, ""), "no image has this factor"
        accuracies = rows(result, backbone_b="b", metric="factor accuracy")
        assert accuracies[0].value == pytest.approx(right["a"][top].mean() - right["b"][top].mean())
        assert [row.value for row in accuracies[4:]] == [0] * 12
        assert all(row.low is not None and row.low < 0 for row in accuracies[4:])
        first, second = result.attrs["verdicts"]
        pose, *others = (name.replace("_", " ") for name in IMAGENET_X_FACTORS)
        assert first.startswith("folder-val, error ratio difference of a and b: ")
        assert f"b is above a (resolved): {pose} (" in first
        assert f"a is above b (resolved): {pose} (" in second
        assert f"not resolved: {', '.join(name for i, name in enumerate(others) if i != 2)}" in second


def test_predictions_go_out_and_come_in_again(annotated: dict[str, Any], tmp_path: Path) -> None:
    store = str(shutil.copytree(annotated["url"], tmp_path / "s.zarr"))  # the other tests share the first one
    first = imagenet_x(Selection(store, "folder-val"), options_of(annotated, export=str(tmp_path))).result
    with open(tmp_path / "vit.csv", newline="") as handle:
        lines = list(csv.DictReader(handle))
    assert [line["file_name"] for line in lines] == annotated["names"]
    assert [int(line["predicted_class"]) for line in lines] == annotated["logits"].argmax(axis=1).tolist()
    done = import_predictions(ImportOptions(str(tmp_path / "vit.csv"), "folder-val", "published", store))
    assert (done.samples, done.missing, done.extra, done.kind) == (N, 0, 0, "class and probability")
    again = imagenet_x(Selection(store, "folder-val", backbones=("published",)), options_of(annotated)).result
    for mine, theirs in zip(rows(first), rows(again), strict=True):
        assert (mine.metric, mine.factor, mine.n) == (theirs.metric, theirs.factor, theirs.n)
        # Right or wrong comes back exactly, a confidence as its logarithm in float32.
        # The data sets drawn for a debiased one have whole counts: a confidence may push a tie over.
        error = {"calibration error": 1e-6, "calibration error, debiased": 0.01, "calibration test p": 0.02}.get(
            mine.metric, 0
        )
        for a, b in ((mine.value, theirs.value), (mine.low, theirs.low), (mine.high, theirs.high)):
            assert a == b or a == pytest.approx(b, rel=0, abs=error)


def test_other_annotations_are_another_result(annotated: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(annotated["folder"], tmp_path / "x", ignore=shutil.ignore_patterns("s.zarr"))
    selection = Selection(annotated["url"], "folder-val", backbones=("vit",))
    first = imagenet_x(selection, options_of(annotated))
    moved = replace(options_of(annotated), annotations=str(tmp_path / "x"))
    assert imagenet_x(selection, moved).path == first.path, "the same annotations at another place"
    (tmp_path / "x" / "prototypical_paths.csv").write_text(f"file_name\n{annotated['names'][0]}\n")
    assert imagenet_x(selection, moved).path != first.path


def test_only_what_is_annotated_is_scored(annotated: dict[str, Any], tmp_path: Path) -> None:
    wnids, labels = imagenet_wnids(), np.arange(300)
    logits = {"vit": noisy_logits(labels, 1000, 4.0)}
    kind: dict[str, Any] = {"dataset": "folder-val", "split": "val", "unit": 304}
    other = write_logits(tmp_path / "a.zarr", logits, labels, wnids, **kind)
    with pytest.raises(UsageError, match="none of the images of folder-val/val is annotated"):
        imagenet_x(Selection(other, "folder-val"), options_of(annotated))
    names = [f"ILSVRC2012_val_{i + 1:08d}.JPEG" for i in range(300)]
    few = write_logits(tmp_path / "b.zarr", logits, labels, wnids, ids=names, **kind)
    with pytest.raises(IncompleteError, match="1,200 of the 1,450 annotated images have no logits"):
        imagenet_x(Selection(few, "folder-val"), options_of(annotated))
    found = imagenet_x(Selection(few, "folder-val"), options_of(annotated, shared=replace(SHARED, partial=True))).result
    row = one(found, metric="accuracy overall")
    assert (row.n, row.n_failed) == (250, 1200)
    moved = write_logits(tmp_path / "c.zarr", logits, labels[::-1], wnids, ids=names, **kind)
    with pytest.raises(UsageError, match="have another class"):
        imagenet_x(Selection(moved, "folder-val"), options_of(annotated, shared=replace(SHARED, partial=True)))
