"""retinopathy: two lists and two folders of photographs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.jobs.catalogue.datasets import verify
from cvbench.storage.datasets import dataset_info, locate, open_dataset
from cvbench.storage.datasets.readers import retinopathy
from tests.storage.datasets.dataset_suite import DatasetTests, jpeg

TRAIN = [("10_left", 0), ("10_right", 4), ("13_left", 2), ("9_left", 1), ("9_right", 3)]
TEST = [("1_left", 0, "Private"), ("1_right", 1, "Public"), ("2_left", 4, "Private"), ("2_right", 2, "Public")]
TEST += [("3_left", 3, "Private")]
SOLUTION = "retinopathy_solution.csv"


def lists(folder: Path, train: list[str] | None = None, test: list[str] | None = None) -> None:
    rows = [f"{name},{level}" for name, level in TRAIN] if train is None else train
    (folder / "trainLabels.csv").write_text("\r\n".join(["image,level", *rows]) + "\r\n")
    rows = [f"{name},{level},{usage}" for name, level, usage in TEST] if test is None else test
    (folder / SOLUTION).write_text("\n".join(["image,level,Usage", *rows]) + "\n")


def write(folder: Path) -> None:
    for part, names in (("train", [name for name, _ in TRAIN]), ("test", [name for name, _, _ in TEST])):
        (folder / part).mkdir(parents=True)
        for seed, name in enumerate(names):
            (folder / part / f"{name}.jpeg").write_bytes(jpeg(seed + 10 * len(part)))
    lists(folder)


class TestRetinopathy(DatasetTests):
    spec = "retinopathy"
    splits = ("train", "val", "test")

    def make(self, root: Path) -> None:
        write(root / "retinopathy")

    def change(self, root: Path, what: str) -> None:
        if what == "label":
            lists(root / "retinopathy", test=[f"{name},{level % 4},{usage}" for name, level, usage in TEST])
        else:
            (root / "retinopathy/test/2_left.jpeg").write_bytes(jpeg(1, size=(70, 70)))


def test_splits_are_those_of_the_two_rankings(tmp_path: Path) -> None:
    write(tmp_path)
    with open(tmp_path / SOLUTION, newline="") as handle:
        rows = list(csv.DictReader(handle))
    for split, usage in (("val", "Public"), ("test", "Private")):
        dataset = open_dataset("retinopathy", data_root=tmp_path, split=split)
        own = [row for row in rows if row["Usage"] == usage]
        assert list(dataset.ids) == [f"test/{row['image']}.jpeg" for row in own]
        assert dataset.labels.tolist() == [int(row["level"]) for row in own]
        assert dataset.factors["eye"].tolist() == [row["image"].split("_")[1] for row in own]
        for i, row in enumerate(own):
            assert dataset.read(i) == (tmp_path / "test" / f"{row['image']}.jpeg").read_bytes()
    train = open_dataset("retinopathy", data_root=tmp_path, split="train")
    assert list(train.ids) == [f"train/{name}.jpeg" for name, _ in TRAIN]
    assert train.labels.tolist() == [level for _, level in TRAIN]
    assert train.classes[4] == "proliferative"
    assert train.left_out == ()


def test_facts(tmp_path: Path) -> None:
    info = dataset_info("retinopathy")
    assert info.counts == {"train": 35_126, "val": 10_906, "test": 42_670}
    assert info.classes == 5
    write(tmp_path / "diabetic-retinopathy-detection")
    assert locate("retinopathy", data_root=tmp_path) == tmp_path / "diabetic-retinopathy-detection"
    report = verify("retinopathy", tmp_path, deep=True)
    assert [split.decoded for split in report.splits] == [5, 2, 3]


def test_what_is_missing_and_what_is_more_is_said(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "test/4_left.jpeg").write_bytes(jpeg(1))
    left_out = open_dataset("retinopathy", data_root=tmp_path).left_out
    assert [(entry.kind, entry.names) for entry in left_out] == [("unlisted", ("test/4_left.jpeg",))]
    (tmp_path / "test/2_left.jpeg").unlink()
    with pytest.raises(DataUnavailableError, match="1 of 3 listed images are not there") as caught:
        open_dataset("retinopathy", data_root=tmp_path)
    assert "2_left.jpeg" in str(caught.value)
    (tmp_path / SOLUTION).unlink()
    with pytest.raises(DataUnavailableError, match="lacks retinopathy_solution"):
        open_dataset("retinopathy", data_root=tmp_path)
    assert len(open_dataset("retinopathy", data_root=tmp_path, split="train")) == 5


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1_left,5,Private", "the level '5' is not one of 0 to 4"),
        ("1_left,-1,Private", "the level '-1'"),
        ("1_left,,Private", "the level ''"),
        ("1_left,1.0,Private", "the level '1.0'"),
        ("1_left,\u0663,Private", "the level"),
        ("1_left,1,Other", "the usage 'Other' is neither Public nor Private"),
        ("1_left,1", "the usage ''"),
        ("../1_left,1,Private", "no name of an image"),
        ("/etc/1_left,1,Private", "no name of an image"),
        (",1,Private", "no path below"),
        ("9_left,1,Private\n9_left,2,Public", "listed twice"),
    ],
)
def test_a_row_that_is_none_is_refused(tmp_path: Path, row: str, message: str) -> None:
    write(tmp_path)
    lists(tmp_path, test=["3_left,0,Private", *row.split("\n")])
    with pytest.raises(IntegrityError, match=message) as caught:
        open_dataset("retinopathy", data_root=tmp_path)
    assert SOLUTION in str(caught.value)


def test_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    (tmp_path / SOLUTION).write_text("image,level\n1_left,1\n")
    with pytest.raises(IntegrityError, match="there is no column Usage"):
        open_dataset("retinopathy", data_root=tmp_path)
    (tmp_path / SOLUTION).write_bytes(bytes(np.arange(256, dtype=np.uint8)))
    with pytest.raises(IntegrityError, match="cannot be read"):
        open_dataset("retinopathy", data_root=tmp_path)
    lists(tmp_path, test=["1_right,1,Public"])
    with pytest.raises(DataUnavailableError, match="has no images"):
        open_dataset("retinopathy", data_root=tmp_path)
    monkeypatch.setattr(retinopathy, "MAX_BYTES", 10)
    with pytest.raises(IntegrityError, match="are more than any list"):
        open_dataset("retinopathy", data_root=tmp_path)
