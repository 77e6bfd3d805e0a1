"""ImageNet-X, PUG, shape bias and imported predictions from a store, against direct computations."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import (
    EvaluationSuspectError,
    FingerprintMismatchError,
    IncompleteError,
    IntegrityError,
    UnknownNameError,
    UsageError,
)
from cvbench.jobs.evaluation.accuracy import accuracy
from cvbench.jobs.evaluation.calibration import calibrate
from cvbench.jobs.evaluation.imagenet_x import imagenet_x
from cvbench.jobs.evaluation.options import (
    AccuracyOptions,
    CalibrationOptions,
    EvalOptions,
    ImageNetXOptions,
    ImportOptions,
    PugOptions,
)
from cvbench.jobs.evaluation.predictions import import_predictions
from cvbench.jobs.evaluation.pug import VARIES, pug
from cvbench.jobs.evaluation.shape_bias import evaluate
from cvbench.jobs.reading.selection import Selection
from cvbench.storage.annotations import IMAGENET_X_FACTORS, SHAPE_CATEGORIES, shape_indices
from cvbench.storage.datasets.readers.imagenet_classes import imagenet_wnids
from cvbench.storage.predictions import write_predictions
from tests.jobs.evaluation.test_evaluation import BIRDS, LABELS, LOGITS, one, rows
from tests.jobs.logits_store import noisy_logits, write_logits

SHARED = EvalOptions()
DRAWN = IntervalOptions(resamples=100)
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


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Eight objects of four labels in three subsets; Shirt and Sweatshirt share an ImageNet class."""
    folder = tmp_path_factory.mktemp("pug")
    table = {"Bear": [294, 295], "Cat": [281, 282], "Shirt": [841], "Sweatshirt": [841]}
    (folder / "class_to_imagenet_idx.json").write_text(json.dumps(table))
    classes = sorted(table)
    made = [
        (thing, subset, value)
        for thing in range(8)
        for subset, values in (("Worlds", "abcd"), ("Camera_Yaw", (0.0, 90.0)), ("Object_Scale", (0.5, math.nan)))
        for value in values
    ]
    labels = np.array([thing % 4 for thing, _, _ in made])
    factors: dict[str, NDArray[Any]] = {
        "subset": np.array([subset for _, subset, _ in made]),
        "character_name": np.array([f"thing-{thing}" for thing, _, _ in made]),
    }
    for subset, column in VARIES.items():
        if column in ("world_name", "character_texture", "scene_light"):
            factors[column] = np.array([v if own == subset else "Default" for _, own, v in made])
        else:
            factors[column] = np.array([v if own == subset else math.nan for _, own, v in made], dtype=np.float64)
    column_of = np.array([table[name][0] for name in classes])[labels]
    logits = noisy_logits(column_of, 1000, 4.0)
    url = write_logits(folder / "s.zarr", {"vit": logits}, labels, classes, dataset="pug-imagenet", factors=factors)
    right = np.array([p in table[classes[k]] for p, k in zip(logits.argmax(axis=1), labels, strict=True)])
    return {"url": url, "folder": folder, "right": right, "labels": labels, **factors}


def test_pug_from_a_store(renders: dict[str, Any]) -> None:
    result = pug(Selection(renders["url"]), PugOptions(str(renders["folder"]), shared=SHARED)).result
    right, subset = renders["right"], renders["subset"]
    for name in ("Worlds", "Camera_Yaw", "Object_Scale"):
        row = one(result, metric="subset accuracy", factor=name)
        assert row.value == pytest.approx(right[subset == name].mean())
        assert row.n == (subset == name).sum()
    assert one(result, metric="factor accuracy", factor="camera").value == right[subset == "Camera_Yaw"].mean()
    assert one(result, metric="factor accuracy", factor="light").value is None
    at_90 = (subset == "Camera_Yaw") & (renders["camera_yaw"] == 90)
    assert one(result, metric="accuracy at a value", factor="Camera_Yaw=90").value == right[at_90].mean()
    assert one(result, metric="accuracy at a value", factor="Object_Scale=default").n == 8
    shirts = right & (renders["labels"] == 2)
    reference = one(result, metric="subset accuracy, reference labels", factor="Worlds")
    worlds = subset == "Worlds"
    assert reference.value == pytest.approx((right & ~shirts)[worlds].mean()), "every Shirt counts as wrong"
    assert one(result, metric="mean accuracy over subsets").value == pytest.approx(
        np.mean([right[subset == name].mean() for name in ("Worlds", "Camera_Yaw", "Object_Scale")])
    )


def test_pug_compares_backbones_by_factor(renders: dict[str, Any], tmp_path: Path) -> None:
    """The second is as good but never right where the camera moves; over 32 objects."""
    labels, subset = np.tile(renders["labels"], 4), np.tile(renders["subset"], 4)
    things = np.concatenate([np.char.add(renders["character_name"], f"-{i}") for i in range(4)])
    factors = {name: np.tile(renders[name], 4) for name in VARIES.values()}
    table = json.loads((renders["folder"] / "class_to_imagenet_idx.json").read_text())
    classes = sorted(table)
    logits = noisy_logits(np.array([table[name][0] for name in classes])[labels], 1000, 4.0)
    worse = logits.copy()
    worse[subset == "Camera_Yaw", 0] += np.float32(20)
    everything = {**factors, "subset": subset, "character_name": things}
    place: dict[str, Any] = {"dataset": "pug-imagenet", "factors": everything}
    url = write_logits(tmp_path / "s.zarr", {"a": logits, "b": worse}, labels, classes, **place)
    result = pug(Selection(url), PugOptions(str(renders["folder"]), shared=SHARED)).result
    camera = subset == "Camera_Yaw"
    right = np.array([p in table[classes[k]] for p, k in zip(logits.argmax(axis=1), labels, strict=True)])
    row = one(result, backbone_b="b", metric="factor accuracy", factor="camera")
    assert (row.backbone, row.verdict) == ("a", "resolved")
    assert row.value == pytest.approx(right[camera].mean())
    assert row.low is not None
    assert row.low > 0
    assert row.p is not None
    assert row.p < 0.05
    said = result.attrs["verdicts"][-1]
    assert said.startswith("pug-imagenet, factor accuracy difference of a and b: a is above b (resolved): camera (")
    assert said.partition("not resolved: ")[2].split(", ") == ["size", "background"]


def test_pug_needs_its_factors(renders: dict[str, Any], tmp_path: Path) -> None:
    store = write_logits(tmp_path / "s.zarr", {"vit": noisy_logits(LABELS, 1000, 4.0)}, LABELS % 4, BIRDS[:4])
    with pytest.raises(UnknownNameError, match="label of PUG"):
        pug(Selection(store, "birds"), PugOptions(str(renders["folder"]), shared=SHARED))
    logits = {"vit": noisy_logits(LABELS, 1000, 4.0)}
    url = write_logits(tmp_path / "t.zarr", logits, LABELS % 2, ("Bear", "Cat"), dataset="pug-imagenet")
    with pytest.raises(UsageError, match="has no factor 'subset'"):
        pug(Selection(url), PugOptions(str(renders["folder"]), shared=SHARED))


def cue_conflict(folder: Path, strength: float, width: int = 1000) -> tuple[str, Any, Any, Any]:
    """Every pair of shape and texture, five times."""
    shape, texture = np.repeat(np.arange(16), 80), np.tile(np.arange(16), 80)
    logits = np.random.default_rng(0).standard_normal((1280, width)).astype(np.float32)
    if width == 1000:
        first = np.array([which[0] for which in shape_indices().values()])
        for kind, more in ((shape, strength), (texture, strength * 0.9)):
            logits[np.arange(1280), first[kind]] += np.float32(more)
    names = np.array(SHAPE_CATEGORIES)
    factors = {"shape": names[shape], "texture": names[texture]}
    place: dict[str, Any] = {"dataset": "cue-conflict", "split": "test", "unit": 256}
    url = write_logits(folder, {"vit": logits}, shape, SHAPE_CATEGORIES, factors=factors, **place)
    return url, logits.astype(np.float64), shape, texture


def test_shape_bias_from_a_store(tmp_path: Path) -> None:
    url, logits, shape, texture = cue_conflict(tmp_path / "s.zarr", 6.0)
    result = evaluate(Selection(url), SHARED).result
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    decided = np.stack([p[:, list(which)].mean(axis=1) for which in shape_indices().values()], axis=1).argmax(axis=1)
    conflict = shape != texture
    by_shape, by_texture = (decided == shape) & conflict, (decided == texture) & conflict
    row = one(result, metric="shape bias", factor="")
    assert row.value == pytest.approx(by_shape.sum() / (by_shape.sum() + by_texture.sum()))
    assert one(result, metric="decided by shape").n == 1200
    bears = shape == 1
    expected = (by_shape & bears).sum() / ((by_shape | by_texture) & bears).sum()
    assert one(result, metric="shape bias", factor="bear").value == pytest.approx(expected)


def test_shape_bias_needs_an_imagenet_classifier_that_sees_something(tmp_path: Path) -> None:
    url, *_ = cue_conflict(tmp_path / "a.zarr", 0.0, width=16)
    with pytest.raises(UsageError, match="the 1000 outputs of ImageNet-1k, the classifier has 16"):
        evaluate(Selection(url), SHARED)
    url, *_ = cue_conflict(tmp_path / "b.zarr", 0.0)
    with pytest.raises(EvaluationSuspectError, match="near chance"):
        evaluate(Selection(url), SHARED)


# Imported predictions


@pytest.fixture
def birds(tmp_path: Path) -> str:
    return write_logits(tmp_path / "s.zarr", LOGITS, LABELS, BIRDS)


def imported(birds: str, path: Path, **changes: Any) -> ImportOptions:
    return ImportOptions(str(path), "birds", "theirs", birds, **changes)


def test_imported_logits_and_probabilities_score_as_extracted_ones(birds: str, tmp_path: Path) -> None:
    names = np.array([f"image-{i:05d}.png" for i in range(70)])
    order = np.random.default_rng(0).permutation(70)
    z = LOGITS["good"]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.savez(tmp_path / "z.npz", file_name=names[order], logits=z[order])
    np.savez(tmp_path / "p.npz", file_name=names[order], probabilities=p[order])
    for number, file in enumerate(("z.npz", "p.npz")):
        options = replace(imported(birds, tmp_path / file), backbone=f"theirs{number}")
        assert import_predictions(options).missing == 0
        assert import_predictions(options).samples == 70, "the same again does nothing"
    three = Selection(birds, backbones=("good", "theirs0", "theirs1"))
    (found,) = calibrate([three], CalibrationOptions(SHARED, intervals=DRAWN))
    for metric in ("top1", "ECE", "NLL", "Brier"):
        mine = one(found.result, backbone="good", metric=metric, factor="").value
        for theirs in ("theirs0", "theirs1"):
            # the logarithm of float32 probabilities
            assert one(found.result, backbone=theirs, metric=metric, factor="").value == pytest.approx(mine, abs=1e-6)
    with pytest.raises(FingerprintMismatchError):
        import_predictions(replace(imported(birds, tmp_path / "p.npz"), backbone="theirs0"))


def test_a_predicted_class_gives_what_it_can(birds: str, tmp_path: Path) -> None:
    names = [f"image-{i:05d}.png" for i in range(70)]
    z = LOGITS["good"].astype(np.float64)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    write_predictions(tmp_path / "top.csv", names, z.argmax(axis=1), p.max(axis=1))
    import_predictions(imported(birds, tmp_path / "top.csv"))
    (found,) = accuracy([Selection(birds, backbones=("good", "theirs"))], AccuracyOptions(SHARED))
    top1 = [one(found.result, backbone=name, metric="top1").value for name in ("good", "theirs")]
    assert top1[0] == top1[1]
    assert one(found.result, backbone="theirs", metric="top5").value is None
    assert any("top5 is not defined" in note for note in found.result.attrs["notes"])
    (judged,) = calibrate([Selection(birds, backbones=("good", "theirs"))], CalibrationOptions(SHARED, intervals=DRAWN))
    ece = [one(judged.result, backbone=name, metric="ECE", factor="").value for name in ("good", "theirs")]
    assert ece[0] == pytest.approx(ece[1], abs=1e-6)
    assert rows(judged.result, backbone="theirs", metric="NLL") == []
    (tmp_path / "class.json").write_text(json.dumps({name: BIRDS[k] for name, k in zip(names, LABELS, strict=True)}))
    import_predictions(replace(imported(birds, tmp_path / "class.json"), backbone="named"))
    (perfect,) = accuracy([Selection(birds, backbones=("named",))], AccuracyOptions(SHARED))
    assert one(perfect.result, metric="top1").value == 1
    with pytest.raises(UsageError, match="only the winner is known"):
        calibrate([Selection(birds, backbones=("named",))], CalibrationOptions(SHARED, intervals=DRAWN))


def test_order_is_the_data_set_s_not_the_store_s(tmp_path: Path) -> None:
    """Digits in file order; the store permutes them."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    logits = noisy_logits(digits.target, 10, 8.0)
    np.save(tmp_path / "z.npy", logits)
    store = str(tmp_path / "new.zarr")
    options = ImportOptions(str(tmp_path / "z.npy"), "digits", "theirs", store, by_order=True)
    assert import_predictions(options).samples == 1797
    (found,) = accuracy([Selection(store)], AccuracyOptions(SHARED))
    assert one(found.result, metric="top1").value == (logits.argmax(axis=1) == digits.target).mean()
    with pytest.raises(UsageError, match="do not name their samples"):
        import_predictions(replace(options, by_order=False))
    np.savez(tmp_path / "z.npz", logits=logits, whose=np.arange(1797).astype(str))
    with pytest.raises(UsageError, match=r"it also holds whose(.|\n)*--name-column"):
        import_predictions(replace(options, file=str(tmp_path / "z.npz"), by_order=False))
    np.save(tmp_path / "z.npy", logits[:5])
    with pytest.raises(UsageError, match="5 predictions for 1,797 samples"):
        import_predictions(options)


def test_a_missing_prediction_is_no_smaller_n(birds: str, tmp_path: Path) -> None:
    names = np.array([*(f"image-{i:05d}.png" for i in range(60)), "stranger.png"])
    np.savez(tmp_path / "z.npz", file_name=names, logits=LOGITS["good"][:61])
    with pytest.raises(IncompleteError, match="10 of the 70 samples of birds/all have no prediction"):
        import_predictions(imported(birds, tmp_path / "z.npz"))
    done = import_predictions(imported(birds, tmp_path / "z.npz", partial=True))
    assert (done.missing, done.extra) == (10, 1)
    (found,) = accuracy([Selection(birds, backbones=("theirs",))], AccuracyOptions(SHARED))
    row = one(found.result, metric="top1")
    assert (row.n, row.n_failed) == (60, 10)


def test_the_same_file_by_order_is_another_mapping(birds: str, tmp_path: Path) -> None:
    """Named rows in another order than the data set's: by name and by order they are of other samples."""
    names = np.array([f"image-{i:05d}.png" for i in range(70)])
    order = np.random.default_rng(0).permutation(70)
    np.savez(tmp_path / "z.npz", file_name=names[order], logits=LOGITS["good"][order])
    by_name = imported(birds, tmp_path / "z.npz")
    import_predictions(by_name)
    with pytest.raises(FingerprintMismatchError, match="by_order"):
        import_predictions(replace(by_name, by_order=True))
    ordered = replace(by_name, by_order=True, backbone="ordered")
    import_predictions(ordered)
    with pytest.raises(FingerprintMismatchError, match="by_order"):
        import_predictions(replace(ordered, by_order=False))
    assert import_predictions(ordered).samples == 70, "the same again does nothing"


def test_one_partial_import_says_that_it_shrinks_every_n(birds: str, tmp_path: Path) -> None:
    names = np.array([f"image-{i:05d}.png" for i in range(60)])
    np.savez(tmp_path / "z.npz", file_name=names, logits=LOGITS["good"][:60])
    import_predictions(imported(birds, tmp_path / "z.npz", partial=True))
    (found,) = accuracy([Selection(birds)], AccuracyOptions(SHARED))
    assert {row.n for row in rows(found.result, metric="top1")} == {60}
    said = "theirs lacks 10 samples of birds/all that another backbone has; all are scored on the 60 that every one has"
    assert [note for note in found.result.attrs["notes"] if "lacks" in note] == [said]
    (alone,) = accuracy([Selection(birds, backbones=("good", "fair"))], AccuracyOptions(SHARED))
    assert not any("lacks" in note for note in alone.result.attrs["notes"])


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        ({"image-00000.png": 9}, IntegrityError, "9 is no class: expected 0 to 6"),
        ({"image-00000.png": "emu"}, IntegrityError, "'emu' is no class"),
        ([{"id": "image-00000.png", "pred": 1, "prob": 0.1}], IntegrityError, "not above 1/7"),
        ({"image-00000.png": [1.0, 2.0, 3.0]}, UsageError, "3 outputs, the data set 7 classes"),
    ],
)
def test_predictions_that_do_not_fit(
    birds: str, tmp_path: Path, content: object, error: type[Exception], said: str
) -> None:
    (tmp_path / "p.json").write_text(json.dumps(content))
    with pytest.raises(error) as caught:
        import_predictions(imported(birds, tmp_path / "p.json", partial=True))
    assert said in str(caught.value)


def test_a_class_alone_cannot_be_masked(tmp_path: Path) -> None:
    wnids = imagenet_wnids()[:20]
    labels = np.arange(40) % 20
    store = write_logits(tmp_path / "s.zarr", {"vit": noisy_logits(labels, 1000, 9.0)}, labels, wnids)
    (tmp_path / "p.json").write_text(json.dumps({f"image-{i:05d}.png": int(k) for i, k in enumerate(labels)}))
    import_predictions(ImportOptions(str(tmp_path / "p.json"), "birds", "theirs", store))
    with pytest.raises(UsageError, match="a score over some of the outputs needs logits"):
        accuracy([Selection(store, backbones=("theirs",))], AccuracyOptions(SHARED))
    (found,) = accuracy([Selection(store, backbones=("theirs",))], AccuracyOptions(SHARED, masked=False))
    assert one(found.result, metric="top1").value == 1
