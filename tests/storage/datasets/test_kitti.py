"""kitti: labels in text, split by videos as TensorFlow Datasets draws them."""

from __future__ import annotations

import io
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cvbench.engine.pictures.decode import decode
from cvbench.errors import DataUnavailableError, IntegrityError, UnknownNameError
from cvbench.jobs.catalogue.datasets import verify
from cvbench.storage.datasets import dataset_info, locate, open_dataset
from tests.storage.datasets.dataset_suite import DatasetTests

IMAGES, VIDEOS = 90, 32


def drive(image: int) -> str:
    return f"2011_09_26_drive_{(image * 7) % VIDEOS:04d}_sync"


def picture(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (12, 40, 3), dtype=np.uint8)


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(seed)).save(buffer, "PNG")
    return buffer.getvalue()


def row(kind: str, z: float | str) -> str:
    """A line as the development kit describes it: 15 values."""
    if kind == "DontCare":
        return "DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10"
    return f"{kind} 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 {z} -1.59"


def objects(image: int) -> list[tuple[str, float]]:
    """Type and z of the objects of an image; one in five has no vehicle."""
    others = [("Pedestrian", 1.5), ("Cyclist", 2.25), ("DontCare", 0.0), ("Tram", 3.0), ("Misc", 1.0)]
    others += [("Person_sitting", 0.5)]  # all nearer than any vehicle
    if image % 5 == 0:
        return others[: image % 6 + 1]
    return [*others, ("Car", 60.0), (("Van", "Truck", "Car")[image % 3], float(image % 30) + 0.5)]


def put(folder: Path, image: int, rows: list[str]) -> Path:
    path = folder / "training/label_2" / f"{image:06d}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{text}\n" for text in rows))
    return path


def order() -> list[int]:
    """Image -> line of the mapping, from 1."""
    return [int(line) + 1 for line in np.random.default_rng(5).permutation(IMAGES)]


def write(folder: Path, devkit: str | None = "devkit_object") -> None:
    (folder / "training/image_2").mkdir(parents=True)
    for image in range(IMAGES):
        (folder / "training/image_2" / f"{image:06d}.png").write_bytes(png(image))
        put(folder, image, [row(kind, z) for kind, z in objects(image)])
    if devkit is not None:
        mapping = folder / devkit / "mapping"
        mapping.mkdir(parents=True)
        rank = {line: image for image, line in enumerate(order())}
        text = "".join(f"2011_09_26 {drive(rank[line + 1])} {line:010d}\n" for line in range(IMAGES))
        (mapping / "train_mapping.txt").write_text(text)
        (mapping / "train_rand.txt").write_text(",".join(map(str, order())))


class TestKitti(DatasetTests):
    spec = "kitti"
    splits = ("train", "val", "test", "all")

    def make(self, root: Path) -> None:
        write(root / "kitti")

    def change(self, root: Path, what: str) -> None:
        image = int(open_dataset("kitti", data_root=root).ids[1][:6])
        if what == "label":
            put(root / "kitti", image, [row("Car", 3.0)] if image % 30 > 8 or image % 5 == 0 else [row("Car", 33.0)])
        else:
            (root / "kitti/training/image_2" / f"{image:06d}.png").write_bytes(png(image) + b"\0")


def vtab_label(image: int) -> int:
    """The rule of VTAB, as it is written there: the largest index whose threshold is below the distance."""
    zs = [z for kind, z in objects(image) if kind in ("Car", "Van", "Truck")]
    return int(np.max(np.where((np.array([-100.0, 8.0, 20.0, 999.0]) - min([*zs, 1000.0])) < 0)))


def test_labels_and_pixels(tmp_path: Path) -> None:
    write(tmp_path, None)
    dataset = open_dataset("kitti", data_root=tmp_path, split="all")
    assert list(dataset.ids) == [f"{image:06d}.png" for image in range(IMAGES)]
    assert dataset.labels.tolist() == [vtab_label(image) for image in range(IMAGES)]
    assert set(dataset.labels.tolist()) == {0, 1, 2, 3}
    assert dataset.classes == ("up to 8 m", "8 to 20 m", "over 20 m", "no vehicle")
    assert dataset.factors["vehicles"].tolist() == [0 if image % 5 == 0 else 2 for image in range(IMAGES)]
    assert np.isnan(dataset.factors["closest"][5])
    assert dataset.factors["closest"][7] == 7.5
    assert all(np.array_equal(decode(dataset.read(i)), picture(i)) for i in range(IMAGES))


@pytest.mark.parametrize(
    ("z", "label"), [(-99, 0), (0, 0), (8.0, 0), (8.000001, 1), (20, 1), (20.01, 2), (999, 2), (8.0 + 1e-9, 0)]
)
def test_a_distance_on_a_cut_is_in_the_nearer_class(tmp_path: Path, z: float, label: int) -> None:
    write(tmp_path, None)
    put(tmp_path, 0, [row("Pedestrian", 1.0), row("Truck", z)])
    assert open_dataset("kitti", data_root=tmp_path, split="all").labels[0] == label


def test_an_image_without_objects_has_no_vehicle(tmp_path: Path) -> None:
    write(tmp_path, None)
    put(tmp_path, 0, [])
    assert open_dataset("kitti", data_root=tmp_path, split="all").labels[0] == 3


@pytest.mark.parametrize("devkit", ["", "devkit_object", "devkit", "../devkit_object"])
def test_the_split_is_that_of_tensorflow_datasets(tmp_path: Path, devkit: str) -> None:
    write(tmp_path / "kitti", devkit)
    lines = (tmp_path / "kitti" / devkit / "mapping/train_mapping.txt").read_text().splitlines()
    images = defaultdict(list)
    for image, line in enumerate(order()):
        images[lines[line - 1].split()[1]].append(image)
    state = np.random.get_state()  # as it is drawn there: seed 123, a tenth of the videos, at least one
    np.random.seed(123)
    count = max(1, 10 * len(images) // 100)
    test = set(np.random.choice(sorted(images), count, replace=False))
    val = set(np.random.choice(sorted(set(images) - test), count, replace=False))
    np.random.set_state(state)
    expected = {"train": set(images) - test - val, "val": val, "test": test}
    assert len(images) == VIDEOS
    assert (len(test), len(val)) == (3, 3)
    for split, names in expected.items():
        members = sorted(image for name in names for image in images[name])
        dataset = open_dataset("kitti", data_root=tmp_path, split=split)
        assert list(dataset.ids) == [f"{image:06d}.png" for image in members]
        assert dataset.labels.tolist() == [vtab_label(image) for image in members]
        assert dataset.left_out == ()
    assert {drive(image) for image in members}.isdisjoint(expected["train"])


def test_the_draw_is_numpys_frozen_stream() -> None:
    """Of 100 videos, so that another stream of NumPy would be seen."""
    from cvbench.storage.datasets.readers.kitti_videos import split_by_video

    parts = split_by_video({f"{video:03d}": [video] for video in range(100)})
    assert parts["test"] == [0, 4, 5, 8, 28, 50, 63, 70, 81, 82]
    assert len(parts["val"]) == 10
    assert sorted([*parts["train"], *parts["val"], *parts["test"]]) == list(range(100))


def test_facts(tmp_path: Path) -> None:
    assert dataset_info("kitti").counts == {"train": 6_347, "val": 423, "test": 711, "all": 7_481}
    assert 6_347 + 423 + 711 == 7_481
    write(tmp_path)
    assert locate("kitti:distance", data_root=tmp_path) == tmp_path
    assert verify("kitti", tmp_path, deep=True).splits[0].decoded == IMAGES
    with pytest.raises(UnknownNameError, match="unknown form of kitti"):
        open_dataset("kitti:count", data_root=tmp_path)


def test_without_the_development_kit_only_all_can_be_read(tmp_path: Path) -> None:
    write(tmp_path, None)
    with pytest.raises(DataUnavailableError, match=r"kitti/test lacks mapping/train_rand\.txt") as caught:
        open_dataset("kitti", data_root=tmp_path)
    assert "devkit_object.zip" in str(caught.value)
    assert len(open_dataset("kitti", data_root=tmp_path, split="all")) == IMAGES


def test_what_is_missing_and_what_is_more_is_said(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "training/image_2/000500.png").write_bytes(png(1))
    assert open_dataset("kitti", data_root=tmp_path).left_out[0].names == ("image_2/000500.png",)
    first = open_dataset("kitti", data_root=tmp_path).ids[0]
    (tmp_path / "training/image_2" / first).unlink()
    with pytest.raises(DataUnavailableError, match="listed images are not there"):
        open_dataset("kitti", data_root=tmp_path)
    (tmp_path / "training/label_2" / first.replace("png", "txt")).unlink()
    with pytest.raises(DataUnavailableError, match=rf"kitti/test lacks {first[:6]}\.txt"):
        open_dataset("kitti", data_root=tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["Car 1 2 3"], "expected a type of KITTI and 14 numbers"),
        ([row("Car", 5.0) + " 0.9"], "expected a type of KITTI"),
        ([row("Lorry", 5.0)], "expected a type of KITTI"),
        ([row("Car", "near")], "a value is no number"),
        ([row("Car", 5.0), row("Car", "nan")], r"txt:2\n|a vehicle at nan"),
        ([row("Car", "inf")], "a vehicle at inf m"),
        ([row("Car", 1000.0)], "a vehicle at 1000.0 m"),
        ([row("Car", -100.0)], "a vehicle at -100.0 m"),
        (["\u00e9"], "no text"),
        (["x" * (1 << 20)], "are no labels of one image"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    write(tmp_path, None)
    path = put(tmp_path, 7, rows)
    with pytest.raises(IntegrityError, match=message) as caught:
        open_dataset("kitti", data_root=tmp_path, split="all")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train_rand.txt", "1,2,x", "entry 3, 'x', is no line"),
        ("train_rand.txt", "1,2,0", "entry 3, '0', is no line"),
        ("train_rand.txt", "1,2,91", "lines are 1 to 90"),
        ("train_rand.txt", "1,2,2", "named before"),
        ("train_rand.txt", "1,2," + "9" * 5_000, "entry 3"),
        ("train_rand.txt", "1", "1 videos are too few"),
        ("train_mapping.txt", "2011_09_26 drive\n", "expected date, drive and frame"),
    ],
)
def test_lists_of_the_development_kit_that_are_damaged(tmp_path: Path, name: str, text: str, message: str) -> None:
    write(tmp_path)
    path = tmp_path / "devkit_object/mapping" / name
    path.write_text(text)
    with pytest.raises(IntegrityError, match=message) as caught:
        open_dataset("kitti", data_root=tmp_path)
    assert str(path) in str(caught.value)
