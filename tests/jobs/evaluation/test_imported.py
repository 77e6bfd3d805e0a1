"""Predictions of other tools in a store: what is kept of them, what is read of them, and what is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvbench.errors import FingerprintMismatchError, IntegrityError, UsageError
from cvbench.jobs.evaluation.accuracy import accuracy
from cvbench.jobs.evaluation.calibration import calibrate
from cvbench.jobs.evaluation.imported import compact, expand, outputs
from cvbench.jobs.evaluation.options import AccuracyOptions, CalibrationOptions, ImportOptions
from cvbench.jobs.evaluation.predictions import import_predictions
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import read
from cvbench.jobs.running.progress import Event, Note
from cvbench.storage.datasets.readers.imagenet_classes import imagenet_wnids
from cvbench.storage.features import ArraySpec, FeatureStore, GroupKey
from cvbench.storage.features.units import plan_units
from cvbench.storage.predictions import write_predictions
from tests.jobs.evaluation.birds import BIRDS, DRAWN, LABELS, SHARED, imported, one, rows
from tests.jobs.logits_store import noisy_logits, write_logits


def test_what_is_kept_gives_the_argmax_and_the_confidence() -> None:
    classes, p = np.array([0, 6, 3]), np.array([0.5, 1.0, 0.15])
    z = expand(compact(classes, p), 7, "here").astype(np.float64)
    assert z.argmax(axis=1).tolist() == classes.tolist()
    soft = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        soft.max(axis=1), p, rtol=7 * float(np.finfo(np.float32).eps)
    )  # a sum of 7 float32 logits
    np.testing.assert_array_equal(expand(compact(classes, None), 7, "here"), np.eye(7, dtype=np.float32)[classes])


@pytest.mark.parametrize("kept", [[[7.0]], [[-1.0]], [[0.5]], [[np.inf]], [[1.0, 0.0]], [[1.0, 1.5]]])
def test_what_a_store_says_of_a_class_is_not_believed(kept: list[list[float]]) -> None:
    with pytest.raises(IntegrityError):
        expand(np.array(kept), 7, "here")


@pytest.mark.parametrize("width", [0, -1, 2**40, "7", True, 1.5])
def test_nor_of_the_number_of_classes(width: object) -> None:
    with pytest.raises(IntegrityError, match="classes"):
        outputs({"outputs": width}, "here")


def test_a_class_is_stored_as_a_class(tmp_path: Path) -> None:
    """1,000 samples of 1,000 classes took 4 MB a file; 16 bytes a sample say the same."""
    wnids, n = imagenet_wnids(), 1000
    labels = np.arange(n) % 1000
    store = write_logits(tmp_path / "s.zarr", {"vit": noisy_logits(labels, 1000, 9.0)}, labels, wnids, unit=200)
    logits = FeatureStore.open(store).layer(GroupKey("birds", "all", "vit", "logits"), "logits").numpy()
    z = logits.astype(np.float64)
    p = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)).max(axis=1)
    write_predictions(tmp_path / "p.csv", [f"image-{i:05d}.png" for i in range(n)], z.argmax(axis=1), p)
    before = sum(file.stat().st_size for file in Path(store).rglob("*") if file.is_file())
    import_predictions(ImportOptions(str(tmp_path / "p.csv"), "birds", "theirs", store))
    added = sum(file.stat().st_size for file in Path(store).rglob("*") if file.is_file()) - before
    assert added < 16 * n + 20_000, "the rest is metadata and records"
    kept = FeatureStore.open(store).layer(GroupKey("birds", "all", "theirs", "logits"), "logits").numpy()
    np.testing.assert_array_equal(kept, np.stack([z.argmax(axis=1), p], axis=1))
    (found,) = calibrate([Selection(store)], CalibrationOptions(SHARED, intervals=DRAWN))
    for metric, error in (("top1", 0), ("ECE", 1e-6)):
        mine, theirs = (one(found.result, backbone=name, metric=metric, factor="").value for name in ("vit", "theirs"))
        assert mine == pytest.approx(theirs, rel=0, abs=error)


def test_a_store_that_holds_made_up_logits_of_a_class_is_still_read(tmp_path: Path) -> None:
    """As stores of an earlier version do: an array of kind "class", as wide as there are classes."""
    labels = np.arange(70) % 7
    store = write_logits(tmp_path / "s.zarr", {"new": noisy_logits(labels, 7, 3.0)}, labels, BIRDS)
    opened, group = FeatureStore.open(store, mode="a"), GroupKey("birds", "all", "old", "logits")
    spec = ArraySpec("logits", (7,), "float32", ("sample", "channel"), {"predictions": "class"})
    opened.declare(group, {"kind": "class"}, [spec])
    info = opened.split("birds", "all")
    for unit in plan_units(info.n, info.unit):
        with opened.writer(group, ["logits"], unit) as writer:
            writer.write("logits", 0, np.eye(7, dtype=np.float32)[labels[unit.start : unit.stop]])
            writer.commit()
    (found,) = accuracy([Selection(store, backbones=("old",))], AccuracyOptions(SHARED))
    assert one(found.result, metric="top1").value == 1


def test_an_analysis_of_features_takes_no_imported_classes(birds: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps({f"image-{i:05d}.png": int(k) for i, k in enumerate(LABELS)}))
    import_predictions(imported(birds, tmp_path / "p.json"))
    with pytest.raises(UsageError, match="theirs has no logits: its predictions were imported, of kind 'class'"):
        read(Selection(birds, view="logits"))
    assert read(Selection(birds, view="logits", backbones=("good",))).selected.samples == 70


def test_what_is_not_read_is_said_and_kept(birds: str, tmp_path: Path) -> None:
    lines = [f"image-{i:05d}.png,{k},{k},red,7" for i, k in enumerate(LABELS)]
    (tmp_path / "p.csv").write_text("\n".join(["file_name,pred,index,colour,size", *lines, "stranger.png,0,0,red,7"]))
    said: list[str] = []

    def listen(event: Event) -> None:
        said.extend([event.text] if isinstance(event, Note) else [])

    import_predictions(imported(birds, tmp_path / "p.csv"), listen)
    assert said == [
        "2 columns of p.csv are not read: colour, size",
        "1 predictions are of no sample of birds/all; they are left out, such as 'stranger.png'",
    ]
    commit = FeatureStore.open(birds).commits(GroupKey("birds", "all", "theirs", "logits"))[0]
    assert commit.provenance["unread"] == ["colour", "size"]
    assert commit.provenance["extra"] == 1


def test_two_columns_of_classes_must_agree(birds: str, tmp_path: Path) -> None:
    """Such as the true class beside the predicted one."""
    lines = [f"image-{i:05d}.png,{BIRDS[k]},{k if i != 5 else (k + 1) % 7}" for i, k in enumerate(LABELS)]
    (tmp_path / "p.csv").write_text("\n".join(["id,label,prediction", *lines]))
    with pytest.raises(UsageError, match="columns that may hold the predicted class disagree"):
        import_predictions(imported(birds, tmp_path / "p.csv"))
    import_predictions(imported(birds, tmp_path / "p.csv", class_column="prediction"))
    (found,) = accuracy([Selection(birds, backbones=("theirs",))], AccuracyOptions(SHARED))
    assert one(found.result, metric="top1").value == 69 / 70
    with pytest.raises(FingerprintMismatchError, match="class_column"):
        import_predictions(imported(birds, tmp_path / "p.csv", class_column="label"))


def test_numbers_that_are_names_of_other_classes_are_refused(tmp_path: Path) -> None:
    """Folders 1, 10, 2: number 1 is class 10, or the class called 1."""
    labels = np.arange(60) % 3
    store = write_logits(tmp_path / "s.zarr", {"x": noisy_logits(labels, 3, 9.0)}, labels, ("1", "10", "2"))
    for file, values in (("names.json", [["1", "10", "2"][k] for k in labels]), ("index.json", labels.tolist())):
        named = {f"image-{i:05d}.png": value for i, value in enumerate(values)}
        (tmp_path / file).write_text(json.dumps(named))
        options = ImportOptions(str(tmp_path / file), "birds", file[:4], store)
        with pytest.raises(UsageError, match="may be the class called"):
            import_predictions(options)
        import_predictions(replace(options, classes="name" if file == "names.json" else "index"))
    (found,) = accuracy([Selection(store, backbones=("name", "inde"))], AccuracyOptions(SHARED))
    assert [row.value for row in rows(found.result, metric="top1")] == [1, 1]


def test_a_name_of_two_classes_is_no_prediction(tmp_path: Path) -> None:
    labels = np.arange(60) % 3
    store = write_logits(tmp_path / "s.zarr", {"x": noisy_logits(labels, 3, 9.0)}, labels, ("crane", "emu", "crane"))
    (tmp_path / "p.json").write_text(json.dumps({f"image-{i:05d}.png": "crane" for i in range(60)}))
    with pytest.raises(IntegrityError, match="2 classes are called 'crane'"):
        import_predictions(ImportOptions(str(tmp_path / "p.json"), "birds", "named", store))
