"""A published tree of image files is a row of data: where it lies, what tells it, and how its own lists are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets import READERS, locate, open_dataset
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.files import FileDataset, Samples, read_bounded
from cvbench.storage.datasets.formats.lists import lines
from cvbench.storage.datasets.readers.tree_reader import Tree, TreeReader, read_classes
from tests.storage.datasets.dataset_suite import jpeg

INFO = DatasetInfo(
    name="gulls",
    title="Gulls",
    splits=("train", "test", "all"),
    default_split="test",
    counts={"train": 2, "test": 1, "all": 3},
    classes=2,
    licence="none",
    homepage="https://example.org/gulls",
    tree="[gulls/]images/<class>/*.jpg\n[gulls/]{train,test}.txt",
)


def _read(tree: Tree) -> Samples:
    names = ("train", "test") if tree.split == "all" else (tree.split,)
    tree.need(tree.folder, *(f"{name}.txt" for name in names), fix="get the lists")
    ids = [text for name in names for _, text in lines(tree.folder / f"{name}.txt")]
    if not ids:
        raise tree.empty(tree.folder)
    return Samples(("herring", "little"), ids, [int(image.startswith("little/")) for image in ids])


ROW = TreeReader(
    INFO, ("gulls", "gulls-1.0"), lambda folder, root: (folder / "images").is_dir(), _read, images="images"
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with the data set in the second of its places, and a registry that has its row."""
    monkeypatch.setitem(READERS, "gulls", ROW)
    tree = tmp_path / "gulls-1.0"
    for number, image in enumerate(("herring/2.jpg", "herring/10.jpg", "little/1.jpg")):
        path = tree / "images" / image
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    (tree / "train.txt").write_text("little/1.jpg\nherring/10.jpg\n")
    (tree / "test.txt").write_text("herring/2.jpg\n")
    return tmp_path


def test_a_row_is_a_data_set(root: Path) -> None:
    assert locate("gulls", data_root=root) == root / "gulls-1.0"
    train = open_dataset("gulls", data_root=root, split="train")
    assert isinstance(train, FileDataset)
    assert (train.name, train.split, train.spec, train.classes) == ("gulls", "train", "gulls", ("herring", "little"))
    assert train.ids == ("little/1.jpg", "herring/10.jpg")
    assert train.labels.dtype == np.int64
    assert train.labels.tolist() == [1, 0]
    assert train.read(0) == jpeg(2)
    assert train.sizes.tolist() == [len(jpeg(2)), len(jpeg(1))]
    assert open_dataset("gulls", data_root=root).split == "test"
    assert len(open_dataset("gulls", data_root=root, split="all")) == 3


def test_the_first_of_its_places_is_taken(root: Path) -> None:
    (root / "gulls" / "images").mkdir(parents=True)
    assert locate("gulls", data_root=root) == root / "gulls"


def test_what_is_missing_is_named(root: Path) -> None:
    (root / "gulls-1.0" / "test.txt").unlink()
    with pytest.raises(DataUnavailableError, match=r"gulls lacks test\.txt") as caught:
        open_dataset("gulls", data_root=root)
    assert (caught.value.why, caught.value.fix) == ("found images/, train.txt", "get the lists")


def test_a_split_without_images_is_refused(root: Path) -> None:
    (root / "gulls-1.0" / "test.txt").write_text("\n")
    with pytest.raises(DataUnavailableError, match="gulls/test has no images"):
        open_dataset("gulls", data_root=root)


@pytest.mark.parametrize(("own", "where"), [(False, ""), (True, "gulls")])
def test_a_folder_of_its_own_name_says_why_it_is_not_taken(tmp_path: Path, own: bool, where: str) -> None:
    (tmp_path / "gulls").mkdir()
    reader = TreeReader(INFO, ROW.places, ROW.holds, ROW.read, own_places=own)
    with pytest.raises(DataUnavailableError) as caught:
        reader.open("", tmp_path, None)
    assert caught.value.where == str(tmp_path / where)


def test_a_rule_divides_class_folders(root: Path) -> None:
    folder = root / "gulls-1.0" / "images"
    classes = ("herring", "little")

    def read(split: str) -> Samples:
        tree = Tree(INFO, ROW.form(""), folder.parent, root, split)
        return read_classes(tree, folder, classes, lambda images: images[:1] if split == "test" else images[1:])

    assert read("test").ids == ["herring/2.jpg", "little/1.jpg"]  # 2 before 10
    assert (read("train").ids, read("train").labels) == (["herring/10.jpg"], [0])
    assert read("all").labels == [0, 0, 1]


def test_a_file_is_refused_by_its_size_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"x" * 1_000)
    assert read_bounded(path, 1_000, what="a list", too_large="too large") == b"x" * 1_000
    with pytest.raises(IntegrityError, match="1,000 bytes are too many"):
        read_bounded(path, 999, what="a list", too_large="{size} bytes are too many")
    with pytest.raises(DataUnavailableError, match="cannot read a list"):
        read_bounded(tmp_path / "none", 999, what="a list", too_large="too large")
