"""table:FILE: images that a table names."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cvbench.errors import CvbenchError, DataUnavailableError, IntegrityError, UnknownNameError, UsageError
from cvbench.jobs.catalogue.datasets import describe_dataset, verify
from cvbench.storage.datasets import every_split, key_of_spec, open_dataset, open_listed, with_columns
from tests.storage.datasets.dataset_suite import DatasetTests, jpeg
from tests.storage.datasets.table_files import FORMS, ROWS, images, write


class TestTable(DatasetTests):
    spec = "table:birds.csv"
    splits = ("test", "val", "train")
    default_split = "test"

    def make(self, root: Path) -> None:
        images(root)
        write(root / "birds", "csv")

    def change(self, root: Path, what: str) -> None:
        if what == "label":
            text = (root / "birds.csv").read_text().replace("images/4.jpg,jay", "images/4.jpg,owl")
            (root / "birds.csv").write_text(text)
        else:
            (root / "images/4.jpg").write_bytes(jpeg(99, size=(40, 40)))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(tmp_path: Path, form: str) -> None:
    images(tmp_path)
    table = write(tmp_path / "birds", form)
    train = open_dataset(f"table:{table}", split="train")
    assert train.classes == ("jay", "owl", "wren")
    assert list(train.ids) == ["images/0.jpg", "images/1.jpg", "images/2.jpg"]
    assert train.labels.tolist() == [2, 1, 1]
    assert train.factors["weather"].tolist() == ["sun", "rain, wind", "sun"]
    assert train.factors["age"].tolist()[:2] == [1.5, 2.0]
    assert np.isnan(train.factors["age"][2])
    assert train.read(1) == jpeg(1)
    test = open_dataset(f"table:{table}")
    assert (test.split, test.name) == ("test", "table-birds")
    assert test.factors["weather"].tolist() == ["two\nlines", "žluť 鳥"]
    assert every_split(f"table:{table}") == ("test", "val", "train")
    assert open_dataset(f"table:{table}", split="validation").ids == ("images/3.jpg",)


def test_columns_of_other_names(tmp_path: Path) -> None:
    rows = [{"file": f"{k}.jpg", "Scientific, name": f"b{k % 2}", "fold": "train" if k else "test"} for k in range(3)]
    images(tmp_path, rows, "file")
    table = write(tmp_path / "t", "csv", rows)
    spec = with_columns(f"table:{table}", "label=Scientific%2C name,split=fold")
    assert spec == f"table:{table}@label=Scientific%2C name,split=fold"
    dataset = open_dataset(spec, split="train")
    assert dataset.classes == ("b0", "b1")
    assert dataset.labels.tolist() == [1, 0]
    assert dataset.spec == spec
    assert open_dataset(dataset.spec, split="train").digest == dataset.digest
    assert open_dataset(f"{spec}+scale=2").transform == ("scale", {"factor": 2.0})
    assert key_of_spec(spec) == key_of_spec(f"table:{table}") == "table-t"
    assert key_of_spec(f"mine={spec}+scale=2") == "table-mine.scale-2"
    with pytest.raises(UsageError, match="twice"):
        with_columns(spec, "label=fold")
    without = open_dataset(f"table:{table}@label=")
    assert without.labels.tolist() == [-1, -1, -1]
    assert sorted(without.factors) == ["Scientific_name", "fold"]


def test_two_tables_of_one_name_have_names_of_their_own(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        images(tmp_path / folder)
        write(tmp_path / folder / "birds", "csv")
    one, two = (open_dataset(f"{name}=table:{tmp_path}/{name}/birds.csv") for name in "ab")
    assert (one.name, two.name) == ("table-a", "table-b")
    assert one.digest != two.digest
    assert open_dataset(one.spec).digest == one.digest
    with pytest.raises(UsageError, match="already"):
        open_dataset("mine=dtd:3")


@pytest.mark.parametrize(
    ("cells", "labels", "classes"),
    [
        (["2", "0", "2"], [2, 0, 2], ("0", "1", "2")),
        (["1.0", "0.0", ""], [1, 0, -1], ("0", "1")),
        (["1", "-1", "0"], [1, -1, 0], ("0", "1")),
        (["cat", "1", ""], [1, 0, -1], ("1", "cat")),
        (["b", "a", "b"], [1, 0, 1], ("a", "b")),
    ],
)
def test_labels_are_numbers_or_names(
    tmp_path: Path, cells: list[str], labels: list[int], classes: tuple[str, ...]
) -> None:
    rows = [{"path": f"{k}.jpg", "label": text} for k, text in enumerate(cells)]
    images(tmp_path, rows)
    dataset = open_dataset(f"table:{write(tmp_path / 't', 'csv', rows)}")
    assert dataset.labels.tolist() == labels
    assert dataset.classes == classes


def test_names_of_numbered_classes(tmp_path: Path) -> None:
    rows = [{"path": f"{k}.jpg", "label": k % 2, "called": ["cat", "dog"][k % 2]} for k in range(4)]
    images(tmp_path, rows)
    table = write(tmp_path / "t", "csv", rows)
    assert open_dataset(f"table:{table}").classes == ("0", "1")
    assert open_dataset(f"table:{table}@name=called").classes == ("cat", "dog")
    (tmp_path / "classes.txt").write_text("lynx\nwolf\n")
    assert open_dataset(f"table:{table}").classes == ("lynx", "wolf")
    rows[0]["called"] = "dog"
    write(tmp_path / "t", "csv", rows)
    with pytest.raises(IntegrityError, match="is called 'dog' and 'cat'"):
        open_dataset(f"table:{table}@name=called")


def test_boxes_by_corners_or_extent(tmp_path: Path) -> None:
    extent = {"bbox_x": 2, "bbox_y": 3.5, "bbox_w": 4, "bbox_h": 5}
    corners = {"xmin": 2, "ymin": 3.5, "xmax": 6, "ymax": 8.5}
    other = {"x": 2, "y": 3.5, "w": 4, "h": 5}
    found = []
    for name, box in (("a", extent), ("b", corners), ("c", other)):
        rows = [{"path": "0.jpg", **box}, {"path": "1.jpg", **dict.fromkeys(box)}]
        images(tmp_path, rows)
        dataset = open_dataset(f"table:{write(tmp_path / name, 'csv', rows)}")
        found.append(np.array([dataset.factors[column] for column in extent]))
        assert set(dataset.factors) == set(extent), "the columns of a box are no factors besides"
        said = [entry.count for entry in dataset.left_out if entry.kind == "box"]
        assert said == ([] if name == "a" else [4]), "what is taken by a usual name is said"
    expected = np.array([[2, np.nan], [3.5, np.nan], [4, np.nan], [5, np.nan]])
    for boxes in found:
        np.testing.assert_array_equal(boxes, expected)


def test_what_is_no_box_stays_a_factor(tmp_path: Path) -> None:
    rows = [{"path": "0.jpg", "x": 0.5, "y": 0.5, "w": 0.1, "h": 0.2}]
    images(tmp_path, rows)
    table = write(tmp_path / "t", "csv", rows)
    opened = open_dataset(f"table:{table}")
    assert set(opened.factors) == {"x", "y", "w", "h"}
    assert [(one.kind, one.count) for one in opened.left_out if one.kind == "no-box"] == [("no-box", 4)]
    with pytest.raises(IntegrityError, match="one pixel"):
        open_dataset(f"table:{table}@bbox_x=x,bbox_y=y,bbox_w=w,bbox_h=h")


def test_words_that_python_takes_for_numbers_stay_words(tmp_path: Path) -> None:
    rows = [{"path": f"{k}.jpg", "code": code, "wide": "１２", "size": "1e2"} for k, code in enumerate(("1_1", "11"))]
    images(tmp_path, rows)
    factors = open_dataset(f"table:{write(tmp_path / 't', 'csv', rows)}").factors
    assert factors["code"].tolist() == ["1_1", "11"], "two levels, not one"
    assert (factors["wide"].tolist(), factors["size"].tolist()) == (["１２", "１２"], [100, 100])


@pytest.mark.parametrize("edge", ["", "inf", "nan", "1_0"])
def test_a_part_of_a_box_is_refused(tmp_path: Path, edge: str) -> None:
    rows = [{"path": "0.jpg", "bbox_x": 1, "bbox_y": 2, "bbox_w": 3, "bbox_h": edge}]
    images(tmp_path, rows)
    with pytest.raises(IntegrityError, match=r"lacks an edge|is no number") as caught:
        open_dataset(f"table:{write(tmp_path / 't', 'csv', rows)}")
    assert "t.csv:2" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("path,label\n0.jpg,a\n0.jpg,b\n", IntegrityError, "'0.jpg' is listed twice"),
        ("path,label\n0.jpg,a\n./0.jpg,b\n", IntegrityError, "'0.jpg' is listed twice"),
        ("path,label\n0.jpg,0.5\n1.jpg,1\n", IntegrityError, "numbers that are no classes, such as 0.5"),
        ("path,label\n0.jpg,nan\n1.jpg,1.0\n", IntegrityError, "holds numbers and 'nan'"),
        ("path,label\n0.jpg,-2\n1.jpg,1\n", IntegrityError, "numbers that are no classes, such as -2"),
        ("path,label\n0.jpg,99999999999\n", IntegrityError, "too large"),
        ("path,label\n0.jpg\n", IntegrityError, "a row of 1 cells, the first line has 2"),
        ("path,label\n0.jpg,a,b\n", IntegrityError, "a row of 3 cells"),
        ("path,label\n,a\n", IntegrityError, "names no image"),
        ("path,label\n\n , \n0.jpg,a\n", IntegrityError, "without content stands between"),
        ("path,label\n../0.jpg,a\n", IntegrityError, "no path below"),
        ("path,label\na\\0.jpg,a\n", IntegrityError, "no path below"),
        ("path,label\nhttps://x.org/0.jpg,a\n", UsageError, "not fetched from https://x.org"),
        ("path,label\nxyz://x.org/0.jpg,a\n", UsageError, "unknown kind of place xyz://"),
        ("path,path\n0.jpg,a\n", IntegrityError, "a column twice"),
        ("name,label\n0.jpg,a\n", UsageError, "no column of paths"),
        ("path,split\n0.jpg,a/b\n", IntegrityError, "cannot be the name of a split"),
        ('path,label\n0.jpg,"a\n', IntegrityError, "no csv"),
        ("path,bbox_x,bbox_y,bbox_w,bbox_h\n0.jpg,1,1,0,5\n", IntegrityError, "no extent"),
        ("path,bbox_x,bbox_y,bbox_w,bbox_h\n0.jpg,1,1,wide,5\n", IntegrityError, "'wide' in the column bbox_w"),
        ("", UsageError, "the table is empty"),
        ("\n\n", UsageError, "the table is empty"),
        ("path,label\n", DataUnavailableError, "no rows"),
        ("path,label\n0.jpg,a\ngone.jpg,a\n", DataUnavailableError, "1 of 2 listed images are not there"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, error: type[CvbenchError], message: str) -> None:
    images(tmp_path, [{"path": "0.jpg"}, {"path": "1.jpg"}])
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(error, match=message) as caught:
        open_dataset(f"table:{tmp_path}/t.csv")
    assert "t.csv" in str(caught.value) or "gone.jpg" in str(caught.value), "the file, and its line, is named"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.csv", "path,label\n0.jpg,é\n".encode("latin-1"), "not UTF-8"),
        ("t.jsonl", b'{"path": "0.jpg"}\n[1]\n', "no JSON object"),
        ("t.jsonl", b'{"path": "0.jpg"\n', "no JSON"),
        ("t.jsonl", b"[" * 100_000, "no JSON"),
        ("t.parquet", b"PAR1", "no Parquet file"),
        ("t.csv", b"path,label\n0.jpg," + b"x" * 70_000 + b"\n", "a cell of 70,000 characters"),
        ("t.csv", b"path,label\n" + b"x" * 5_000_000, "longer than"),
        ("t.csv", b"path\0,label\n", "no column of paths"),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CvbenchError, match=message):
        open_dataset(f"table:{tmp_path}/{name}")


def test_names_that_do_not_exist(tmp_path: Path) -> None:
    images(tmp_path)
    table = write(tmp_path / "birds", "csv")
    with pytest.raises(UnknownNameError, match="unknown role of a column 'labl'") as caught:
        open_dataset(f"table:{table}@labl=label")
    assert caught.value.did_you_mean == ("label",)
    with pytest.raises(UnknownNameError, match="unknown column 'wether'") as caught:
        open_dataset(f"table:{table}@label=wether")
    assert caught.value.did_you_mean == ("weather",)
    with pytest.raises(UnknownNameError, match="unknown split"):
        open_dataset(f"table:{table}", split="dev2")
    with pytest.raises(DataUnavailableError, match=r"holds: birds\.csv, images/"):
        open_dataset(f"table:{tmp_path}/brids.csv")
    with pytest.raises(UsageError, match=r"ends in \.csv"):
        open_dataset(f"table:{tmp_path}")
    with pytest.raises(UsageError, match="no pair"):
        open_dataset(f"table:{table}@label=weather,path")


def test_rows_without_a_split_and_lost_columns_are_counted(tmp_path: Path) -> None:
    rows = [
        {**row, "split": row["split"] if k else None, "id": k // 2, "text": "x" * 2_000} for k, row in enumerate(ROWS)
    ]
    images(tmp_path)
    dataset = open_dataset(f"table:{write(tmp_path / 'birds', 'csv', rows)}", split="train")
    assert len(dataset) == 2
    said = {entry.kind: (entry.count, entry.names) for entry in dataset.left_out}
    assert said["split"] == (1, ("images/0.jpg",))
    assert said["column"] == (2, ("id", "text"))
    assert "id is not of one row each, so paths are the ids" in "\n".join(entry.text for entry in dataset.left_out)


def test_an_id_lets_an_image_stand_in_several_rows(tmp_path: Path) -> None:
    rows = [{"path": "0.jpg", "who": "a"}, {"path": "0.jpg", "who": "b"}]
    images(tmp_path, rows)
    table = write(tmp_path / "t", "csv", rows)
    dataset = open_dataset(f"table:{table}@id=who")
    assert dataset.ids == ("a", "b")
    assert dataset.read(0) == dataset.read(1)
    with pytest.raises(IntegrityError, match="listed twice") as caught:
        open_dataset(f"table:{table}")
    assert "t.csv:2 and" in str(caught.value)


def test_a_split_without_labels_is_not_the_default(tmp_path: Path) -> None:
    rows = [
        {"path": f"{k}.jpg", "label": None if k < 2 else "a", "split": "test" if k < 2 else "train"} for k in range(4)
    ]
    images(tmp_path, rows)
    table = write(tmp_path / "t", "csv", rows)
    assert open_dataset(f"table:{table}").split == "train"
    test = open_dataset(f"table:{table}", split="test")
    assert [entry.count for entry in test.left_out if entry.kind == "label"] == [2]


def test_the_case_of_a_csv_beside_images(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(
        "path,label,x,y,w,h,weather\n"
        + "".join(f"images/i{k}.jpg,{'dog' if k % 2 else 'cat'},1,1,5,5,sun\n" for k in range(4))
    )
    images(tmp_path, [{"path": f"images/i{k}.jpg"} for k in range(4)])
    dataset = open_dataset(f"table:{tmp_path}/labels.csv")
    assert dataset.classes == ("cat", "dog")
    assert {"bbox_x", "bbox_y", "bbox_w", "bbox_h", "weather"} == set(dataset.factors)
    with pytest.raises(DataUnavailableError, match="the folder's name is no class") as caught:
        open_dataset(f"folder:{tmp_path}")
    assert caught.value.fix == f"--dataset table:{tmp_path}/labels.csv"
    (tmp_path / "labels.csv").write_text("path,label\nelsewhere.jpg,a\n")
    assert open_dataset(f"folder:{tmp_path}").classes == ("images",), "a table of other images"


def test_verify_and_info_say_what_a_table_holds(tmp_path: Path) -> None:
    images(tmp_path)
    table = write(tmp_path / "birds", "csv")
    listing = describe_dataset(f"table:{table}", columns="label=weather")
    assert [(one.split, one.images) for one in listing.splits] == [("test", 2), ("val", 1), ("train", 3)]
    (tmp_path / "images/4.jpg").unlink()
    report = verify(f"table:{table}")
    assert [(problem.kind, problem.where) for problem in report.problems] == [("missing", "images/4.jpg")]
    assert str(tmp_path / "images/4.jpg") in report.problems[0].message
    assert len(open_listed(f"table:{table}")) == 2


def test_images_in_a_parquet_file_are_pointed_to(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [{"bytes": b"x", "path": "0.jpg"}]}), tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="no column of paths") as caught:
        open_dataset(f"table:{tmp_path}/t.parquet")
    assert f"parquet:{tmp_path}/t.parquet" in str(caught.value)


def test_a_table_may_be_named_as_a_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images(tmp_path)
    write(tmp_path / "birds", "csv")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tmp_path / "images", tmp_path / "wren" / "images")
    with pytest.raises(UnknownNameError) as caught:
        open_dataset("birds.csv")
    assert caught.value.fix == "--dataset table:birds.csv (3 classes, 6 images)"
    with pytest.raises(UnknownNameError) as caught:
        open_dataset("csv:birds.csv")
    assert "--dataset table:birds.csv" in str(caught.value)
    with pytest.raises(UnknownNameError) as caught:
        open_dataset("csv:nothing")
    assert "folder:" in str(caught.value)
    assert "table:" in str(caught.value)
    assert "wds:" in str(caught.value)
