"""ImageNetV2, ImageNet-A, ImageNet-R and ImageNet-Sketch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.datasets import ImageFolder

from cvbench.engine.pictures.decode import decode
from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.jobs.catalogue.datasets import verify
from cvbench.storage.datasets import dataset_info, locate, open_dataset
from cvbench.storage.datasets.readers.class_tree import image_stem, numbered_folders
from cvbench.storage.datasets.readers.imagenet_classes import imagenet_a_wnids, imagenet_r_wnids, imagenet_wnids
from cvbench.storage.datasets.readers.imagenet_shifts import renditions
from tests.storage.datasets.dataset_suite import DatasetTests, jpeg
from tests.storage.datasets.imagenet_trees import CLASSES, put, write_a, write_r, write_sketch, write_v2, write_val

MATCHED = "imagenetv2-matched-frequency"
MATCHED_FOLDER = "imagenetv2-matched-frequency-format-val"
WRITERS: dict[str, Callable[[Path], None]] = {
    "imagenet-a": write_a,
    "imagenet-r": write_r,
    "imagenet-sketch": write_sketch,
}


class _Shift(DatasetTests):
    """A label changes when an image moves to the folder of another class."""

    splits = ("test",)
    place: str
    wnids: tuple[str, ...]

    def make(self, root: Path) -> None:
        WRITERS[self.spec](root / self.place)

    def change(self, root: Path, what: str) -> None:
        path = sorted((root / self.place / self.wnids[0]).iterdir())[0]
        if what == "label":
            path.rename(root / self.place / self.wnids[1] / f"zz{path.name}".replace("zzsketch_", "sketch_9"))
        else:
            path.write_bytes(jpeg(1, size=(40, 40)))


class TestA(_Shift):
    spec, place, wnids = "imagenet-a", "imagenet-a", imagenet_a_wnids()


class TestR(_Shift):
    spec, place, wnids = "imagenet-r", "imagenet-rendition/imagenet-r", imagenet_r_wnids()


class TestSketch(_Shift):
    spec, place, wnids = "imagenet-sketch", "imagenet-sketch/images", imagenet_wnids()


class TestMatchedFrequency(_Shift):
    spec, place, wnids = MATCHED, MATCHED_FOLDER, ("0", "1")

    def make(self, root: Path) -> None:
        write_v2(root / self.place)


@pytest.mark.parametrize("spec", sorted(WRITERS))
def test_order_is_that_of_torchvision(tmp_path: Path, spec: str) -> None:
    WRITERS[spec](tmp_path / spec)
    dataset = open_dataset(spec, data_root=tmp_path)
    reference = ImageFolder(str(tmp_path / spec))
    assert [os.path.relpath(path, tmp_path / spec) for path, _ in reference.samples] == list(dataset.ids)
    assert [reference.classes[label] for _, label in reference.samples] == [
        dataset.classes[label] for label in dataset.labels
    ]


@pytest.mark.parametrize(
    ("spec", "images", "classes"),
    [
        (MATCHED, 10_000, imagenet_wnids()),
        ("imagenetv2-threshold-0.7", 10_000, imagenet_wnids()),
        ("imagenetv2-top-images", 10_000, imagenet_wnids()),
        ("imagenet-a", 7_500, imagenet_a_wnids()),
        ("imagenet-r", 30_000, imagenet_r_wnids()),
        ("imagenet-sketch", 50_889, imagenet_wnids()),
    ],
)
def test_published_counts(spec: str, images: int, classes: tuple[str, ...]) -> None:
    assert dataset_info(spec).counts == {"test": images}
    assert dataset_info(spec).classes == len(classes)


# ImageNetV2


@pytest.mark.parametrize("name", ["{}", "{:04d}", "wnid"])
def test_v2_labels_are_the_numbers_of_the_folders(tmp_path: Path, name: str) -> None:
    write_v2(tmp_path / MATCHED_FOLDER, name)
    dataset = open_dataset(MATCHED, data_root=tmp_path)
    assert dataset.labels.tolist() == [label for label in CLASSES for _ in range(2)]
    for sample, label in zip(dataset.ids, dataset.labels, strict=True):
        assert sample.endswith(f"{label:038x}.jpeg")  # the writer put the class into the file's name
    assert dataset.classes == imagenet_wnids()


def test_v2_is_not_in_the_order_of_strings(tmp_path: Path) -> None:
    write_v2(tmp_path / MATCHED_FOLDER)
    folders = [sample.split("/")[0] for sample in open_dataset(MATCHED, data_root=tmp_path).ids[::2]]
    assert folders == ["0", "1", "9", "10", "100", "999"]
    assert folders != sorted(folders)


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        (MATCHED, MATCHED_FOLDER),
        (MATCHED, f"imagenetv2/{MATCHED_FOLDER}"),
        (MATCHED, f"{MATCHED_FOLDER}/{MATCHED_FOLDER}"),
        (MATCHED, "ImageNetV2-matched-frequency"),
        (MATCHED, "imagenetv2"),
        ("imagenetv2-threshold-0.7", "imagenetv2-threshold0.7-format-val"),
        ("imagenetv2-threshold-0.7", "imagenetv2/ImageNetV2-threshold-0.7"),
        ("imagenetv2-top-images", "imagenetv2/imagenetv2-top-images-format-val"),
    ],
)
def test_v2_is_found_as(tmp_path: Path, spec: str, place: str) -> None:
    write_v2(tmp_path / place)
    assert locate(spec, data_root=tmp_path) == tmp_path / place
    assert len(open_dataset(spec, data_root=tmp_path)) == 12
    assert len(open_dataset(spec, data_root=tmp_path / place)) == 12
    others = {MATCHED, "imagenetv2-threshold-0.7", "imagenetv2-top-images"} - {spec}
    assert all(locate(other, data_root=tmp_path) is None for other in others)


def test_v2_does_not_take_any_folder_of_numbers_for_itself(tmp_path: Path) -> None:
    write_v2(tmp_path)
    with pytest.raises(DataUnavailableError, match="not under the data root") as caught:
        open_dataset(MATCHED, data_root=tmp_path)
    assert MATCHED_FOLDER in str(caught.value)


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.integers(0, 999), st.integers(1, 5), min_size=1, max_size=20))
def test_numbers_of_any_width_are_read_as_numbers(widths: dict[int, int]) -> None:
    with TemporaryDirectory() as folder:
        names = {label: str(label).zfill(width) for label, width in widths.items()}
        for name in names.values():
            (Path(folder) / name).mkdir()
        assert numbered_folders(Path(folder), 1000, dataset_info(MATCHED)) == sorted(names.items())


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("1000", "1 of 7 folders are no class of .*: 1000"),
        ("n01440764", "here 6 folders are named by numbers and 1 by WordNet ids"),
        ("tench", "folders are no class"),
        ("0010", "'0010' and '10' are the same class"),
    ],
)
def test_v2_refuses_a_folder(tmp_path: Path, extra: str, message: str) -> None:
    write_v2(tmp_path / MATCHED_FOLDER)
    put(tmp_path / MATCHED_FOLDER / extra / "a.jpeg", jpeg(0))
    with pytest.raises(IntegrityError) as caught:
        open_dataset(MATCHED, data_root=tmp_path)
    assert caught.match(message)


# ImageNet-A and ImageNet-R


@pytest.mark.parametrize(("spec", "wnids"), [("imagenet-a", imagenet_a_wnids()), ("imagenet-r", imagenet_r_wnids())])
def test_the_200_classes_do_not_depend_on_which_folders_are_there(
    tmp_path: Path, spec: str, wnids: tuple[str, ...]
) -> None:
    WRITERS[spec](tmp_path / spec)
    dataset = open_dataset(spec, data_root=tmp_path)
    assert dataset.classes == wnids
    assert sorted(set(dataset.labels.tolist())) == [0, 1, 150, 199]
    assert [problem.message for problem in verify(spec, tmp_path).problems if problem.kind == "classes"] == [
        f"196 classes have no image, first {wnids[2]}"
    ]


def test_file_names_with_spaces_and_cmyk_images_are_read(tmp_path: Path) -> None:
    write_a(tmp_path / "imagenet-a")
    dataset = open_dataset("imagenet-a", data_root=tmp_path)
    assert dataset.ids[0].endswith("/0.000116_digital clock _ digital clock_0.865662.jpg")
    assert dataset.ids[1].endswith("/0.5 toaster.JPG")
    assert decode(dataset.read(1)).shape == (16, 24, 3)


def test_rendition_is_the_text_before_the_last_underscore(tmp_path: Path) -> None:
    write_r(tmp_path)
    dataset = open_dataset("imagenet-r", data_root=tmp_path)
    assert dataset.factors["rendition"].tolist() == ["art", "art", "video_game"] * 4
    assert renditions(["n1/plain.jpg"])["rendition"].tolist() == [""]


@pytest.mark.parametrize(
    ("spec", "writer"),
    [
        ("imagenet-a", write_r),
        ("imagenet-r", write_sketch),
        ("imagenet-a", write_val),
        ("imagenet-a", write_sketch),
    ],
)
def test_another_set_in_its_place_is_refused(tmp_path: Path, spec: str, writer: Callable[[Path], None]) -> None:
    writer(tmp_path)
    with pytest.raises(IntegrityError, match=f"folders are no class of {spec}"):
        open_dataset(spec, data_root=tmp_path)


@pytest.mark.parametrize("name", ["ILSVRC2012_val_00000001.JPEG", "n01440764_10026.JPEG"])
@pytest.mark.parametrize("spec", sorted(WRITERS))
def test_images_of_imagenet_itself_are_refused(tmp_path: Path, spec: str, name: str) -> None:
    WRITERS[spec](tmp_path / spec)
    put(tmp_path / spec / open_dataset(spec, data_root=tmp_path).classes[0] / name, jpeg(0))
    with pytest.raises(IntegrityError, match="images of ImageNet itself"):
        open_dataset(spec, data_root=tmp_path)


@pytest.mark.parametrize("spec", sorted(WRITERS))
def test_a_missing_tree_says_where_to_get_it(tmp_path: Path, spec: str) -> None:
    (tmp_path / spec).mkdir()
    with pytest.raises(DataUnavailableError, match="does not look like it") as caught:
        open_dataset(spec, data_root=tmp_path)
    assert str(tmp_path / spec) in str(caught.value)
    assert "found an empty folder" in str(caught.value)
    assert dataset_info(spec).homepage in str(caught.value)


# ImageNet-Sketch


@pytest.mark.parametrize("place", ["imagenet-sketch/sketch", "imagenet-sketch/images", "imagenet-sketch", "sketch", ""])
def test_sketch_is_found_as(tmp_path: Path, place: str) -> None:
    write_sketch(tmp_path / place)
    assert locate("imagenet-sketch", data_root=tmp_path) == tmp_path / place
    dataset = open_dataset("imagenet-sketch", data_root=tmp_path)
    assert dataset.labels.tolist() == [label for label in CLASSES for _ in range(3)]
    assert [image_stem(sample) for sample in dataset.ids[:3]] == ["sketch_0", "sketch_10", "sketch_2"]


def test_sketch_takes_no_other_images(tmp_path: Path) -> None:
    write_r(tmp_path)
    with pytest.raises(IntegrityError, match="imagenet-sketch has no image of such a name"):
        open_dataset("imagenet-sketch", data_root=tmp_path)


def test_stems() -> None:
    assert image_stem("n1/a.b_c.JPEG") == "a.b_c"
    assert image_stem("plain") == "plain"
