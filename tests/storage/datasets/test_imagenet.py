"""imagenet-val: five layouts, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import timm
from torchvision.datasets import ImageFolder

from cvbench.engine.pictures.decode import decode
from cvbench.errors import DataUnavailableError, IntegrityError, UnknownNameError
from cvbench.jobs.catalogue.datasets import verify
from cvbench.storage.datasets import locate, open_dataset
from cvbench.storage.datasets.readers.imagenet_classes import (
    imagenet_a_wnids,
    imagenet_columns,
    imagenet_r_wnids,
    imagenet_wnids,
)
from tests.storage.datasets.dataset_suite import DatasetTests, jpeg
from tests.storage.datasets.imagenet_trees import (
    DEVKIT_ID,
    VAL,
    put,
    val_name,
    write_devkit,
    write_flat,
    write_label_table,
    write_val,
)

TIMM = Path(timm.__file__).parent / "data" / "_info"
FLAT = "ILSVRC2012_img_val"


class TestClassFolders(DatasetTests):
    spec = "imagenet-val"
    splits = ("val",)

    def make(self, root: Path) -> None:
        write_val(root / "imagenet" / "val")

    def change(self, root: Path, what: str) -> None:
        path = root / "imagenet" / "val" / imagenet_wnids()[0] / val_name(293)
        if what == "label":
            path.rename(root / "imagenet" / "val" / imagenet_wnids()[1] / val_name(293))
        else:
            path.write_bytes(jpeg(1, size=(40, 40)))


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
def tree(tmp_path: Path) -> Path:
    write_val(tmp_path / "val")
    return tmp_path


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    write_flat(tmp_path / "val")
    return tmp_path


def labels_by_number(root: Path) -> dict[int, int]:
    dataset = open_dataset("imagenet-val", data_root=root)
    return dict(zip(dataset.factors["image_number"].tolist(), dataset.labels.tolist(), strict=True))


# Classes


def test_wnids_are_those_of_timm() -> None:
    assert list(imagenet_wnids()) == (TIMM / "imagenet_synsets.txt").read_text().split()
    assert list(imagenet_wnids()) == sorted(set(imagenet_wnids()))


@pytest.mark.parametrize(("letter", "wnids"), [("a", imagenet_a_wnids()), ("r", imagenet_r_wnids())])
def test_subsets_are_those_of_timm(letter: str, wnids: tuple[str, ...]) -> None:
    assert imagenet_columns(wnids).tolist() == [
        int(line) for line in (TIMM / f"imagenet_{letter}_indices.txt").read_text().split()
    ]
    assert len(wnids) == 200


def test_a_and_r_share_86_classes() -> None:
    assert len(set(imagenet_a_wnids()) & set(imagenet_r_wnids())) == 86


def test_a_class_without_a_column_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="'Zucchini' is no class of ImageNet-1k"):
        imagenet_columns(["n01440764", "Zucchini"])


# Class folders


def test_labels_are_ranks_among_all_1000_even_in_a_part(tree: Path) -> None:
    dataset = open_dataset("imagenet-val", data_root=tree)
    assert dataset.classes == imagenet_wnids()
    assert labels_by_number(tree) == VAL
    assert list(dataset.ids) == [
        f"{imagenet_wnids()[label]}/{val_name(number)}" for label, number in sorted((c, n) for n, c in VAL.items())
    ]


def test_files_are_those_of_torchvision(tree: Path) -> None:
    (tree / "val" / imagenet_wnids()[500]).rmdir()  # which ImageFolder refuses
    (tree / "val" / imagenet_wnids()[0] / "._ILSVRC2012_val_00000293.JPEG").unlink()  # which it takes for an image
    dataset = open_dataset("imagenet-val", data_root=tree)
    reference = ImageFolder(str(tree / "val"))
    assert [os.path.relpath(path, tree / "val") for path, _ in reference.samples] == list(dataset.ids)
    named = [reference.classes[label] for _, label in reference.samples]
    assert named == [dataset.classes[label] for label in dataset.labels]


def test_every_image_becomes_rgb(tree: Path) -> None:
    dataset = open_dataset("imagenet-val", data_root=tree)
    assert {decode(dataset.read(i)).shape for i in range(len(dataset))} == {(16, 24, 3)}


@pytest.mark.parametrize(
    "place", ["val", "images/val", "imagenet-val", "", "imagenet/val", "imagenet/images/val", "imagenet", FLAT]
)
@pytest.mark.parametrize("layout", ["folders", "flat"])
def test_found_under_the_data_root_as(tmp_path: Path, place: str, layout: str) -> None:
    (tmp_path / "holidays").mkdir()
    if place and "/" not in place:
        put(tmp_path / "train" / imagenet_wnids()[0] / "n01440764_1.JPEG", jpeg(0))
    if layout == "folders":
        (tmp_path / "holidays").rmdir()
        write_val(tmp_path / place)
    else:
        if not place:
            (tmp_path / "holidays").rmdir()
        write_flat(tmp_path / place)
        write_label_table(tmp_path / "filename_label.csv")
    assert locate("imagenet-val", data_root=tmp_path) == tmp_path / place
    assert labels_by_number(tmp_path) == VAL


def test_a_suffix_of_upper_case_or_another_is_read(tree: Path) -> None:
    folder = tree / "val" / imagenet_wnids()[0]
    (folder / val_name(293)).rename(folder / "ILSVRC2012_val_00000293.jpg")
    (folder / val_name(2138)).rename(folder / "ILSVRC2012_val_00002138_n01440764.PNG")
    assert labels_by_number(tree) == VAL


def test_nothing_is_written(tree: Path) -> None:
    before = sorted(map(str, tree.rglob("*")))
    open_dataset("imagenet-val", data_root=tree)
    assert sorted(map(str, tree.rglob("*"))) == before


def test_verify_counts_images_and_names_a_class_without_one(tree: Path) -> None:
    report = verify("imagenet-val", tree)
    assert [(p.kind, p.message) for p in report.problems] == [
        ("count", "8 images, 50,000 were published"),
        ("classes", f"994 classes have no image, first {imagenet_wnids()[2]}"),
    ]


def test_a_deep_verify_names_a_damaged_image(tree: Path) -> None:
    damaged = f"{imagenet_wnids()[0]}/{val_name(293)}"
    (tree / "val" / damaged).write_bytes(jpeg(0)[:-300])
    (tree / "val" / imagenet_wnids()[1] / val_name(17)).write_bytes(b"")
    problems = {problem.where: problem.kind for problem in verify("imagenet-val", tree, deep=True, threads=2).problems}
    assert problems[damaged] == "truncated"
    assert problems[f"{imagenet_wnids()[1]}/{val_name(17)}"] == "empty"


def test_a_broken_link_is_a_missing_image(tree: Path) -> None:
    path = tree / "val" / imagenet_wnids()[0] / val_name(293)
    path.unlink()
    path.symlink_to(tree / "nowhere")
    with pytest.raises(DataUnavailableError, match="1 of 8"):
        open_dataset("imagenet-val", data_root=tree)


# What is refused


def test_folders_of_numbers_are_refused(tmp_path: Path) -> None:
    for k in range(1, 5):
        put(tmp_path / "val" / str(k) / val_name(k), jpeg(k))
    with pytest.raises(IntegrityError, match="4 of 4 folders are no class of imagenet-val: 1, 2, 3") as caught:
        open_dataset("imagenet-val", data_root=tmp_path)
    assert "development kit" in str(caught.value)


def test_a_folder_of_another_name_among_the_classes_is_refused(tree: Path) -> None:
    put(tree / "val" / "tench" / val_name(7), jpeg(7))
    with pytest.raises(IntegrityError, match="1 of 8 folders are no class of imagenet-val: tench"):
        open_dataset("imagenet-val", data_root=tree)


def test_a_class_of_imagenet_21k_is_refused(tree: Path) -> None:
    put(tree / "val" / "n00000001" / val_name(7), jpeg(7))
    with pytest.raises(IntegrityError, match="n00000001"):
        open_dataset("imagenet-val", data_root=tree)


def test_folders_of_words_say_what_was_expected_and_found(tmp_path: Path) -> None:
    put(tmp_path / "val" / "tench" / "a.jpg", jpeg(7))
    with pytest.raises(DataUnavailableError, match="does not look like it") as caught:
        open_dataset("imagenet-val", data_root=tmp_path)
    assert "found tench/" in str(caught.value)
    assert "image-net.org" in str(caught.value)


def test_nothing_there_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "holidays").mkdir()
    with pytest.raises(DataUnavailableError, match="not under the data root") as caught:
        open_dataset("imagenet-val", data_root=tmp_path)
    assert "ILSVRC2012_val_" in str(caught.value)
    assert "found holidays/" in str(caught.value)


def test_without_a_data_root_it_is_said_how_to_give_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CVBENCH_DATA", raising=False)
    with pytest.raises(DataUnavailableError, match="no data root"):
        open_dataset("imagenet-val")


@pytest.mark.parametrize(
    "name", ["n01440764_10026.JPEG", "ILSVRC2012_val_00050001.JPEG", "ILSVRC2012_test_00000001.JPEG"]
)
def test_images_of_another_set_are_refused(tree: Path, name: str) -> None:
    put(tree / "val" / imagenet_wnids()[0] / name, jpeg(0))
    with pytest.raises(IntegrityError, match="not the name of a validation image") as caught:
        open_dataset("imagenet-val", data_root=tree)
    assert name in str(caught.value)


def test_an_image_in_two_classes_is_refused(tree: Path) -> None:
    put(tree / "val" / imagenet_wnids()[1] / val_name(293), jpeg(0))
    with pytest.raises(IntegrityError, match="image 293 is there twice"):
        open_dataset("imagenet-val", data_root=tree)


def test_images_that_were_not_sorted_into_classes_yet_are_refused(tree: Path) -> None:
    put(tree / "val" / val_name(12), jpeg(0))
    with pytest.raises(IntegrityError, match="1 validation images lie beside the class folders"):
        open_dataset("imagenet-val", data_root=tree)


def test_classes_without_any_image_are_refused(tmp_path: Path) -> None:
    (tmp_path / "val" / imagenet_wnids()[0]).mkdir(parents=True)
    with pytest.raises(DataUnavailableError, match="hold no image"):
        open_dataset("imagenet-val", data_root=tmp_path)


# One flat folder


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


def test_a_folder_called_validation(tmp_path: Path) -> None:
    write_val(tmp_path / "imagenet/validation")
    assert labels_by_number(tmp_path) == VAL
