"""Which column of a table is what: names in any case, boxes in any form, ids and masks that nobody has named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cvbench.errors import CvbenchError, DataUnavailableError, IntegrityError, UsageError
from cvbench.jobs.catalogue.datasets import verify
from cvbench.storage.datasets import open_dataset, with_columns
from cvbench.storage.datasets.base import Dataset, Masked
from cvbench.storage.datasets.formats.table_dataset import TableDataset
from tests.storage.datasets.dataset_suite import jpeg
from tests.storage.datasets.test_coco import write as write_coco

SECRET = b"what only I may read"


def table(folder: Path, text: str, pictures: int = 3, name: str = "t.csv") -> Path:
    """A table of `0.jpg` and so on, with `m/0.png` of the same size."""
    (folder / "m").mkdir(parents=True, exist_ok=True)
    for k in range(pictures):
        (folder / f"{k}.jpg").write_bytes(jpeg(k, size=(24, 16)))
        Image.new("L", (24, 16), 255).save(folder / f"m/{k}.png")
    (folder / name).write_text(text)
    return folder / name


def boxes(dataset: Dataset) -> list[list[float]]:
    found: list[list[float]] = np.stack([dataset.factors[f"bbox_{edge}"] for edge in "xywh"], axis=1).tolist()
    return found


def said(dataset: Dataset) -> dict[str, str]:
    return {entry.kind: entry.text for entry in dataset.left_out}


def masked(dataset: Dataset) -> TableDataset:
    assert isinstance(dataset, Masked)
    assert isinstance(dataset, TableDataset)
    return dataset


@pytest.mark.parametrize("name", ["mask", "Mask"])
@pytest.mark.parametrize("to", ["absolute", "link", "up"])
def test_a_column_of_masks_that_nobody_named_leads_nowhere_else(tmp_path: Path, name: str, to: str) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(SECRET)
    place = {"absolute": str(secret), "link": "m/link.png", "up": "../secret.png"}[to]
    path = table(tmp_path / "here", f"path,label,{name}\n0.jpg,a,m/0.png\n1.jpg,b,{place}\n")
    (tmp_path / "here/m/link.png").symlink_to(secret)
    with pytest.raises(CvbenchError, match=r"t\.csv:3"):
        open_dataset(f"table:{path}@within=.")
    plain = masked(open_dataset(f"table:{path}@within=.,mask="))
    assert (plain.has_masks, plain.mask(1)) == (False, None), "a column like others"
    assert plain.factors[name].tolist() == ["m/0.png", place]


def test_a_column_of_words_called_mask_is_a_factor(tmp_path: Path) -> None:
    path = table(tmp_path, "path,mask\n0.jpg,yes\n1.jpg,no\n2.jpg,\n")
    found = masked(open_dataset(f"table:{path}"))
    assert (found.has_masks, found.mask(0)) == (False, None)
    assert found.factors["mask"].tolist() == ["yes", "no", ""]


def test_paths_in_a_column_called_mask_are_masks(tmp_path: Path) -> None:
    path = table(tmp_path, "path,Mask\n0.jpg,m/0.png\n1.jpg,\n")
    found = masked(open_dataset(f"table:{path}@within=."))
    assert found.mask(0) == (tmp_path / "m/0.png").read_bytes()
    assert found.mask(1) is None
    other = table(tmp_path, "path,mask,outline\n0.jpg,yes,m/0.png\n1.jpg,no,\n", name="u.csv")
    named = open_dataset(f"table:{other}@mask=outline")
    assert named.factors["mask"].tolist() == ["m/0.png", ""]
    assert "not read: 1: mask" in said(named)["column"], "one name cannot hold both"


def test_a_pipe_for_a_mask_does_not_block(tmp_path: Path) -> None:
    path = table(tmp_path, "path,mask\n0.jpg,m/pipe.png\n")
    os.mkfifo(tmp_path / "m/pipe.png")
    found = masked(open_dataset(f"table:{path}"))
    with pytest.raises(DataUnavailableError, match="no regular file"):
        found.mask(0)


def test_a_list_of_classes_beside_a_confined_table_is_no_link_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    path = table(tmp_path / "here", "path,label\n0.jpg,0\n")
    (tmp_path / "here/classes.txt").symlink_to(tmp_path / "secret")
    assert open_dataset(f"table:{path}").classes == (SECRET.decode(),)
    with pytest.raises(UsageError, match=r"classes\.txt leads out"):
        open_dataset(f"table:{path}@within=.")
    assert open_dataset(f"table:{path}@within={tmp_path}").classes == (SECRET.decode(),)


def test_a_confined_coco_file_chooses_no_folder_elsewhere(tmp_path: Path) -> None:
    """Neither by its name, nor by a link."""
    path = write_coco(tmp_path)
    assert open_dataset(f"coco:{path}").read(1) == jpeg(1)
    for within in (".", "/nowhere"):
        with pytest.raises(DataUnavailableError, match="are not there"):
            open_dataset(f"coco:{path}@within={within}")
    assert open_dataset(f"coco:{path}@within={tmp_path}").read(1) == jpeg(1)
    assert open_dataset(f"coco:{path}@within=.,root=../val2017").read(1) == jpeg(1)
    (path.parent / "images").symlink_to(tmp_path / "val2017")
    with pytest.raises(DataUnavailableError, match="are not there"):
        open_dataset(f"coco:{path}@within=.")
    with pytest.raises(UsageError, match="not below its folder"):
        open_dataset(f"coco:{path}@within=.,root=images")


def test_masks_are_verified(tmp_path: Path) -> None:
    text = "path,mask\n0.jpg,m/0.png\n1.jpg,m/small.png\n2.jpg,m/gone.png\n3.jpg,m/text.png\n4.jpg,\n"
    path = table(tmp_path, text, 5)
    Image.new("L", (3, 5)).save(tmp_path / "m/small.png")
    (tmp_path / "m/text.png").write_text("no picture")
    found = {problem.where: (problem.kind, problem.message) for problem in verify(f"table:{path}", deep=True).problems}
    assert found.pop("1.jpg") == ("mask", "a mask has 3 x 5 pixels, its image 24 x 16")
    assert found.pop("2.jpg") == ("mask", "the mask is not there: m/gone.png")
    assert found["3.jpg"][0] == "mask"
    assert "not-an-image" in found.pop("3.jpg")[1]
    assert not found
    assert [problem.where for problem in verify(f"table:{path}").problems] == ["2.jpg"], "as images, without decoding"


def test_usual_names_are_found_in_any_case(tmp_path: Path) -> None:
    path = table(tmp_path, "Path,Label,Split,XMin,YMIN,xmax,ymax\n0.jpg,a,Train,1,2,4,6\n1.jpg,b,test,,,,\n")
    train = open_dataset(f"table:{path}", split="train")
    assert (train.ids, train.classes, boxes(train)) == (("0.jpg",), ("a", "b"), [[1, 2, 3, 4]])
    both = table(tmp_path, "PATH,path,label\n1.jpg,0.jpg,a\n", name="both.csv")
    assert open_dataset(f"table:{both}").ids == ("0.jpg",), "as it is written"
    two = table(tmp_path, "path,LABEL,Label\n0.jpg,a,b\n", name="two.csv")
    with pytest.raises(UsageError, match="the columns LABEL and Label may both be the label") as caught:
        open_dataset(f"table:{two}")
    assert caught.value.fix == "--columns label=LABEL or --columns label=Label"
    assert open_dataset(f"table:{two}@label=Label").classes == ("b",)
    (tmp_path / "metadata.csv").write_text("File_Name,Label\n0.jpg,a\n1.jpg,b\n")
    assert open_dataset(f"folder:{tmp_path}").classes == ("a", "b")


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("Bild,Art\n0.jpg,a\n1.jpg,b\n", "--columns path=Bild,label=Art"),
        ("nr,fold,Class,Bild\n1,train,a,0.jpg\n2,test,b,1.jpg\n", "--columns path=Bild,label=Class,split=fold"),
        ('"a, b",c d\n0.jpg,a\n', "--columns 'path=a%2C b,label=c d'"),
    ],
)
def test_the_columns_that_are_proposed_can_be_pasted(tmp_path: Path, text: str, fix: str) -> None:
    path = table(tmp_path, text)
    with pytest.raises(UsageError, match="no column of paths") as caught:
        open_dataset(f"table:{path}")
    assert caught.value.fix == fix
    pasted = fix.removeprefix("--columns ").strip("'")
    assert open_dataset(with_columns(f"table:{path}", pasted)).classes


def test_a_table_without_a_first_line_of_names_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its first line names an image"):
        open_dataset(f"table:{table(tmp_path, '0.jpg,a')}")


@pytest.mark.parametrize("head", ["bbox_x,bbox_y,bbox_w,bbox_h", "xmin,ymin,xmax,ymax"])
@pytest.mark.parametrize("row", ["9,9,-3,3", "3,3,0,3", "1,2,,4", "1,2,x,4"])
def test_a_box_that_is_none_is_an_error_with_its_line_in_each_form(tmp_path: Path, head: str, row: str) -> None:
    path = table(tmp_path, f"path,{head}\n0.jpg,1,2,9,9\n1.jpg,{row}\n")
    with pytest.raises(IntegrityError) as caught:
        open_dataset(f"table:{path}")
    assert f"{path}:3" in str(caught.value)
    assert "--columns bbox_x=" in str(caught.value.fix)
    assert "bbox_x" not in open_dataset(f"table:{path}@xmin=").factors or head.startswith("bbox")


def test_columns_that_may_be_something_else_stay_factors_and_it_is_said_why(tmp_path: Path) -> None:
    path = table(tmp_path, "path,x,y,w,h\n0.jpg,1,2,9,9\n1.jpg,1,2,0,4\n")
    found = open_dataset(f"table:{path}")
    assert found.factors["w"].tolist() == [9, 0]
    assert f"a box has no extent: {path}:3" in said(found)["no-box"]


LISTED: list[Any] = [[1, 2, 3, 4], None, [0.5, 1, 10, 2.5]]


@pytest.mark.parametrize("form", ["jsonl", "list", "float32", "fixed", "csv"])
def test_a_list_is_a_box_as_coco_has_it(tmp_path: Path, form: str) -> None:
    records = [{"path": f"{k}.jpg", "bbox": box} for k, box in enumerate(LISTED)]
    path = tmp_path / ("t.jsonl" if form == "jsonl" else "t.csv" if form == "csv" else "t.parquet")
    kinds = {"list": pa.list_(pa.float64()), "float32": pa.large_list(pa.float32()), "fixed": pa.list_(pa.float64(), 4)}
    lines = [json.dumps(one) if form == "jsonl" else f'{one["path"]},"{one["bbox"] or ""}"' for one in records]
    table(tmp_path, "\n".join(lines if form == "jsonl" else ["path,bbox", *lines]), name=path.name)
    if form in kinds:
        columns = {"path": [one["path"] for one in records], "bbox": pa.array(LISTED, kinds[form])}
        pq.write_table(pa.table(columns), path)
    found = open_dataset(f"table:{path}")
    assert [boxes(found)[k] for k in (0, 2)] == [LISTED[0], LISTED[2]]
    assert np.isnan(boxes(found)[1]).all()
    assert "bbox" not in found.factors


def test_lists_that_are_no_boxes(tmp_path: Path) -> None:
    def written(second: Any) -> Path:
        lines = [{"path": "0.jpg", "BBox": [1, 2, 3, 4]}, {"path": "1.jpg", "BBox": second}]
        return table(tmp_path, "\n".join(map(json.dumps, lines)), name="t.jsonl")

    for second in ([1, 2, 3], [1, 2, 3, "4"], "wide", [1, True, 3, 4]):
        with pytest.raises(IntegrityError, match=r"t\.jsonl:2"):
            open_dataset(f"table:{written(second)}")
    for several in ([[1, 2, 3, 4], [1, 1, 2, 2]], [0] * 500):
        assert said(open_dataset(f"table:{written(several)}"))["column"].endswith("not read: 1: BBox")
    pq.write_table(pa.table({"path": ["0.jpg"], "bbox": [[0.0] * 1_000]}), tmp_path / "long.parquet")
    assert said(open_dataset(f"table:{tmp_path}/long.parquet"))["column"].endswith("not read: 1: bbox")


def test_a_column_id_names_the_samples_if_each_is_of_one_row(tmp_path: Path) -> None:
    path = table(tmp_path, "path,ID,label\n0.jpg,x,a\n0.jpg,y,b\n")
    assert open_dataset(f"table:{path}").ids == ("x", "y")
    for rows in ("0.jpg,x,a\n1.jpg,x,b\n", "0.jpg,x,a\n1.jpg,,b\n"):
        path = table(tmp_path, f"path,id,label\n{rows}")
        found = open_dataset(f"table:{path}")
        assert found.ids == ("0.jpg", "1.jpg")
        assert "id is not of one row each, so paths are the ids" in said(found)["column"]
    assert open_dataset(f"table:{path}@id=").ids == ("0.jpg", "1.jpg")


def test_columns_that_are_not_read_are_all_named(tmp_path: Path) -> None:
    record = {"path": "0.jpg", **{f"list{k}": [k] for k in range(9)}}
    path = table(tmp_path, json.dumps(record), name="t.jsonl")
    assert said(open_dataset(f"table:{path}"))["column"].endswith(": 9: " + ", ".join(f"list{k}" for k in range(9)))
