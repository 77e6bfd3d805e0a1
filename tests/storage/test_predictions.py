"""Prediction files of other tools: every form reads to the same thing, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cvbench.errors import DataUnavailableError, IntegrityError, UsageError
from cvbench.storage.predictions import match_names, read_predictions, write_predictions
from cvbench.storage.synsets import classifier_synsets

NAMES = ("a/x.png", "a/y.png", "b/z.png")
VALUES = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.25, 0.25, 0.5]], np.float32)


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    if path.suffix == ".npy":
        np.save(path, content)  # type: ignore[arg-type]
    elif path.suffix == ".npz":
        np.savez(path, **content)  # type: ignore[arg-type]
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def records(key: str, values: list[object]) -> list[dict[str, object]]:
    return [{"file_name": name, key: value} for name, value in zip(NAMES, values, strict=True)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", "file_name,0,1,2\na/x.png,0.5,0.25,0.25\na/y.png,0.125,0.75,0.125\nb/z.png,0.25,0.25,0.5\n"),
        ("p.csv", "id,class_1,class_0,class_2\na/x.png,.25,.5,.25\na/y.png,.75,.125,.125\nb/z.png,.25,.25,.5\n"),
        ("p.json", records("probabilities", VALUES.tolist())),
        ("p.json", dict(zip(NAMES, VALUES.tolist(), strict=True))),
        ("p.json", {"file_name": list(NAMES), "probabilities": VALUES.tolist()}),
        ("p.jsonl", "\n".join(json.dumps(record) for record in records("probabilities", VALUES.tolist()))),
        ("p.npz", {"file_name": np.array(NAMES), "probabilities": VALUES}),
    ],
)
def test_a_table_of_probabilities_in_every_form(tmp_path: Path, name: str, content: object) -> None:
    found = read_predictions(write(tmp_path, name, content))
    assert (found.names, found.kind, len(found)) == (NAMES, "probabilities", 3)
    assert found.values is not None
    np.testing.assert_array_equal(found.values, VALUES)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", "file_name,predicted_class\na/x.png,0\na/y.png,1\nb/z.png,2\n"),
        ("p.csv", "filename,index\r\na/x.png,0\r\na/y.png,1\r\nb/z.png,2\r\n"),
        ("p.json", dict(zip(NAMES, (0, 1, 2), strict=True))),
        ("p.jsonl", "\n".join(json.dumps(record) for record in records("prediction", [0, 1, 2]))),
        ("p.npz", {"id": np.array(NAMES), "predicted_class": np.array([0, 1, 2])}),
    ],
)
def test_predicted_classes_in_every_form(tmp_path: Path, name: str, content: object) -> None:
    found = read_predictions(write(tmp_path, name, content))
    assert (found.names, found.classes, found.kind) == (NAMES, (0, 1, 2), "class")
    assert found.values is None


def test_arrays_have_no_names(tmp_path: Path) -> None:
    found = read_predictions(write(tmp_path, "p.npy", VALUES * 10))
    assert (found.names, found.kind) == (None, "logits")
    assert read_predictions(write(tmp_path, "c.npy", np.array([2, 0]))).classes == (2, 0)


def test_what_a_table_holds_can_be_said(tmp_path: Path) -> None:
    path = write(tmp_path, "p.npy", VALUES)
    assert read_predictions(path).kind == "probabilities"
    assert read_predictions(path, "logits").kind == "logits"
    with pytest.raises(IntegrityError, match="do not sum to 1"):
        read_predictions(write(tmp_path, "q.npy", VALUES * 2), "probabilities")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "vit.csv"
    write_predictions(path, NAMES, np.array([7, 8, 9]), np.array([0.5, 0.1 + 0.2, 1.0]))
    assert path.read_text().splitlines()[:2] == ["file_name,predicted_class,predicted_probability", "x.png,7,0.5"]
    found = read_predictions(path)
    assert (found.names, found.classes, found.kind) == (("x.png", "y.png", "z.png"), (7, 8, 9), "class and probability")
    assert found.probability is not None
    assert found.probability.tolist() == [0.5, 0.1 + 0.2, 1.0]


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("p.txt", "1\n2\n", UsageError, "cannot read predictions from '.txt'"),
        ("p.csv", "file_name,colour\nx,red\n", UsageError, "no column of predictions"),
        ("p.csv", "file_name,0,1\nx,0.5\n", IntegrityError, "2 cells, the header 3"),
        ("p.csv", "file_name,0,1\nx,0.5,much\n", IntegrityError, "not a number"),
        ("p.csv", "file_name,0,1\nx,0.5,nan\n", IntegrityError, "not finite"),
        ("p.csv", "file_name,predicted_class\n", UsageError, "no prediction"),
        ("p.csv", "file_name,predicted_class,probability\nx,1,40.0\n", IntegrityError, "not in (0, 1]"),
        ("p.json", "{", IntegrityError, "no JSON"),
        ("p.json", [1, 2], UsageError, "list of records"),
        (
            "p.json",
            [{"file_name": "x", "predicted_class": 1}, {"file_name": "y"}],
            IntegrityError,
            "not like the first",
        ),
        ("p.json", [{"file_name": "x"}], UsageError, "hold no prediction"),
        ("p.npz", {"other": VALUES}, UsageError, "no array of predictions"),
        ("p.npz", {"logits": VALUES, "file_name": np.array(["x"])}, IntegrityError, "1 names for 3"),
        ("p.npy", VALUES.astype(complex), UsageError, "complex"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, content: object, error: type[Exception], said: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(error) as caught:
        read_predictions(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(IntegrityError, match="nothing in them was run"):
        read_predictions(path)
    with pytest.raises(DataUnavailableError):
        read_predictions(tmp_path / "none.csv")


def test_names_are_matched_by_the_most_exact_form() -> None:
    assert match_names(NAMES, ["b/z.png", "a/x.png"], "f").tolist() == [1, -1, 0]
    assert match_names(NAMES, ["z.png", "y.png", "x.png"], "f").tolist() == [2, 1, 0]
    assert match_names(NAMES, ["other/z.jpg", "x.jpg"], "f").tolist() == [1, -1, 0]
    with pytest.raises(UsageError, match="no prediction is of a sample"):
        match_names(NAMES, ["q.png"], "f")
    with pytest.raises(IntegrityError, match=r"'x\.png' is named twice"):
        match_names(["a/x.png", "b/x.png"], ["x.png"], "f")
    with pytest.raises(IntegrityError, match=r"'a/x\.png' is named twice"):
        match_names(NAMES, ["a/x.png", "a/x.png"], "f")


def test_the_orders_of_large_classifiers() -> None:
    google, fall11 = classifier_synsets(21_843), classifier_synsets(21_841)
    assert google is not None
    assert fall11 is not None
    assert set(google) - set(fall11) == {"n03931044", "n09859684"}
    assert (google.index("n15075141"), fall11.index("n15075141")) == (21_817, 21_815)
    assert google.index("n01440764") == fall11.index("n01440764") == 359
    assert "n04399382" not in fall11
    assert classifier_synsets(1000) is None
