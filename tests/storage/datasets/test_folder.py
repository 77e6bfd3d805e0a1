"""folder:PATH: any tree of class folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from cvbench.errors import DataUnavailableError, IntegrityError, UnknownNameError, UsageError
from cvbench.storage.datasets import open_dataset
from tests.storage.datasets.dataset_suite import DatasetTests, jpeg


def put(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(seed))


def birds(folder: Path) -> None:
    for k, name in enumerate(["wren/a.jpg", "wren/b.jpg", "Owl/10.jpg", "Owl/9.JPEG", "jay/x.Png"]):
        put(folder / name, k)


def change_birds(folder: Path, what: str) -> None:
    if what == "label":
        (folder / "wren" / "b.jpg").rename(folder / "jay" / "b.jpg")
    else:
        (folder / "wren" / "b.jpg").write_bytes(jpeg(1000, size=(40, 40)))


class TestFolder(DatasetTests):
    spec = "folder:Garden Birds"
    splits = ("all",)

    def make(self, root: Path) -> None:
        birds(root / "Garden Birds")

    def change(self, root: Path, what: str) -> None:
        change_birds(root / "Garden Birds", what)


class TestFolderWithSplits(DatasetTests):
    spec = "folder:birds"
    splits = ("test", "val", "train")
    default_split = "test"

    def make(self, root: Path) -> None:
        for split in self.splits:
            birds(root / "birds" / split)

    def change(self, root: Path, what: str) -> None:
        change_birds(root / "birds" / "test", what)


def test_classes_and_files_are_sorted_as_strings(tmp_path: Path) -> None:
    birds(tmp_path)
    dataset = open_dataset(f"folder:{tmp_path}")
    assert dataset.classes == ("Owl", "jay", "wren")
    assert list(dataset.ids) == ["Owl/10.jpg", "Owl/9.JPEG", "jay/x.Png", "wren/a.jpg", "wren/b.jpg"]
    assert dataset.labels.tolist() == [0, 0, 1, 2, 2]


def test_order_and_labels_are_those_of_torchvision(tmp_path: Path) -> None:
    birds(tmp_path)
    for k, name in enumerate(["wren/old/z.jpg", "wren/old/deep/y.webp", "wren/A.bmp", "wren/a2.tiff", "jay/1/2.jpg"]):
        put(tmp_path / name, k)
    dataset = open_dataset(f"folder:{tmp_path}")
    reference = ImageFolder(str(tmp_path))
    assert [(os.path.relpath(path, tmp_path), label) for path, label in reference.samples] == list(
        zip(dataset.ids, dataset.labels.tolist(), strict=True)
    )


def test_only_visible_images_count(tmp_path: Path) -> None:
    birds(tmp_path)
    before = open_dataset(f"folder:{tmp_path}").digest
    put(tmp_path / ".git" / "a.jpg")
    put(tmp_path / "wren" / ".a.jpg")
    put(tmp_path / "wren" / ".thumbs" / "a.jpg")
    put(tmp_path / "top.jpg")
    (tmp_path / "wren" / "notes.txt").write_text("jpg")
    (tmp_path / "wren" / "folder.jpg").mkdir()
    assert open_dataset(f"folder:{tmp_path}").digest == before


@pytest.mark.parametrize(
    "suffix",
    ["jpg", "JPG", "jpeg", "png", "webp", "gif", "bmp", "tif", "TIFF", "ppm", "PGM", "jfif", "JPE", "pnm", "pbm"],
)
def test_suffix(tmp_path: Path, suffix: str) -> None:
    put(tmp_path / "a" / f"x.{suffix}")
    assert list(open_dataset(f"folder:{tmp_path}").ids) == [f"a/x.{suffix}"]


def test_a_class_folder_may_be_a_link(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "a.jpg")
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / "wren").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "birds")
    assert list(open_dataset(f"folder:{tmp_path}/birds").ids) == ["wren/a.jpg"]


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    birds(tmp_path)
    (tmp_path / "robin").mkdir()
    (tmp_path / "robin" / "list.csv").write_text("")
    with pytest.raises(DataUnavailableError, match="'robin' holds no image") as caught:
        open_dataset(f"folder:{tmp_path}")
    assert "list.csv" in str(caught.value)


def test_a_flat_folder_has_images_without_labels(tmp_path: Path) -> None:
    for k in range(3):
        put(tmp_path / f"{k}.jpg", k)
    (tmp_path / "readme.txt").write_text("")
    dataset = open_dataset(f"folder:{tmp_path}")
    assert (dataset.split, dataset.classes, dataset.ids) == ("all", (), ("0.jpg", "1.jpg", "2.jpg"))
    assert dataset.labels.tolist() == [-1, -1, -1]
    assert {entry.kind: entry.count for entry in dataset.left_out} == {"label": 3, "extension": 1}


def test_a_folder_without_images_says_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "a.avif").write_bytes(b"x")
    with pytest.raises(DataUnavailableError, match="holds no image") as caught:
        open_dataset(f"folder:{tmp_path}")
    assert "found a.avif" in str(caught.value)


def test_files_beside_the_folders_of_splits_are_counted(tmp_path: Path) -> None:
    birds(tmp_path / "train")
    put(tmp_path / "stray.jpg")
    (tmp_path / "readme.md").write_text("")
    dataset = open_dataset(f"folder:{tmp_path}")
    assert {entry.kind: entry.names for entry in dataset.left_out} == {
        "beside": ("stray.jpg",),
        "extension": ("readme.md",),
    }


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_the_tables_of_image_folders(tmp_path: Path, form: str) -> None:
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"file_name": f"i{k}.jpg", "label": "cat" if k % 2 else "dog", "say": 'two\n"lines"'} for k in range(3)]
    for k, row in enumerate(rows):
        put(tmp_path / "train" / row["file_name"], k)
    path = tmp_path / "train" / f"metadata.{form}"
    if form == "csv":
        quoted = "\n".join(f'{row["file_name"]},{row["label"]},"two\n""lines"""' for row in rows)
        path.write_text(f"file_name,label,say\n{quoted}\n\n")
    elif form == "jsonl":
        path.write_text("\n".join(json.dumps({**row, "objects": {"bbox": [[1, 2, 3, 4]]}}) for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    dataset = open_dataset(f"folder:{tmp_path}")
    assert (dataset.split, dataset.classes, dataset.labels.tolist()) == ("train", ("cat", "dog"), [1, 0, 1])
    assert dataset.factors["say"].tolist() == ['two\n"lines"'] * 3
    lost = [entry.names for entry in dataset.left_out if entry.kind == "column"]
    assert lost == ([("objects",)] if form == "jsonl" else [])
    (tmp_path / "train" / "metadata.tsv").write_text("")
    other = "metadata.jsonl" if form != "jsonl" else "metadata.csv"
    (tmp_path / "train" / other).write_text("")
    with pytest.raises(IntegrityError, match="two tables"):
        open_dataset(f"folder:{tmp_path}")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match="the folder is empty") as caught:
        open_dataset(f"folder:{tmp_path}")
    assert "--dataset folder:PATH" in str(caught.value.fix)


def test_a_missing_folder_names_its_neighbours(tmp_path: Path) -> None:
    birds(tmp_path / "birds")
    with pytest.raises(DataUnavailableError) as caught:
        open_dataset("folder:brids", data_root=tmp_path)
    assert str(tmp_path / "brids") in str(caught.value)
    assert "birds/" in str(caught.value)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg")
    with pytest.raises(DataUnavailableError, match="not a folder"):
        open_dataset(f"folder:{tmp_path}/a.jpg")


@pytest.mark.parametrize("spec", ["folder", "folder:"])
def test_a_path_is_required(spec: str) -> None:
    with pytest.raises(UsageError, match="needs a path"):
        open_dataset(spec)


def test_a_relative_path_is_below_the_data_root_or_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    birds(tmp_path / "data" / "birds")
    put(tmp_path / "birds" / "one" / "a.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CVBENCH_DATA", raising=False)
    assert len(open_dataset("folder:birds")) == 1
    assert len(open_dataset("folder:birds", data_root="data")) == 5
    assert open_dataset("folder:birds", data_root="data").spec == f"folder:{tmp_path}/data/birds"


def test_train_and_test_are_classes_between_others(tmp_path: Path) -> None:
    for name in ("train/a.jpg", "test/b.jpg", "bus/c.jpg"):
        put(tmp_path / "vehicles" / name)
    assert open_dataset(f"folder:{tmp_path}/vehicles").classes == ("bus", "test", "train")


def test_labels_agree_between_splits_that_lack_a_class(tmp_path: Path) -> None:
    for name in ("train/jay/a.jpg", "train/owl/b.jpg", "train/wren/c.jpg", "val/wren/d.jpg"):
        put(tmp_path / name)
    train, val = (open_dataset(f"folder:{tmp_path}", split=split) for split in ("train", "val"))
    assert train.classes == val.classes == ("jay", "owl", "wren")
    assert val.labels.tolist() == [2]
    assert list(val.ids) == ["val/wren/d.jpg"]
    assert open_dataset(f"folder:{tmp_path}").split == "val"


def test_an_unknown_split_names_those_of_the_tree(tmp_path: Path) -> None:
    put(tmp_path / "train" / "jay" / "a.jpg")
    with pytest.raises(UnknownNameError) as caught:
        open_dataset(f"folder:{tmp_path}", split="trian")
    assert caught.value.did_you_mean == ("train",)


@pytest.mark.parametrize(
    ("folder", "key"),
    [("My Birds (2020)", "folder-my-birds-2020"), ("birds_v1.2", "folder-birds_v1.2"), ("鳥", "folder-")],
)
def test_the_key_is_made_of_the_folder_name(tmp_path: Path, folder: str, key: str) -> None:
    put(tmp_path / folder / "a" / "x.jpg")
    name = open_dataset(f"folder:{tmp_path / folder}").name
    assert name.startswith(key)
    assert len(name) > len("folder-")


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "a" / "x.jpg")
    try:
        (tmp_path / "a" / os.fsdecode(b"\xff.jpg")).write_bytes(jpeg(0))
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    with pytest.raises(IntegrityError, match="UTF-8"):
        open_dataset(f"folder:{tmp_path}")


def test_a_broken_link_is_a_missing_image(tmp_path: Path) -> None:
    put(tmp_path / "a" / "x.jpg")
    (tmp_path / "a" / "y.jpg").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataUnavailableError, match="1 of 2"):
        open_dataset(f"folder:{tmp_path}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    birds(tmp_path)
    (tmp_path / "wren").chmod(0)
    try:
        with pytest.raises(DataUnavailableError, match="cannot be read"):
            open_dataset(f"folder:{tmp_path}")
    finally:
        (tmp_path / "wren").chmod(0o700)
