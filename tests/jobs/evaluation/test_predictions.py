"""Predictions of other tools: imported, they score as extracted logits do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvbench.errors import FingerprintMismatchError, IncompleteError, IntegrityError, UsageError
from cvbench.jobs.evaluation.accuracy import accuracy
from cvbench.jobs.evaluation.calibration import calibrate
from cvbench.jobs.evaluation.options import AccuracyOptions, CalibrationOptions, ImportOptions
from cvbench.jobs.evaluation.predictions import import_predictions
from cvbench.jobs.reading.selection import Selection
from cvbench.storage.datasets.readers.imagenet_classes import imagenet_wnids
from cvbench.storage.predictions import write_predictions
from tests.jobs.evaluation.birds import BIRDS, DRAWN, LABELS, LOGITS, SHARED, imported, one, rows
from tests.jobs.logits_store import noisy_logits, write_logits


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
