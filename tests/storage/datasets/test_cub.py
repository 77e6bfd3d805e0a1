"""cub200: five index files joined on the image id."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from cvbench.engine.pictures.decode import decode
from cvbench.errors import DataUnavailableError, IntegrityError, UnknownNameError
from cvbench.hints import command
from cvbench.storage.datasets import open_dataset
from tests.storage.datasets.cub_tree import CLASSES, IMAGES, relative, write_cub
from tests.storage.datasets.dataset_suite import DatasetTests, jpeg


class TestCub(DatasetTests):
    spec = "cub200"
    splits = ("train", "test", "all")

    def make(self, root: Path) -> None:
        write_cub(root / "CUB_200_2011")

    def change(self, root: Path, what: str) -> None:
        folder = root / "CUB_200_2011"
        if what == "label":
            labels = folder / "image_class_labels.txt"
            labels.write_text(labels.read_text().replace("8 3\n", "8 2\n"))
        else:
            (folder / "images" / relative(8)).write_bytes(jpeg(99, size=(40, 40)))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_cub(tmp_path)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_files_are_joined_on_the_image_id(tree: Path) -> None:
    dataset = open_dataset("cub200", data_root=tree, split="test")
    expected = [image for image in sorted(IMAGES) if IMAGES[image][1] == 0]
    assert list(dataset.ids) == [relative(image) for image in expected]
    assert dataset.labels.tolist() == [IMAGES[image][0] - 1 for image in expected]
    assert dataset.classes == CLASSES
    assert dataset.factors["image_id"].tolist() == expected
    assert dataset.factors["bbox_x"].tolist() == [float(i) for i in expected]
    assert dataset.factors["bbox_y"].tolist() == [i + 0.5 for i in expected]
    assert dataset.factors["bbox_w"].tolist() == [10.0 + i for i in expected]
    assert dataset.factors["bbox_h"].tolist() == [2.0 * i for i in expected]
    assert [dataset.read(k) for k in range(len(dataset))] == [
        (tree / "images" / relative(image)).read_bytes() for image in expected
    ]


def test_train_and_test_are_disjoint_and_together_all(tree: Path) -> None:
    train, test, everything = (
        set(open_dataset("cub200", data_root=tree, split=s).ids) for s in ("train", "test", "all")
    )
    assert not train & test
    assert train | test == everything


def test_a_grey_photograph_becomes_rgb(tree: Path) -> None:
    dataset = open_dataset("cub200", data_root=tree)
    image = decode(dataset.read(list(dataset.ids).index(relative(8))))
    assert np.array_equal(image[..., 0], image[..., 2])


@pytest.mark.parametrize("place", ["", "CUB_200_2011", "cub200", "cub200/CUB_200_2011", "CUB_200_2011/CUB_200_2011"])
def test_found_under_the_data_root_as(tmp_path: Path, place: str) -> None:
    write_cub(tmp_path / place)
    assert len(open_dataset("cub200", data_root=tmp_path)) == 5


def test_data_root_comes_from_the_environment(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVBENCH_DATA", str(tree))
    assert len(open_dataset("cub200")) == 5


def test_without_a_data_root_it_is_said_how_to_give_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CVBENCH_DATA", raising=False)
    with pytest.raises(DataUnavailableError, match="no data root") as caught:
        open_dataset("cub200")
    assert "--data-root" in str(caught.value)
    assert "vision.caltech.edu" in str(caught.value)


def test_a_missing_tree_says_what_was_expected_and_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "holiday-photos").mkdir()
    with pytest.raises(DataUnavailableError) as caught:
        open_dataset("cub200", data_root=tmp_path)
    text = str(caught.value)
    assert "train_test_split.txt" in text
    assert "holiday-photos/" in text
    assert "vision.caltech.edu" in text


def test_the_data_set_of_2010_is_refused(tree: Path) -> None:
    (tree / "train_test_split.txt").unlink()
    with pytest.raises(DataUnavailableError, match="2010"):
        open_dataset("cub200", data_root=tree)


def test_the_lists_of_2010_are_recognised(tmp_path: Path) -> None:
    (tmp_path / "images" / "001.Black_footed_Albatross").mkdir(parents=True)
    (tmp_path / "lists").mkdir()
    with pytest.raises(DataUnavailableError, match="2010"):
        open_dataset("cub200", data_root=tmp_path)


def test_a_missing_index_file_is_named(tree: Path) -> None:
    (tree / "bounding_boxes.txt").unlink()
    with pytest.raises(DataUnavailableError, match=r"lacks bounding_boxes\.txt"):
        open_dataset("cub200", data_root=tree)


def test_missing_images_are_counted_and_the_first_is_named(tree: Path) -> None:
    for image in (3, 8):
        (tree / "images" / relative(image)).unlink()
    with pytest.raises(DataUnavailableError, match="2 of 5") as caught:
        open_dataset("cub200", data_root=tree)
    assert relative(3) in str(caught.value)
    assert caught.value.fix == command("datasets verify", "cub200", data_root=str(tree))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("images.txt", f"3 {relative(3)}", "3", "cannot read the line '3'"),
        ("images.txt", f"3 {relative(3)}", f"4 {relative(3)}", "do not list the same images"),
        ("images.txt", f"3 {relative(3)}", f"2 {relative(3)}", "the id 2 occurs twice"),
        ("images.txt", f"3 {relative(3)}", f"3 {relative(9)}", "listed twice"),
        ("images.txt", relative(3), "../../etc/passwd", "cannot read the line"),
        ("images.txt", relative(3), "/etc/passwd", "cannot read the line"),
        ("image_class_labels.txt", "3 2", "3 4", "image 3 has the value 4"),
        ("image_class_labels.txt", "3 2", "3 0", "image 3 has the value 0"),
        ("train_test_split.txt", "3 0", "3 2", "image 3 has the value 2"),
        ("bounding_boxes.txt", "3 3.0 3.5 13.0 6.0", "3 3.0 3.5 13.0", "cannot read the line"),
        ("bounding_boxes.txt", "3 3.0 3.5 13.0 6.0", "3 nan 3.5 13.0 6.0", "cannot read the line"),
        ("classes.txt", "2 002", "4 002", "value 2, expected a class"),
    ],
)
def test_a_damaged_index_is_refused(tree: Path, file: str, old: str, new: str, message: str) -> None:
    edit(tree / file, old, new)
    with pytest.raises(IntegrityError, match=message) as caught:
        open_dataset("cub200", data_root=tree)
    assert ".txt" in str(caught.value)


def test_an_index_that_is_no_text_is_refused(tree: Path) -> None:
    (tree / "classes.txt").write_bytes(b"1 \xff\xfe\n")
    with pytest.raises(IntegrityError, match="cannot be read"):
        open_dataset("cub200", data_root=tree)


def test_a_file_that_changes_after_opening_is_refused(tree: Path) -> None:
    dataset = open_dataset("cub200", data_root=tree)
    path = tree / "images" / relative(1)
    for changed in (path.read_bytes() + b"x", path.read_bytes()[:-2], b""):
        path.write_bytes(changed)
        with pytest.raises(IntegrityError, match="changed"):
            dataset.read(0)
    path.unlink()
    with pytest.raises(DataUnavailableError, match="cannot read a sample"):
        dataset.read(0)


def test_an_unknown_split_names_the_known_ones(tree: Path) -> None:
    with pytest.raises(UnknownNameError) as caught:
        open_dataset("cub200", data_root=tree, split="tset")
    assert caught.value.did_you_mean == ("test",)
    assert "train, test, all" in str(caught.value)


def test_a_split_without_images_is_refused(tree: Path) -> None:
    path = tree / "train_test_split.txt"
    path.write_text(path.read_text().replace(" 0\n", " 1\n"))
    with pytest.raises(DataUnavailableError, match="no images"):
        open_dataset("cub200", data_root=tree, split="test")


def test_a_pipe_in_the_place_of_an_image_does_not_block(tree: Path) -> None:
    path = tree / "images" / relative(1)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataUnavailableError, match="1 of 5"):
        open_dataset("cub200", data_root=tree)
