"""imagenet-val: its classes, folders of them under any name, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
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
    FLAT,
    VAL,
    labels_by_number,
    put,
    val_name,
    write_flat,
    write_label_table,
    write_val,
)

TIMM = Path(timm.__file__).parent / "data" / "_info"


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


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_val(tmp_path / "val")
    return tmp_path


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


def test_a_folder_called_validation(tmp_path: Path) -> None:
    write_val(tmp_path / "imagenet/validation")
    assert labels_by_number(tmp_path) == VAL
