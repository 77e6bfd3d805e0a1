"""coco:FILE.json: images with boxes as COCO lists them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvbench.errors import CvbenchError, DataUnavailableError, IntegrityError, UnknownNameError, UsageError
from cvbench.storage.datasets import open_dataset
from tests.storage.datasets.dataset_suite import DatasetTests, jpeg


def content() -> dict[str, Any]:
    images = [{"id": 10 + k, "file_name": f"{k:012d}.jpg", "width": 24, "height": 16} for k in range(6)]

    def thing(image: int, category: int, box: list[float], crowd: int = 0) -> dict[str, Any]:
        return {"id": 0, "image_id": 10 + image, "category_id": category, "bbox": box, "iscrowd": crowd, "area": 1.0}

    things = [
        thing(0, 18, [1, 2, 3, 4]),
        thing(1, 1, [0.5, 1.25, 10, 5]),
        thing(1, 1, [2, 2, 2, 2]),
        thing(2, 1, [1, 1, 2, 2]),
        thing(2, 18, [1, 1, 2, 2]),
        thing(3, 90, [1, 1, 5, 5], crowd=1),
        thing(5, 18, [1, 1, 0, 5]),
    ]
    categories = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]
    return {"info": {}, "licenses": [], "images": images, "annotations": things, "categories": categories}


def write(root: Path, folder: str = "val2017", change: dict[str, Any] | None = None) -> Path:
    for k in range(6):
        path = root / folder / f"{k:012d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(k))
    path = root / "annotations/instances_val2017.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**content(), **(change or {})}))
    return path


class TestCoco(DatasetTests):
    spec = "coco:annotations/instances_val2017.json"
    splits = ("all",)

    def make(self, root: Path) -> None:
        write(root)

    def change(self, root: Path, what: str) -> None:
        if what == "label":
            made = content()
            made["annotations"][0]["category_id"] = 90
            write(root, change=made)
        else:
            (root / "val2017/000000000000.jpg").write_bytes(jpeg(99, size=(50, 50)))


def test_an_image_has_the_class_of_all_its_objects_and_the_box_of_its_only_one(tmp_path: Path) -> None:
    dataset = open_dataset(f"coco:{write(tmp_path)}")
    assert dataset.classes == ("person", "dog", "toothbrush"), "by id"
    assert dataset.labels.tolist() == [1, 0, -1, 2, -1, 1]
    assert dataset.factors["objects"].tolist() == [1, 2, 2, 1, 0, 1]
    boxes = np.stack([dataset.factors[f"bbox_{edge}"] for edge in "xywh"], axis=1)
    assert boxes[0].tolist() == [1, 2, 3, 4]
    assert np.isnan(boxes[1:]).all()
    said = {entry.kind: entry.count for entry in dataset.left_out}
    assert said == {"objects": 4, "label": 2}
    assert dataset.name == "coco-instances_val2017".replace("_", "-") or dataset.name == "coco-instances_val2017"
    assert open_dataset(dataset.spec).digest == dataset.digest
    assert dataset.read(3) == jpeg(3)


@pytest.mark.parametrize("folder", ["val2017", "annotations", "annotations/images", "images", "images/val2017"])
def test_images_are_found_in_the_usual_places(tmp_path: Path, folder: str) -> None:
    assert open_dataset(f"coco:{write(tmp_path, folder)}").read(5) == jpeg(5)


def test_images_elsewhere_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "pictures")
    with pytest.raises(DataUnavailableError, match="6 of 6 listed images are not there"):
        open_dataset(f"coco:{path}")
    assert open_dataset(f"coco:{path}@root=../pictures").read(5) == jpeg(5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 3}, "no list of images"),
        ({"annotations": None}, "no list of annotations"),
        ({"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]}, "same id"),
        ({"images": [{"id": 1, "file_name": "../a.jpg"}], "annotations": []}, "no path below"),
        ({"images": [{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "a"}], "annotations": []}, "listed twice"),
        ({"annotations": [{"image_id": 99, "category_id": 1}]}, "image 99, which is not listed"),
        ({"annotations": [{"image_id": 10, "category_id": 5}]}, "category 5, which is not listed"),
        ({"annotations": [{"image_id": 10, "category_id": 1, "bbox": [1, 2, 3]}]}, "not four numbers"),
        ({"annotations": [{"image_id": 10, "category_id": 1, "bbox": [1, 2, 3, "4"]}]}, "not four numbers"),
        ({"annotations": ["x"]}, "no object"),
        ({"categories": [{"id": "a", "name": "b"}]}, "no numbers"),
        ({"categories": [{"id": 1}]}, "name is no name"),
        ({"images": [{"id": [1], "file_name": "a"}]}, "id is no id"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path, change=change)
    with pytest.raises(IntegrityError, match=message):
        open_dataset(f"coco:{path}")


def test_what_is_no_such_file(tmp_path: Path) -> None:
    path = write(tmp_path)
    for spec, error in {
        "coco:": UsageError,
        f"coco:{tmp_path}/none.json": DataUnavailableError,
        "coco:s3://bucket/x.json": UsageError,
        f"coco:{path}@label=x": UnknownNameError,
    }.items():
        with pytest.raises(error):
            open_dataset(spec)
    with pytest.raises(UnknownNameError, match="unknown split"):
        open_dataset(f"coco:{path}", split="val")
    path.write_text("[" * 100_000)
    with pytest.raises(CvbenchError, match="no JSON"):
        open_dataset(f"coco:{path}")
