"""imagenet-val as flat files: labels by the development kit, a table, Kaggle's table, or the names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets import open_dataset
from cvbench.storage.datasets.readers.imagenet_classes import imagenet_wnids
from tests.storage.datasets.dataset_suite import DatasetTests, jpeg
from tests.storage.datasets.imagenet_trees import (
    DEVKIT_ID,
    FLAT,
    VAL,
    labels_by_number,
    put,
    val_name,
    write_devkit,
    write_flat,
    write_label_table,
)


class TestFlatWithDevkit(DatasetTests):
    spec = "imagenet-val"
    splits = ("val",)

    def make(self, root: Path) -> None:
        write_flat(root / FLAT)
        write_devkit(root / "ILSVRC2012_devkit_t12")

    def change(self, root: Path, what: str) -> None:
        truth = root / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt"
        if what == "label":
            lines = truth.read_text().splitlines()
            lines[292] = "7"
            truth.write_text("\n".join(lines))
        else:
            (root / FLAT / val_name(293)).write_bytes(jpeg(1, size=(40, 40)))


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    write_flat(tmp_path / "val")
    return tmp_path


@pytest.mark.parametrize("place", ["ILSVRC2012_devkit_t12", "", "val/ILSVRC2012_devkit_t12", "imagenet"])
def test_labels_of_the_development_kit_go_through_the_wordnet_id(flat: Path, place: str) -> None:
    write_devkit(flat / place)
    assert labels_by_number(flat) == VAL
    assert DEVKIT_ID[0] != 1  # else the test could not tell the two orders apart


def test_flat_images_are_in_the_order_of_their_numbers(flat: Path) -> None:
    write_label_table(flat / "imagenet_x" / "annotations" / "filename_label.csv")
    dataset = open_dataset("imagenet-val", data_root=flat)
    assert dataset.factors["image_number"].tolist() == sorted(VAL)
    assert list(dataset.ids) == [val_name(number) for number in sorted(VAL)]


def test_the_development_kit_comes_before_the_table(flat: Path) -> None:
    write_devkit(flat)
    (flat / "filename_label.csv").write_text("nonsense")
    assert labels_by_number(flat) == VAL


def test_flat_images_without_labels_say_what_is_missing(flat: Path) -> None:
    with pytest.raises(DataUnavailableError, match="no file says their classes") as caught:
        open_dataset("imagenet-val", data_root=flat)
    assert "ILSVRC2012_validation_ground_truth.txt" in str(caught.value)
    assert "filename_label.csv" in str(caught.value)


def test_a_ground_truth_that_ends_early_is_refused(flat: Path) -> None:
    write_devkit(flat, lines=10_000)
    with pytest.raises(IntegrityError, match="no label for image 45000"):
        open_dataset("imagenet-val", data_root=flat)


@pytest.mark.parametrize("line", ["1001", "0", "tench", "1003", ""])
def test_a_ground_truth_that_names_no_leaf_is_refused(flat: Path, line: str) -> None:
    write_devkit(flat)
    path = flat / "data" / "ILSVRC2012_validation_ground_truth.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], line, *lines[6:]]))
    with pytest.raises(IntegrityError, match="cannot read the line") as caught:
        open_dataset("imagenet-val", data_root=flat)
    assert ":6" in str(caught.value)


def test_a_meta_mat_that_unpacks_to_a_thousand_times_its_size_is_refused(flat: Path) -> None:
    write_devkit(flat)
    path = flat / "data" / "meta.mat"
    synsets = scipy.io.loadmat(path)["synsets"]
    synsets[0, 0]["gloss"] = np.zeros((1, 80 << 20), np.uint8)
    scipy.io.savemat(path, {"synsets": synsets}, do_compression=True)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(IntegrityError, match=r"meta\.mat cannot be read") as caught:
        open_dataset("imagenet-val", data_root=flat)
    assert "larger than any list" in str(caught.value)


@pytest.mark.parametrize("damage", ["bytes", "variable", "wnid"])
def test_a_damaged_meta_mat_is_refused(flat: Path, damage: str) -> None:
    write_devkit(flat)
    path = flat / "data" / "meta.mat"
    if damage == "bytes":
        path.write_bytes(path.read_bytes()[:3000])
    elif damage == "variable":
        scipy.io.savemat(path, {"other": np.zeros(3)})
    else:
        synsets = scipy.io.loadmat(path)["synsets"]
        synsets[DEVKIT_ID[0] - 1, 0]["WNID"] = np.array(["n99999999"])
        scipy.io.savemat(path, {"synsets": synsets})
    with pytest.raises(IntegrityError, match=r"meta\.mat|no class of ImageNet-1k"):
        open_dataset("imagenet-val", data_root=flat)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\n", "no columns file_name and label"),
        ("file_name,label\nILSVRC2012_val_00000293.JPEG,1000\n", "cannot read the row"),
        ("file_name,label\nILSVRC2012_val_00000293.JPEG,-1\n", "cannot read the row"),
        (f"file_name,label\nILSVRC2012_val_00000293.JPEG,{'1' * 5_000}\n", "cannot read the row"),
        (f"file_name,label\n{'x' * 200_000},1\n", "a file of labels cannot be read"),
        ("file_name,label\ncat.JPEG,3\n", "cannot read the row of 'cat.JPEG'"),
        ("file_name,label\nILSVRC2012_val_00000293.JPEG\n", "cannot read the row"),
        ("file_name,label\nILSVRC2012_val_00000293.JPEG,0\n", "no label for image"),
    ],
)
def test_a_damaged_table_is_refused(flat: Path, text: str, message: str) -> None:
    (flat / "filename_label.csv").write_text(text)
    with pytest.raises(IntegrityError, match=message):
        open_dataset("imagenet-val", data_root=flat)


def kaggle(root: Path, rows: dict[int, int] = VAL) -> Path:
    """Kaggle's tree; returns the table."""
    write_flat(root / "ILSVRC/Data/CLS-LOC/val")
    lines = [
        f"ILSVRC2012_val_{number:08d},{imagenet_wnids()[label]} 85 1 499 272 {imagenet_wnids()[label]} 1 2 3 4 "
        for number, label in rows.items()
    ]
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "\n".join(lines))
    return root / "LOC_val_solution.csv"


@pytest.mark.parametrize("top", ["", "imagenet", "imagenet-object-localization-challenge"])
def test_the_layout_of_kaggle(tmp_path: Path, top: str) -> None:
    kaggle(tmp_path / top)
    assert labels_by_number(tmp_path) == VAL


@pytest.mark.parametrize(
    "row",
    [
        "ILSVRC2012_val_00000293,n01440764 85 1 499",
        "ILSVRC2012_val_00000293,n00000000 85 1 499 272",
        "ILSVRC2012_val_00000293,n01440764 85 1 499 272 n01443537 85 1 499 272",
        "ILSVRC2012_val_293,n01440764 85 1 499 272",
        "ILSVRC2012_val_00000293,",
    ],
)
def test_a_damaged_table_of_kaggle_is_refused(tmp_path: Path, row: str) -> None:
    table = kaggle(tmp_path)
    table.write_text(f"ImageId,PredictionString\n{row}\n")
    with pytest.raises(IntegrityError, match="cannot read the row"):
        open_dataset("imagenet-val", data_root=tmp_path)
    table.write_text("a,b\n")
    with pytest.raises(IntegrityError, match="no columns ImageId"):
        open_dataset("imagenet-val", data_root=tmp_path)


def test_flat_images_with_the_class_in_their_names(tmp_path: Path) -> None:
    for number, label in VAL.items():
        put(tmp_path / "val" / f"ILSVRC2012_val_{number:08d}_{imagenet_wnids()[label]}.JPEG", jpeg(number))
    assert labels_by_number(tmp_path) == VAL
    put(tmp_path / "val" / val_name(2), jpeg(2))
    with pytest.raises(IntegrityError, match="no WordNet id, though others have one"):
        open_dataset("imagenet-val", data_root=tmp_path)
