"""caltech101, dtd, eurosat, flowers102, pets, sun397: the contract of each, and agreement with torchvision."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets as theirs

from cvbench.errors import DataUnavailableError, UnknownNameError
from cvbench.storage.datasets import Dataset, dataset_info, locate, open_dataset
from cvbench.storage.datasets.formats.lists import last_share
from tests.storage.datasets import transfer_trees as trees
from tests.storage.datasets.dataset_suite import DatasetTests, jpeg


class TestCaltech(DatasetTests):
    spec = "caltech101"
    splits = ("train", "test", "all")

    def make(self, root: Path) -> None:
        trees.write_caltech(root / "caltech101")

    def change(self, root: Path, what: str) -> None:
        tree = root / "caltech101" / "101_ObjectCategories"
        last = sorted(open_dataset("caltech101", data_root=root).ids)[-1]
        if what == "label":
            (tree / last).rename(tree / "Faces" / "image_0099.jpg")
        else:
            (tree / last).write_bytes(jpeg(99, size=(40, 40)))


class TestDtd(DatasetTests):
    spec = "dtd"
    splits = ("train", "val", "test", "all")

    def make(self, root: Path) -> None:
        trees.write_dtd(root / "dtd" / "dtd")

    def change(self, root: Path, what: str) -> None:
        folder = root / "dtd" / "dtd"
        if what == "label":
            for split in ("train", "test"):
                path = folder / "labels" / f"{split}1.txt"
                path.write_text(path.read_text().replace("banded/", "aanded/"))
            (folder / "images" / "aanded").symlink_to(folder / "images" / "banded")
        else:
            (folder / "images" / trees.DTD_PARTITIONS[1]["test"][0]).write_bytes(jpeg(99, size=(40, 40)))


class TestEurosat(DatasetTests):
    spec = "eurosat"
    splits = ("train", "val", "test", "all")

    def make(self, root: Path) -> None:
        trees.write_eurosat(root / "eurosat" / "2750")

    def change(self, root: Path, what: str) -> None:
        folder = root / "eurosat" / "2750"
        last = open_dataset("eurosat", data_root=root).ids[-1]
        if what == "label":
            (folder / last).rename(folder / "River" / "SeaLake_999.jpg")
        else:
            (folder / last).write_bytes(jpeg(99, size=(40, 40)))


class TestFlowers(DatasetTests):
    spec = "flowers102"
    splits = ("train", "val", "test", "all")

    def make(self, root: Path) -> None:
        trees.write_flowers(root / "flowers-102")

    def change(self, root: Path, what: str) -> None:
        if what == "label":
            from scipy.io import savemat

            labels = [*trees.FLOWER_LABELS]
            labels[2] = 101
            savemat(root / "flowers-102" / "imagelabels.mat", {"labels": np.array([labels], np.uint8)})
        else:
            (root / "flowers-102" / "jpg" / "image_00003.jpg").write_bytes(jpeg(99, size=(40, 40)))


class TestPets(DatasetTests):
    spec = "pets"
    splits = ("trainval", "test", "all")

    def make(self, root: Path) -> None:
        trees.write_pets(root / "oxford-iiit-pet")

    def change(self, root: Path, what: str) -> None:
        folder = root / "oxford-iiit-pet"
        if what == "label":
            for split in ("trainval", "test"):  # two breeds change places
                path = folder / "annotations" / f"{split}.txt"
                text = path.read_text().replace(" 2 2 1", " 9 2 1").replace(" 3 1 2", " 2 1 2").replace(" 9 2", " 3 2")
                path.write_text(text)
        else:
            (folder / "images" / "Bengal_11.jpg").write_bytes(jpeg(99, size=(40, 40)))


class TestSun(DatasetTests):
    spec = "sun397"
    splits = ("train", "test", "all")

    def make(self, root: Path) -> None:
        trees.write_sun(root / "SUN397", root / "SUN397")

    def change(self, root: Path, what: str) -> None:
        folder = root / "SUN397"
        if what == "label":
            (folder / "ClassName.txt").write_text("/c/church/indoor\n/a/abbey\n/c/church/outdoor\n/o/outdoor\n")
        else:
            (folder / open_dataset("sun397", data_root=root).ids[0]).write_bytes(jpeg(99, size=(40, 40)))


WRITERS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "caltech101": (trees.write_caltech, ("", "caltech101", "caltech-101", "caltech101/caltech-101")),
    "dtd": (trees.write_dtd, ("", "dtd", "dtd/dtd")),
    "eurosat": (
        trees.write_eurosat,
        ("", "2750", "eurosat/2750", "EuroSAT/2750", "EuroSAT_RGB", "eurosat/EuroSAT_RGB", "eurosat"),
    ),
    "flowers102": (trees.write_flowers, ("", "flowers-102", "oxford_flowers")),
    "pets": (trees.write_pets, ("", "oxford-iiit-pet", "oxford_pets")),
    "sun397": (lambda folder: trees.write_sun(folder, folder), ("", "SUN397", "sun397/SUN397", "sun397")),
}
PLACES = [(name, place) for name, (_, places) in WRITERS.items() for place in places]


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_found_under_the_data_root_as(tmp_path: Path, name: str, place: str) -> None:
    WRITERS[name][0](tmp_path / place)
    assert len(open_dataset(name, data_root=tmp_path))
    assert [other for other in WRITERS if locate(other, data_root=tmp_path) is not None] == [name]


@pytest.mark.parametrize("name", WRITERS)
def test_an_empty_data_root_is_no_data_set(tmp_path: Path, name: str) -> None:
    assert locate(name, data_root=tmp_path) is None


@pytest.mark.parametrize("name", WRITERS)
def test_the_splits_are_disjoint_and_inside_all(tmp_path: Path, name: str) -> None:
    WRITERS[name][0](tmp_path)
    whole = set(open_dataset(name, data_root=tmp_path, split="all").ids)
    parts = [
        set(open_dataset(name, data_root=tmp_path, split=split).ids)
        for split in dataset_info(name).splits
        if split != "all"
    ]
    assert sum(map(len, parts)) == len(set().union(*parts)) > 0
    assert set().union(*parts) == whole if name != "sun397" else set().union(*parts) <= whole


@pytest.mark.parametrize(
    ("name", "counts", "classes"),
    [
        ("cifar100", {"train": 50_000, "test": 10_000}, 100),
        ("caltech101", {"train": 3_030, "test": 5_647, "all": 8_677}, 101),
        ("caltech101:102", {"train": 3_060, "test": 6_084, "all": 9_144}, 102),
        ("caltech101:100", {"train": 3_000, "test": 5_242, "all": 8_242}, 100),
        ("dtd", {"train": 1_880, "val": 1_880, "test": 1_880, "all": 5_640}, 47),
        ("dtd:10", {"train": 1_880, "val": 1_880, "test": 1_880, "all": 5_640}, 47),
        ("eurosat", {"train": 16_200, "val": 5_400, "test": 5_400, "all": 27_000}, 10),
        ("flowers102", {"train": 1_020, "val": 1_020, "test": 6_149, "all": 8_189}, 102),
        ("pets", {"trainval": 3_680, "test": 3_669, "all": 7_349}, 37),
        ("sun397", {"train": 19_850, "test": 19_850, "all": 108_754}, 397),
    ],
)
def test_published_counts(name: str, counts: dict[str, int], classes: int) -> None:
    info = dataset_info(name)
    assert (info.counts, info.classes) == (counts, classes)


@pytest.mark.parametrize(
    ("spec", "split", "validates"),
    [
        ("cifar10", "train", 5_000),
        ("cifar100", "train", 5_000),
        ("caltech101", "train", 303),
        ("caltech101:102", "train", 306),
        ("pets", "trainval", 736),
        ("pets:coop", "train", 0),
        ("dtd", "train", 0),
        ("eurosat", "train", 0),
        ("flowers102", "train", 0),
        ("sun397", "train", 0),
    ],
)
def test_what_validates_without_a_split(spec: str, split: str, validates: int) -> None:
    """Zhai et al. 2019 (VTAB) validate on 5,000 of CIFAR-100, 306 of 3,060 of Caltech-101, 736 of 3,680 of Pets."""
    info = dataset_info(spec)
    names = [f"{split}/{i:05d}" for i in range(info.counts.get(split, 100))]
    rows = last_share(names, info.held_out)
    assert len(rows) == validates
    last = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[len(names) - validates :]
    assert {names[row] for row in rows} == set(last)
    assert rows == sorted(rows)


def test_splits_that_are_ours_are_said_to_be() -> None:
    said = {name: dataset_info(name).split_rule for name in (*WRITERS, "cifar100", "caltech101:102", "sun397:coop")}
    assert {name for name, rule in said.items() if rule} == {
        *("caltech101", "caltech101:102", "eurosat", "sun397", "sun397:coop")
    }
    assert "101 classes, where VTAB has 102" in said["caltech101"]
    assert "where VTAB has 102" not in said["caltech101:102"]
    assert said["sun397:coop"] == "the splits of split_zhou_SUN397.json"


@pytest.mark.parametrize("spec", ["dtd:11", "dtd:0", "sun397:x", "caltech101:103", "pets:1", "eurosat:ms"])
def test_an_unknown_form_names_the_known_ones(tmp_path: Path, spec: str) -> None:
    for attempt in (dataset_info, lambda text: open_dataset(text, data_root=tmp_path)):
        with pytest.raises(UnknownNameError, match="unknown form of") as caught:
            attempt(spec)
        assert "coop" in str(caught.value)


def same(ours: Dataset, files: Iterable[Any], labels: Iterable[int]) -> None:
    """The same files, in whatever order, with the same labels; torchvision's in the order of the file system."""
    expected = {Path(file).resolve(): int(label) for file, label in zip(files, labels, strict=True)}
    assert {ours.path(i).resolve(): int(ours.labels[i]) for i in range(len(ours))} == expected  # type: ignore[attr-defined]


def test_caltech_agrees_with_torchvision(tmp_path: Path) -> None:
    trees.write_caltech(tmp_path / "caltech101")
    loader = theirs.Caltech101(str(tmp_path))
    ours = open_dataset("caltech101", data_root=tmp_path, split="all")
    folder = tmp_path / "caltech101" / "101_ObjectCategories"
    files = [folder / loader.categories[y] / f"image_{n:04d}.jpg" for y, n in zip(loader.y, loader.index, strict=True)]
    same(ours, files, loader.y)
    assert list(ours.classes) == loader.categories
    assert [folder / name for name in ours.ids] == files


@pytest.mark.parametrize("partition", [1, 2])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_dtd_agrees_with_torchvision(tmp_path: Path, split: str, partition: int) -> None:
    trees.write_dtd(tmp_path / "dtd" / "dtd")
    loader = theirs.DTD(str(tmp_path), split=split, partition=partition)
    ours = open_dataset(f"dtd:{partition}", data_root=tmp_path, split=split)
    same(ours, loader._image_files, loader._labels)
    assert list(ours.classes) == loader.classes
    assert [ours.path(i) for i in range(len(ours))] == loader._image_files  # type: ignore[attr-defined]


def test_eurosat_agrees_with_torchvision(tmp_path: Path) -> None:
    trees.write_eurosat(tmp_path / "eurosat" / "2750")
    loader = theirs.EuroSAT(str(tmp_path))
    ours = open_dataset("eurosat", data_root=tmp_path, split="all")
    same(ours, *zip(*loader.samples, strict=True))
    assert list(ours.classes) == loader.classes


@pytest.mark.parametrize("split", ["train", "test"])  # torchvision cannot read a list of one image, as "val" is here
def test_flowers_agree_with_torchvision(tmp_path: Path, split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trees.write_flowers(tmp_path / "flowers-102")
    monkeypatch.setattr("torchvision.datasets.flowers102.check_integrity", lambda *_: True)  # md5s of the real files
    loader = theirs.Flowers102(str(tmp_path), split=split)
    ours = open_dataset("flowers102", data_root=tmp_path, split=split)
    same(ours, loader._image_files, loader._labels)
    assert list(ours.classes) == loader.classes


@pytest.mark.parametrize("split", ["trainval", "test"])
def test_pets_agree_with_torchvision(tmp_path: Path, split: str) -> None:
    trees.write_pets(tmp_path / "oxford-iiit-pet")
    loader = theirs.OxfordIIITPet(str(tmp_path), split=split)
    ours = open_dataset("pets", data_root=tmp_path, split=split)
    same(ours, loader._images, loader._labels)
    assert [name.replace("_", " ").title() for name in ours.classes] == loader.classes


def test_sun_agrees_with_torchvision(tmp_path: Path) -> None:
    trees.write_sun(tmp_path / "SUN397", tmp_path / "SUN397")
    loader = theirs.SUN397(str(tmp_path))
    ours = open_dataset("sun397", data_root=tmp_path, split="all")
    same(ours, loader._image_files, loader._labels)
    assert list(ours.classes) == loader.classes


@pytest.mark.parametrize("name", [*WRITERS, "cifar100"])
def test_what_is_not_there_can_be_downloaded(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataUnavailableError, match="not under the data root") as caught:
        open_dataset(name, data_root=tmp_path)
    assert f"cvbench datasets download {name}" in str(caught.value)
    assert dataset_info(name).homepage in str(caught.value)
