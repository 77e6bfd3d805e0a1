"""clevr: scenes in JSON, by number of objects and by the distance of the closest."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cvbench.engine.pictures.decode import decode
from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.jobs.catalogue.datasets import verify
from cvbench.storage.datasets import dataset_info, key_of_spec, locate, open_dataset
from cvbench.storage.datasets.readers import clevr
from tests.storage.datasets.dataset_suite import DatasetTests

IMAGES = {"train": 6, "val": 9}


def picture(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (32, 48, 4), dtype=np.uint8) | np.array(
        [0, 0, 0, 255], np.uint8
    )


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(seed), "RGBA").save(buffer, "PNG")  # CLEVR's have an opaque alpha
    return buffer.getvalue()


def distances(part: str, number: int) -> list[float]:
    """Of the objects of an image, the closest not first."""
    rng = np.random.default_rng([len(part), number])
    return [*(10.5 + rng.random(2 + number % 8)), 7.7 + 0.4 * number]


def scene(part: str, number: int, given: list[float] | None = None) -> dict[str, Any]:
    """As generate_clevr_dataset writes it, the fields that are not read among them."""
    objects = [
        {
            "color": "blue",
            "material": "rubber",
            "shape": "cube",
            "size": "large",
            "rotation": 1.5,
            "3d_coords": [1.0, -2.0, 0.7],
            "pixel_coords": [100 + k, 50, distance],
        }
        for k, distance in enumerate(distances(part, number) if given is None else given)
    ]
    name = f"CLEVR_{part}_{number:06d}.png"
    return {
        "image_index": number,
        "image_filename": name,
        "split": part,
        "objects": objects,
        "relationships": {"right": [[] for _ in objects]},
        "directions": {"right": [0.6, 0.7, -0.0]},
    }


def put(folder: Path, part: str, scenes: list[dict[str, Any]]) -> Path:
    path = folder / "scenes" / f"CLEVR_{part}_scenes.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"info": {"split": part, "license": "CC BY 4.0"}, "scenes": scenes}))
    return path


def write(folder: Path) -> None:
    for part, count in IMAGES.items():
        (folder / "images" / part).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (folder / "images" / part / f"CLEVR_{part}_{number:06d}.png").write_bytes(png(number))
        put(folder, part, [scene(part, number) for number in range(count)])


class TestCount(DatasetTests):
    spec = "clevr"
    splits = ("train", "test")

    def make(self, root: Path) -> None:
        write(root / "CLEVR_v1.0")

    def change(self, root: Path, what: str) -> None:
        folder = root / "CLEVR_v1.0"
        if what == "label":
            scenes = [scene("val", number) for number in range(IMAGES["val"])]
            scenes[2] = scene("val", 2, [20.0] * 9)
            put(folder, "val", scenes)
        else:
            (folder / "images/val/CLEVR_val_000003.png").write_bytes(png(99) + b"\0")


class TestDistance(TestCount):
    spec = "clevr:distance"


def test_labels_are_vtabs_and_images_those_of_the_files(tmp_path: Path) -> None:
    write(tmp_path)
    for split, part in (("train", "train"), ("test", "val")):
        count, distance = (open_dataset(spec, data_root=tmp_path, split=split) for spec in ("clevr", "clevr:distance"))
        names = [f"{part}/CLEVR_{part}_{number:06d}.png" for number in range(IMAGES[part])]
        assert list(count.ids) == list(distance.ids) == names
        every = [distances(part, number) for number in range(IMAGES[part])]
        assert count.labels.tolist() == [len(values) - 3 for values in every]
        cuts = np.array([0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0])  # the rule of VTAB, written as it is there
        assert distance.labels.tolist() == [int(np.max(np.where((cuts - min(values)) < 0))) for values in every]
        assert count.factors["objects"].tolist() == [len(values) for values in every]
        assert np.allclose(count.factors["closest"], [min(values) for values in every])
        for i in range(len(count)):
            assert np.array_equal(decode(count.read(i)), picture(i)[..., :3])
    assert (len(count.classes), count.classes[0], count.classes[7]) == (8, "3 objects", "10 objects")
    assert len(distance.classes) == 6


@pytest.mark.parametrize(
    ("distance", "label"),
    [(0.1, 0), (8.0, 0), (8.0 + 1e-9, 0), (8.000001, 1), (8.5, 1), (9, 2), (9.5, 3), (10.0, 4), (10.1, 5), (100, 5)],
)
def test_a_distance_on_a_cut_is_in_the_nearer_class_in_single_precision(
    tmp_path: Path, distance: float, label: int
) -> None:
    write(tmp_path)
    put(tmp_path, "val", [scene("val", 0, [50, distance, 60])] if distance < 50 else [scene("val", 0, [distance] * 3)])
    assert open_dataset("clevr:distance", data_root=tmp_path).labels.tolist() == [label]


def test_facts(tmp_path: Path) -> None:
    assert dataset_info("clevr").counts == {"train": 70_000, "test": 15_000}
    assert (dataset_info("clevr").classes, dataset_info("clevr:distance").classes) == (8, 6)
    assert "validation split" in dataset_info("clevr").split_rule
    assert key_of_spec("clevr:distance") == "clevr-distance"
    write(tmp_path / "clevr" / "CLEVR_v1.0")
    assert locate("clevr", data_root=tmp_path) == tmp_path / "clevr" / "CLEVR_v1.0"
    report = verify("clevr", tmp_path, deep=True)
    assert [(split.split, split.images, split.decoded) for split in report.splits] == [("train", 6, 6), ("test", 9, 9)]


def test_what_is_missing_and_what_no_scene_names_is_said(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "images/val/more.png").write_bytes(png(1))
    (tmp_path / "images/val/notes.txt").touch()
    left_out = open_dataset("clevr", data_root=tmp_path).left_out
    assert [(entry.kind, entry.names) for entry in left_out] == [
        ("extension", ("val/notes.txt",)),
        ("unlisted", ("val/more.png",)),
    ]
    (tmp_path / "images/val/CLEVR_val_000004.png").unlink()
    with pytest.raises(DataUnavailableError, match="1 of 9 listed images are not there") as caught:
        open_dataset("clevr", data_root=tmp_path)
    assert "CLEVR_val_000004.png" in str(caught.value)
    (tmp_path / "scenes/CLEVR_train_scenes.json").unlink()
    with pytest.raises(DataUnavailableError, match=r"lacks CLEVR_train_scenes\.json"):
        open_dataset("clevr", data_root=tmp_path, split="train")


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in scene("val", 0).items() if name != key}


@pytest.mark.parametrize(
    ("scenes", "message"),
    [
        ([without("image_filename")], "without image_filename or objects"),
        ([without("objects")], "without image_filename or objects"),
        ([[1]], "without image_filename or objects"),
        ([{**scene("val", 0), "objects": {"a": 1}}], "without image_filename or objects"),
        ([scene("val", 0, [9.0, 9.0])], "2 objects, where CLEVR has 3 to 10"),
        ([scene("val", 0, [9.0] * 11)], "11 objects"),
        ([{**scene("val", 0), "objects": [{}] * 4}], "without three pixel_coords"),
        ([{**scene("val", 0), "objects": [{"pixel_coords": [1, 2]}] * 4}], "without three pixel_coords"),
        ([{**scene("val", 0), "objects": [{"pixel_coords": [1, 2, "3"]}] * 4}], "without three pixel_coords"),
        ([{**scene("val", 0), "objects": [{"pixel_coords": [1, 2, True]}] * 4}], "without three pixel_coords"),
        ([{**scene("val", 0), "image_filename": "../x.png"}], "no path below"),
        ([{**scene("val", 0), "image_filename": "a/x.png"}], "no file of the folder"),
        ([{**scene("val", 0), "image_filename": "/etc/passwd"}], "no path below"),
        ([scene("val", 0), scene("val", 0)], "listed twice"),
        ([scene("val", 0), scene("val", 1, [-1.0, 9, 9])], r"the closest object is at -1.0"),
        ([scene("val", 0, [0.0, 9, 9])], "at 0.0, not above 0"),
        ([scene("val", 0, [101.0] * 3)], "at 101.0"),
        ([scene("val", 0, [float("nan")] * 3)], "NaN is no number"),
    ],
)
def test_scenes_that_are_none_are_refused(tmp_path: Path, scenes: list[Any], message: str) -> None:
    write(tmp_path)
    path = put(tmp_path, "val", scenes)
    with pytest.raises(IntegrityError, match=message) as caught:
        open_dataset("clevr", data_root=tmp_path)
    assert str(path) in str(caught.value)


def test_an_empty_and_a_huge_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    put(tmp_path, "val", [])
    with pytest.raises(DataUnavailableError, match="has no images"):
        open_dataset("clevr", data_root=tmp_path)
    monkeypatch.setattr(clevr, "MAX_BYTES", 10)
    with pytest.raises(IntegrityError, match="are more than this file"):
        open_dataset("clevr", data_root=tmp_path)
