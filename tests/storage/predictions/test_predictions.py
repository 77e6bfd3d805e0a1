"""Prediction files of other tools: every form reads to the same thing, and what is wrong is named."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cvbench.errors import (
    CvbenchError,
    DataUnavailableError,
    IntegrityError,
    ResourceError,
    UnknownNameError,
    UsageError,
)
from cvbench.storage.annotations.synsets import classifier_synsets
from cvbench.storage.predictions import Asked, match_names, read_predictions, write_predictions

NAMES = ("a/x.png", "a/y.png", "b/z.png")
VALUES = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.25, 0.25, 0.5]], np.float32)


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    if path.suffix == ".npy":
        np.save(path, content)  # type: ignore[arg-type]
    elif path.suffix == ".npz":
        np.savez(path, **content)  # type: ignore[arg-type]
    elif path.suffix == ".parquet" and not isinstance(content, str):
        pq.write_table(pa.table(content), path)
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
        ("p.parquet", {"file_name": list(NAMES), "probabilities": VALUES.tolist()}),
        ("p.parquet", {"file_name": list(NAMES), **{str(k): VALUES[:, k] for k in range(3)}}),
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
        ("p.json", [{"file_name": "x"}], UsageError, "no column of predictions"),
        ("p.npz", {"other": VALUES}, UsageError, "no column of predictions"),
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


# The forms in which other tools write, and what in them is ambiguous

PANDAS: dict[str, list[Any]] = {
    "filename": list(NAMES),
    "index": [0, 1, 2],
    "label": ["ant", "bee", "cat"],
    "prob": [0.5, 0.75, 0.5],
}
ROWS = [dict(zip(PANDAS, row, strict=True)) for row in zip(*PANDAS.values(), strict=True)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.json", ROWS),
        ("p.json", "\n".join(json.dumps(row) for row in ROWS)),
        ("p.json", {row["filename"]: {k: v for k, v in row.items() if k != "filename"} for row in ROWS}),
        ("p.json", {"columns": list(PANDAS), "data": [list(row.values()) for row in ROWS]}),
        ("p.json", {key: {str(i): v for i, v in enumerate(column)} for key, column in PANDAS.items()}),
        ("p.json", {"schema": {"fields": []}, "data": ROWS}),
        ("p.json", PANDAS),
        ("p.jsonl", "\n\n".join(json.dumps(row) for row in ROWS)),
        ("p.parquet", PANDAS),
        ("p.parquet", {key: PANDAS[key] for key in (*list(PANDAS)[1:], next(iter(PANDAS)))}),
        ("p.csv", "\ufefffilename,index,label,prob\na/x.png,0,ant,0.5\na/y.png,1,bee,0.75\nb/z.png,2,cat,0.5\n,,,\n\n"),
        ("p.csv", "filename;index;label;prob\na/x.png;0;ant;0,5\na/y.png;1.0;bee;0,75\nb/z.png;2.00;cat;0.5\n"),
        (
            "p.csv",
            "filename\tindex\tlabel\tprob\r\r\na/x.png\t0.0\tant\t.5\r\r\na/y.png\t1\tbee\t.75\r\r\nb/z.png\t2\tcat\t.5",
        ),
        ("p.tsv", "filename\tindex\tlabel\tprob\na/x.png\t0\tant\t.5\na/y.png\t1\tbee\t.75\nb/z.png\t2\tcat\t.5"),
        ("p.npz", {key: np.array(column) for key, column in PANDAS.items()}),
    ],
    ids=[
        "records",
        "lines",
        "index",
        "split",
        "columns",
        "table",
        "lists",
        "jsonl",
        "parquet",
        "parquet, name last",
        "bom",
        "semicolon",
        "tab",
        "tsv",
        "npz",
    ],
)
def test_what_other_tools_write(tmp_path: Path, name: str, content: object) -> None:
    found = read_predictions(write(tmp_path, name, content))
    assert (found.names, found.classes, found.kind) == (NAMES, (0, 1, 2), "class and probability")
    assert found.others == (("label", ("ant", "bee", "cat")),)
    assert found.probability is not None
    assert found.probability.tolist() == [0.5, 0.75, 0.5]
    assert found.unread == ()


BEST = "filename,index_0,index_1,index_2,prob_0,prob_1,prob_2\na,2,0,1,0.5,0.3,0.2\nb,1,2,0,0.6,0.3,0.1\n"
FALLING = "file_name,prob_0,prob_1,prob_2,prob_3\n" + "".join(
    f"{i},{0.7 - i / 100},{0.2 + i / 100},0.06,0.04\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("content", "said", "fix"),
    [
        (
            BEST,
            "2 groups of numbered columns: index_0, ..., prob_0, ...",
            "--class-column index_0 --probability-column",
        ),
        (FALLING, "the 4 values of every sample fall from left to right", "--values"),
        ("file_name,index_0,index_1,index_2\na,2,0,1\nb,1,2,0\n", "hold whole numbers", "--class-column index_0"),
        ("id,file_name,pred\n1,a,0\n", "2 columns may hold the samples' names: id, file_name", "--name-column id"),
        ("file,pred,prob,score\na,0,0.5,7\n", "2 columns may hold probabilities: prob, score", "--probability-column"),
        ("file,pred,pred\na,0,1\n", "names the column 'pred' twice", ""),
        ("file,0,1,1\na,0,1,2\n", "names the column '1' twice", ""),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(tmp_path: Path, content: str, said: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_predictions(write(tmp_path, "p.csv", content))
    assert said in str(caught.value)
    assert fix in (caught.value.fix or "")


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, "p.csv", BEST)
    found = read_predictions(path, asked=Asked(None, "index_0", "prob_0"))
    assert (found.classes, found.kind) == ((2, 1), "class and probability")
    assert found.unread == ("index_1", "index_2", "prob_1", "prob_2")
    other = write(tmp_path, "q.csv", "id,file_name,colour\n1,a,red\n2,b,blue\n")
    found = read_predictions(other, asked=Asked("file_name", "colour"))
    assert (found.names, found.classes, found.unread) == (("a", "b"), ("red", "blue"), ("id",))
    with pytest.raises(UnknownNameError, match="--class-column 'color'"):
        read_predictions(other, asked=Asked("file_name", "color"))
    assert read_predictions(write(tmp_path, "r.csv", FALLING), "probabilities").kind == "probabilities"


def test_names_with_dots_keep_them() -> None:
    """Only the suffix of an image is none of the name."""
    ids = ["a/img.1.jpg", "a/img.2.jpg", "b/img.3.jpg"]
    assert match_names(ids, ["img.3", "img.1", "img.2"], "f").tolist() == [1, 2, 0]
    assert match_names(ids, ["img.3.png", "img.1.png", "img.2.png"], "f").tolist() == [1, 2, 0]
    assert match_names(["a/0.jpg", "b/0.jpg"], ["b/0", "a/0"], "f").tolist() == [1, 0]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.json", "[" * 100_000, "nested too deep"),
        ("p.parquet", "PAR1 and no more", "no Parquet file"),
        ("p.parquet", {"file": ["a"], "pred": [None]}, "a predicted class is empty"),
        ("p.parquet", {"file": ["a" * 8] * 100_000, "pred": [1] * 100_000}, "100,000 rows of 2 columns in"),
        ("p.json", '[{"file":"a","pred":' + "[" * 100_000 + "]" * 100_000 + "}]", "nested too deep"),
        ("p.jsonl", "[" * 100_000, "nested too deep"),
        ("p.json", '[{"file":"a","pred":' + "9" * 5000 + "}]", "no JSON"),
        ("p.json", '[{"file":"a","logits":[1' + "0" * 4000 + ",1]}]", "not a number"),
        ("p.json", '[{"file":"a","logits":[1e300,1]}]', "not finite"),
        ("p.json", '[{"file":"a","logits":[[1],[2]]}]', "a list of values holds lists"),
        ("p.json", '[{"file":"a","pred":0,"pred":1}]', "the key 'pred' is there twice"),
        ("p.json", '{"a.png":0,"a.png":1}', "the key 'a.png' is there twice"),
        ("p.json", '[{"file":"a","pred":[3,1,2]}]', "a predicted class is [3, 1, 2]"),
        ("p.json", '[{"file":"a","pred":null}]', "a predicted class is empty"),
        ("p.json", '[{"file":["a"],"pred":1}]', "['a'] names no sample"),
        ("p.json", '{"file":["a","b"],"pred":[1]}', "columns of different lengths"),
        ("p.csv", 'file,pred\na,"[3, 1, 2]"\n', "a predicted class is '[3, 1, 2]'"),
        ("p.csv", "file,pred\na,\nb,1\n", "a predicted class is empty"),
        ("p.csv", "file,pred\n,\nb,1\n", "a row without content stands between others"),
        ("p.csv", f"file,pred\n{'a' * 200_000},1\n", "no csv"),
        ("p.csv", "file,pred\n" + "a" * 5_000_000, "a line is longer than"),
        ("p.npz", b"PK\3\4 and no more", "cannot be read"),
        ("p.npy", b"\x93NUMPY\1\0\xff\xff{", "cannot be read"),
        ("p.npy", b"plain text", "no npy and no npz"),
    ],
)
def test_hostile_files_end_in_an_error_of_ours(tmp_path: Path, name: str, content: Any, said: str) -> None:
    path = tmp_path / name
    if isinstance(content, dict):
        write(tmp_path, name, content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CvbenchError) as caught:
        read_predictions(path)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1000


def npy_header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": dtype, "fortran_order": False, "shape": shape})
    return head.getvalue()


@pytest.mark.parametrize("dtype", ["<f4", "<U250000000"])
def test_a_header_may_not_claim_more_than_the_file_holds(tmp_path: Path, dtype: str) -> None:
    """`numpy` would make the array before it reads its values."""
    path = tmp_path / "p.npy"
    path.write_bytes(npy_header((10**9, 10**9), dtype) + bytes(64))
    with pytest.raises(IntegrityError, match="the header claims"):
        read_predictions(path)


def test_a_small_npz_of_a_large_array_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path, rows = tmp_path / "bomb.npz", 1 << 18
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("logits.npy", "w", force_zip64=True) as member:
            member.write(npy_header((rows, 1000)))
            for _ in range(1000):
                member.write(bytes(4 * rows))
        archive.writestr("other.npy", b"not an array at all")
    assert path.stat().st_size < 8 << 20
    code = (
        "import resource, sys; from pathlib import Path; from cvbench.storage.predictions import read_predictions\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        "try: read_predictions(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ResourceError.__name__, "1 GB lies in the file"


def test_only_the_arrays_that_are_needed_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    np.savez(path, logits=VALUES * 10)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("remarks.npy", b"not an array at all")
    found = read_predictions(path)
    assert (found.kind, found.unread) == ("logits", ("remarks",))


def test_a_zip_that_lies_about_a_size_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    np.savez_compressed(path, logits=np.zeros((1000, 1000), np.float32))
    data, real = path.read_bytes(), struct.pack("<I", 4_000_128)
    path.write_bytes(data.replace(real, struct.pack("<I", 4_096)))
    with pytest.raises(IntegrityError, match="cannot be read"):
        read_predictions(path)


def test_a_json_document_that_would_take_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvbench.storage.predictions.records._MOST_BYTES", 1 << 20)
    path = write(tmp_path, "p.json", "[" + ",".join(["{}"] * 10_000) + "]")
    with pytest.raises(ResourceError, match="takes about"):
        read_predictions(path)
