"""Odd and hostile inputs of each format: read as they are meant, or refused with a reason, and never twice."""

from __future__ import annotations

import io
import tarfile
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cvbench.errors import CvbenchError, DataUnavailableError, IntegrityError
from cvbench.storage.datasets import open_dataset
from cvbench.storage.datasets.base import Dataset
from tests.storage.datasets.dataset_suite import jpeg


def said(dataset: Dataset) -> dict[str, str]:
    return {entry.kind: entry.text for entry in dataset.left_out}


def tar(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            shard.addfile(info, io.BytesIO(data))


def parquet(path: Path, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = len(next(iter(columns.values())))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pictures = pa.array([{"bytes": jpeg(k), "path": None} for k in range(rows)], kind)
    pq.write_table(pa.table({"image": pictures, **columns}), path)


def test_links_that_go_round_are_no_classes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_bytes(jpeg(0))
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "all").symlink_to(".")
    (tmp_path / "up").symlink_to("..")
    (tmp_path / "a" / "deep").symlink_to("..")
    found = open_dataset(f"folder:{tmp_path}")
    assert (found.classes, list(found.ids)) == (("a", "b"), ["a/0.jpg", "b/0.jpg"])
    assert said(found)["extension"].endswith("all, round, up")
    assert said(found)["link"].endswith("a/deep")


def test_of_several_images_of_a_key_the_one_called_so_is_the_sample(tmp_path: Path) -> None:
    tar(tmp_path / "s.tar", {"x/0.image.jpg": jpeg(0), "x/0.mask.png": b"mask", "x/0.cls": b"1"})
    found = open_dataset(f"wds:{tmp_path}")
    assert (found.ids, found.labels.tolist(), found.read(0)) == (("s/x/0",), [1], jpeg(0))
    assert said(found)["second"].endswith("x/0.mask.png")
    tar(tmp_path / "t/s.tar", {"22.05.jpg": jpeg(0), "22.06.jpg": jpeg(1), "22.cls": b"1", "7.image.jpg": jpeg(2)})
    assert open_dataset(f"wds:{tmp_path}/t").ids == ("s/22.05", "s/22.06", "s/7.image")


def test_shards_without_an_image_say_what_they_hold(tmp_path: Path) -> None:
    tar(tmp_path / "s.tar", {"0.avif": b"x", "0.cls": b"1"})
    with pytest.raises(DataUnavailableError, match="other fields: avif 1"):
        open_dataset(f"wds:{tmp_path}")


def test_a_shard_that_is_a_link_to_nothing_is_said(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", label=[0, 1])
    (tmp_path / "b.parquet").symlink_to("/nowhere/b.parquet")
    with pytest.raises(DataUnavailableError, match="a link to what is not there"):
        open_dataset(f"parquet:{tmp_path}")


def test_truth_values_are_classes_by_name(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", label=[True, False, None])
    found = open_dataset(f"parquet:{tmp_path}")
    assert (found.classes, found.labels.tolist()) == (("false", "true"), [1, 0, -1])


@pytest.mark.parametrize("split", ["test", "train"])
def test_splits_whose_labels_cannot_be_the_same_are_refused(tmp_path: Path, split: str) -> None:
    parquet(tmp_path / "train/a.parquet", label=[0, 1])
    parquet(tmp_path / "test/a.parquet", label=["x", "y"])
    parquet(tmp_path / "val/a.parquet", label=pa.array([None, None], pa.int64()))
    if split == "train":
        assert open_dataset(f"parquet:{tmp_path}", split=split).classes == ("0", "1"), "seen from the side of names"
        return
    with pytest.raises(IntegrityError, match="names in one split and numbers in another"):
        open_dataset(f"parquet:{tmp_path}", split=split)
    (tmp_path / "train/a.parquet").unlink()
    assert open_dataset(f"parquet:{tmp_path}", split=split).classes == ("x", "y"), "no label is no number"


def test_columns_of_parquet_in_another_case(tmp_path: Path) -> None:
    pq.write_table(pa.table({"Image": [jpeg(0), jpeg(1)], "LABEL": ["b", "a"]}), tmp_path / "a.parquet")
    assert open_dataset(f"parquet:{tmp_path}").labels.tolist() == [1, 0]
    pq.write_table(pa.table({"a b": [jpeg(0)], "n": [1]}), tmp_path / "a.parquet")
    with pytest.raises(IntegrityError, match="no column of images") as caught:
        open_dataset(f"parquet:{tmp_path}")
    assert caught.value.fix == "--columns 'image=a b'"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"path": "0.jpg", "path": "1.jpg"}', "the key 'path' stands twice"),
        ('{"path": "0.jpg", "label": {"a": 1, "a": 2}}', "the key 'a' stands twice"),
    ],
)
def test_a_key_twice_is_refused(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "t.jsonl").write_text(line)
    with pytest.raises(CvbenchError, match=message):
        open_dataset(f"table:{tmp_path}/t.jsonl")


def test_labels_that_are_lists_are_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(jpeg(0))
    (tmp_path / "t.jsonl").write_text('{"path": "0.jpg", "label": ["a"]}')
    assert "the column label holds lists or records" in said(open_dataset(f"table:{tmp_path}/t.jsonl"))["label"]


def test_boxes_of_no_image_warn_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(jpeg(0))
    (tmp_path / "t.csv").write_text("path,xmin,ymin,xmax,ymax\n0.jpg,,,,\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "bbox_x" in open_dataset(f"table:{tmp_path}/t.csv").factors
