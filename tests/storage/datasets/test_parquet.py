"""`parquet:PATH`: image data sets of the Hugging Face hub, read a row group at a time."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cvbench.errors import DataUnavailableError, DecodeError, IntegrityError, UnknownNameError, UsageError
from cvbench.storage.datasets import every_split, locate, open_dataset
from cvbench.storage.datasets.formats.parquet_files import GroupCache
from tests.storage.datasets.dataset_suite import DatasetTests, jpeg
from tests.storage.datasets.shard_trees import NAMES, write_hub, write_parquet


class TestParquet(DatasetTests):
    spec = "parquet:beans"
    splits = ("train", "test")
    default_split = "test"

    def make(self, root: Path) -> None:
        write_hub(root / "beans")

    def change(self, root: Path, what: str) -> None:
        labels = [2, 0, 1, 0, 1 if what == "label" else 2]
        images = [jpeg(50 + k if what == "label" or k else 99) for k in range(5)]
        write_parquet(root / "beans" / "data" / "test-00000-of-00001.parquet", images, labels, names={"label": NAMES})


def test_rows_are_in_the_order_of_files_and_groups(tmp_path: Path) -> None:
    write_hub(tmp_path / "beans")
    dataset = open_dataset("parquet:beans", data_root=tmp_path, split="train")
    assert dataset.name == "parquet-beans"
    assert list(dataset.ids) == [
        "train-00000-of-00002/000000",
        "train-00000-of-00002/000001",
        "train-00000-of-00002/000002",
        "train-00001-of-00002/000000",
        "train-00001-of-00002/000001",
    ]
    assert dataset.labels.tolist() == [0, 1, 2, 2, 1]
    assert dataset.classes == NAMES
    assert [dataset.read(i) for i in (4, 0, 2, 3, 1)] == [jpeg(k) for k in (21, 0, 2, 20, 1)]
    assert every_split("parquet:beans", data_root=tmp_path) == ("test", "train")
    assert locate("parquet:beans/data/*.parquet", data_root=tmp_path) == tmp_path / "beans" / "data"


def open_beyond_memory(path: Path) -> Any:
    """The data set with a cache that holds one row group at most, and how often it reads a row group."""
    dataset: Any = open_dataset(f"parquet:{path}")
    object.__setattr__(dataset, "_cache", GroupCache(1))
    return dataset


def counted(dataset: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The row groups that are read from now on."""
    groups: list[int] = []
    read = type(dataset)._read_group

    def noted(self: Any, group: int) -> Any:
        groups.append(group)
        return read(self, group)

    monkeypatch.setattr(type(dataset), "_read_group", noted)
    return groups


@pytest.mark.parametrize("kind", ["struct", "binary", "large"])
def test_in_random_order_every_row_group_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    images = [jpeg(k, size=(8, 8)) if k != 11 else None for k in range(60)]
    if kind == "struct":
        write_parquet(tmp_path / "x.parquet", images, list(range(60)), rows_per_group=7)
    else:
        column = pa.array(images, pa.binary() if kind == "binary" else pa.large_binary())
        pq.write_table(pa.table({"image": column, "label": range(60)}), tmp_path / "x.parquet", row_group_size=7)
    dataset = open_beyond_memory(tmp_path / "x.parquet")
    groups = counted(dataset, monkeypatch)

    def check(index: int) -> None:
        if images[index] is None:
            with pytest.raises(DecodeError, match="holds no image"):
                dataset.read(index)
        else:
            assert dataset.read(index) == images[index]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check, np.tile(np.random.default_rng(0).permutation(60), 3).tolist()))
    assert sorted(groups) == list(range(9))
    copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert copy.read(59) == images[59]


def test_without_room_on_the_disk_row_groups_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [jpeg(k, size=(8, 8)) for k in range(60)]
    write_parquet(tmp_path / "x.parquet", images, list(range(60)), rows_per_group=7)
    dataset = open_beyond_memory(tmp_path / "x.parquet")
    assert dataset.advice is None
    monkeypatch.setattr("cvbench.storage.datasets.formats.spool.RESERVE", 1.1)
    assert "TMPDIR" in str(dataset.advice)
    groups = counted(dataset, monkeypatch)
    for index in np.random.default_rng(0).permutation(60):
        assert dataset.read(int(index)) == images[index]
    assert len(groups) > 20
    assert len(dataset._cache._held) == 1


def test_a_small_data_set_stays_in_memory(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", [jpeg(k) for k in range(9)], list(range(9)))
    dataset: Any = open_dataset(f"parquet:{tmp_path}/x.parquet")
    dataset.read(8)
    assert "_spool" not in dataset.__dict__


def test_the_cache_lets_go_of_what_was_not_used_for_longest() -> None:
    cache = GroupCache(10)
    for key in range(3):
        cache.put(key, str(key), 4)
    assert [cache.get(key) for key in range(3)] == [None, "1", "2"]
    cache.get(1)
    cache.put(3, "3", 4)
    assert [cache.get(key) for key in range(4)] == [None, "1", None, "3"]
    cache.put(4, "4", 100)
    assert [cache.get(key) for key in (1, 3, 4)] == [None, None, "4"]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train-00000-of-00001.parquet", "Validation-00000-of-00001-1a2b3c.parquet"), ("validation", "train")),
        (("train/0000.parquet", "test/0000.parquet"), ("test", "train")),
        (("0000.parquet", "0001.parquet"), ("all",)),
    ],
)
def test_splits_come_from_the_names(tmp_path: Path, names: tuple[str, ...], splits: tuple[str, ...]) -> None:
    for k, name in enumerate(names):
        write_parquet(tmp_path / name, [jpeg(k)], [0])
    assert set(every_split(f"parquet:{tmp_path}")) == set(splits)
    assert open_dataset(f"parquet:{tmp_path}").split == splits[0]
    for split in splits:
        assert len(open_dataset(f"parquet:{tmp_path}", split=split)) == len(names) // len(splits)


def test_coarse_classes_become_a_factor(tmp_path: Path) -> None:
    coarse = pa.array([1, None], pa.int32())
    names = {"fine_label": ("a", "b", "c"), "coarse_label": ("x", "y")}
    fine = pa.array([2, 0])
    write_parquet(tmp_path / "x.parquet", [jpeg(1), jpeg(2)], None, names=names, coarse_label=coarse, fine_label=fine)
    dataset = open_dataset(f"parquet:{tmp_path}/x.parquet")
    assert (dataset.classes, dataset.labels.tolist()) == (("a", "b", "c"), [2, 0])
    assert {name: values.tolist() for name, values in dataset.factors.items()} == {"coarse_label": ["y", ""]}


def test_a_column_of_bytes_and_no_labels(tmp_path: Path) -> None:
    table = pa.table({"img": pa.array([jpeg(1), jpeg(2)], pa.binary()), "id": [1, 2]})
    pq.write_table(table, tmp_path / "x.parquet")
    dataset = open_dataset(f"parquet:{tmp_path}/x.parquet")
    assert (dataset.labels.tolist(), dataset.classes) == ([-1, -1], ())
    assert dataset.read(1) == jpeg(2)


@pytest.mark.parametrize("where", ["dataset_info.json", "classes.txt"])
def test_class_names_from_beside_the_files(tmp_path: Path, where: str) -> None:
    write_parquet(tmp_path / "data" / "x.parquet", [jpeg(1), jpeg(2)], [2, None])
    info = {"features": {"image": {"_type": "Image"}, "label": {"names": list(NAMES), "_type": "ClassLabel"}}}
    (tmp_path / where).write_text(json.dumps(info) if where.endswith("json") else "\n".join(NAMES))
    dataset = open_dataset(f"parquet:{tmp_path}")
    assert (dataset.classes, dataset.labels.tolist()) == (NAMES, [2, -1])


@pytest.mark.parametrize("suffix", ["", ".0"])
def test_numbers_that_are_text_are_the_labels(tmp_path: Path, suffix: str) -> None:
    for split, numbers in (("train", [10, 2, 0, -1]), ("test", [9, 3])):
        words = pa.array([f"{number}{suffix}" for number in numbers])
        write_parquet(tmp_path / f"{split}-00000-of-00001.parquet", [jpeg(k + 1) for k in numbers], None, label=words)
    train, test = (open_dataset(f"parquet:{tmp_path}", split=split) for split in ("train", "test"))
    assert (train.labels.tolist(), test.labels.tolist()) == ([10, 2, 0, -1], [9, 3]), "not the order of their texts"
    assert train.classes == test.classes == tuple(map(str, range(11)))
    (tmp_path / "classes.txt").write_text("\n".join(f"c{k}" for k in range(11)))
    named = open_dataset(f"parquet:{tmp_path}", split="test")
    assert [named.classes[label] for label in named.labels] == ["c9", "c3"]


def test_what_a_number_in_a_text_means_is_not_guessed(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", [jpeg(1), jpeg(2)], None, label=pa.array(["1", "2"]))
    (tmp_path / "classes.txt").write_text("1\n2\n3\n")
    with pytest.raises(IntegrityError, match="'1' is the number of one class and the name of another"):
        open_dataset(f"parquet:{tmp_path}")
    (tmp_path / "classes.txt").write_text("0\n1\n2\n")
    assert open_dataset(f"parquet:{tmp_path}").labels.tolist() == [1, 2]
    (tmp_path / "classes.txt").unlink()
    write_parquet(tmp_path / "x.parquet", [jpeg(1), jpeg(2)], None, label=pa.array(["1", "nan"]))
    with pytest.raises(IntegrityError, match="holds numbers and 'nan'"):
        open_dataset(f"parquet:{tmp_path}")


def no_parquet(path: Path) -> None:
    path.write_bytes(b"<html>404</html>")


def cut_short(path: Path) -> None:
    write_parquet(path, [jpeg(1)], [0])
    path.write_bytes(path.read_bytes()[:-20])


def no_images(path: Path) -> None:
    pq.write_table(pa.table({"image": ["a.jpg"], "label": [0]}), path)


def list_labels(path: Path) -> None:
    write_parquet(path, [jpeg(1)], None, label=pa.array([[1, 2]]))


def labels_out_of_range(path: Path) -> None:
    write_parquet(path, [jpeg(1)], [3], names={"label": NAMES})


def negative_labels(path: Path) -> None:
    write_parquet(path, [jpeg(1)], [-2])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (no_parquet, "no Parquet file"),
        (cut_short, "no Parquet file"),
        (no_images, "no column of images"),
        (list_labels, "expected integers"),
        (labels_out_of_range, "no class"),
        (negative_labels, "no class"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path: Path, write: Callable[[Path], None], message: str) -> None:
    write(tmp_path / "x.parquet")
    with pytest.raises(IntegrityError, match=message) as caught:
        open_dataset(f"parquet:{tmp_path}/x.parquet")
    assert "x.parquet" in str(caught.value)


def test_files_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [jpeg(1)], [0], names={"label": NAMES})
    write_parquet(tmp_path / "b.parquet", [jpeg(1)], [0], names={"label": ("x", "y")})
    with pytest.raises(IntegrityError, match="different columns or classes"):
        open_dataset(f"parquet:{tmp_path}")


def test_refusals(tmp_path: Path) -> None:
    write_hub(tmp_path)
    with pytest.raises(UsageError, match="parquet needs a path"):
        open_dataset("parquet:")
    with pytest.raises(UnknownNameError, match=r"split of .* 'tests'") as caught:
        open_dataset(f"parquet:{tmp_path}", split="tests")
    assert caught.value.did_you_mean == ("test",)
    with pytest.raises(DataUnavailableError, match="a shard is not there"):
        open_dataset(f"parquet:{tmp_path}/absent.parquet")
    write_parquet(tmp_path / "empty.parquet", [], [])
    with pytest.raises(DataUnavailableError, match="hold no image"):
        open_dataset(f"parquet:{tmp_path}/empty.parquet")
    write_parquet(tmp_path / "path.parquet", [None], [0])
    with pytest.raises(DataUnavailableError, match="the rows hold no image"):
        open_dataset(f"parquet:{tmp_path}/path.parquet").read(0)


def test_a_huge_row_group_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvbench.storage.datasets.formats.parquet_files.MAX_GROUP", 1000)
    write_parquet(tmp_path / "x.parquet", [jpeg(1), jpeg(2)], [0, 1])
    with pytest.raises(IntegrityError, match="a row group has more than 1,000 bytes"):
        open_dataset(f"parquet:{tmp_path}/x.parquet")


def test_a_file_that_changes_after_opening_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", [jpeg(1)], [0])
    dataset = open_dataset(f"parquet:{tmp_path}/x.parquet")
    write_parquet(tmp_path / "x.parquet", [jpeg(2), jpeg(3)], [0, 1])
    with pytest.raises(IntegrityError, match="changed after"):
        dataset.read(0)
