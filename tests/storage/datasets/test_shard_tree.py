"""Shards in folders of splits, and Parquet whose columns are named or are factors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cvbench.errors import DataUnavailableError, IntegrityError, UnknownNameError
from cvbench.storage.datasets import every_split, key_of_spec, open_dataset
from tests.storage.datasets.dataset_suite import jpeg
from tests.storage.datasets.shard_trees import NAMES, sample, write_parquet, write_shards, write_tar


def clip_benchmark(root: Path) -> None:
    """A WebDataset folder as CLIP benchmark has it."""
    for split, labels in {"train": [0, 1, 2, 0], "test": [2, 1]}.items():
        for number in range(2):
            files = [file for k, label in enumerate(labels) for file in sample(f"s{k:06d}", 10 * number + k, label)]
            write_tar(root / split / f"{number}.tar", files)
        (root / split / "nshards.txt").write_text("2")
    (root / "classnames.txt").write_text("\n".join(NAMES))


@pytest.mark.parametrize("above", ["", "default"])
def test_tar_files_in_folders_of_splits(tmp_path: Path, above: str) -> None:
    clip_benchmark(tmp_path / "birds" / above)
    spec = f"wds:{tmp_path}/birds"
    assert every_split(spec) == ("test", "train")
    test, train = open_dataset(spec), open_dataset(spec, split="train")
    assert (test.split, len(test), len(train)) == ("test", 4, 8)
    assert test.classes == NAMES
    assert test.labels.tolist() == [2, 1, 2, 1]
    assert train.name == test.name == key_of_spec(spec) == "wds-birds"
    alone = open_dataset(f"wds:{tmp_path}/birds/{above}/test".replace("//", "/"))
    assert (alone.split, list(alone.ids)) == ("all", list(test.ids))
    with pytest.raises(UnknownNameError, match="unknown split") as caught:
        open_dataset(spec, split="dev")
    assert caught.value.fix == "splits: test, train"


def test_missing_shards_of_a_split_are_found(tmp_path: Path) -> None:
    clip_benchmark(tmp_path / "birds")
    (tmp_path / "birds/test/1.tar").unlink()
    with pytest.raises(DataUnavailableError, match="not there"):
        open_dataset(f"wds:{tmp_path}/birds")


def test_parquet_as_the_hub_converts_it(tmp_path: Path) -> None:
    for split, labels in {"train": [0, 1, 2], "test": [2, 1]}.items():
        path = tmp_path / "beans/default" / split / "0000.parquet"
        write_parquet(path, [jpeg(k) for k in labels], labels, names={"label": NAMES})
    spec = f"parquet:{tmp_path}/beans"
    assert set(every_split(spec)) == {"train", "test"}
    assert open_dataset(spec).labels.tolist() == [2, 1]
    assert open_dataset(spec, split="train").labels.tolist() == [0, 1, 2]


def test_several_configurations_are_named(tmp_path: Path) -> None:
    for config in ("small", "large"):
        write_parquet(tmp_path / "beans" / config / "train" / "0.parquet", [jpeg(0)], [0])
    with pytest.raises(DataUnavailableError, match="several configurations: large, small"):
        open_dataset(f"parquet:{tmp_path}/beans")
    assert open_dataset(f"parquet:{tmp_path}/beans/small").split == "train"


@pytest.mark.parametrize(("kind", "suffix"), [("wds", "tar"), ("parquet", "parquet")])
def test_what_a_folder_without_shards_holds_is_said(tmp_path: Path, kind: str, suffix: str) -> None:
    (tmp_path / "birds/notes").mkdir(parents=True)
    (tmp_path / "birds/list.txt").write_text("")
    (tmp_path / "other").mkdir()
    with pytest.raises(DataUnavailableError, match="no shard matches") as caught:
        open_dataset(f"{kind}:{tmp_path}/birds")
    assert caught.value.why == "the folder holds: list.txt, notes/"
    with pytest.raises(DataUnavailableError) as caught:
        open_dataset(f"{kind}:{tmp_path}/birds/*.{suffix}")
    assert caught.value.why == "the folder holds: list.txt, notes/"
    with pytest.raises(DataUnavailableError) as caught:
        open_dataset(f"{kind}:{tmp_path}/brids")
    assert "holds: birds/, other/" in str(caught.value)


def rows(path: Path, **columns: object) -> None:
    images = [{"bytes": jpeg(k), "path": f"{k}.jpg"} for k in range(3)]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"photo": images, **columns}), path)


def test_columns_of_parquet_are_named(tmp_path: Path) -> None:
    rows(
        tmp_path / "birds/0.parquet",
        kind=["b", "a", "b"],
        label=[0, 0, 1],
        size=[1.5, None, 3.0],
        on=[True, False, True],
    )
    spec = f"parquet:{tmp_path}/birds@image=photo,label=kind"
    dataset = open_dataset(spec)
    assert (dataset.classes, dataset.labels.tolist()) == (("a", "b"), [1, 0, 1])
    assert dataset.spec == spec
    assert dataset.name == key_of_spec(spec) == "parquet-birds"
    assert dataset.factors["size"].tolist()[::2] == [1.5, 3.0]
    assert np.isnan(dataset.factors["size"][1])
    assert dataset.factors["on"].tolist() == [1.0, 0.0, 1.0]
    assert dataset.read(2) == jpeg(2)
    assert [entry.names for entry in dataset.left_out if entry.kind == "column"] == [("label",)]
    with pytest.raises(IntegrityError, match="the column kind holds no images"):
        open_dataset(f"parquet:{tmp_path}/birds@image=kind")
    with pytest.raises(UnknownNameError, match="unknown role"):
        open_dataset(f"parquet:{tmp_path}/birds@images=photo")
    without = open_dataset(f"parquet:{tmp_path}/birds@image=photo,label=")
    assert without.labels.tolist() == [-1, -1, -1]


def test_labels_that_pandas_wrote_as_floats(tmp_path: Path) -> None:
    rows(tmp_path / "a.parquet", label=[1.0, None, 0.0])
    assert open_dataset(f"parquet:{tmp_path}/a.parquet@image=photo").labels.tolist() == [1, -1, 0]
    rows(tmp_path / "b.parquet", label=[1.0, 0.5, 0.0])
    with pytest.raises(IntegrityError, match=r"no classes, such as 0\.5"):
        open_dataset(f"parquet:{tmp_path}/b.parquet@image=photo")


def test_plain_columns_are_factors_and_no_part_of_the_digest(tmp_path: Path) -> None:
    images = [jpeg(k) for k in range(4)]
    write_parquet(tmp_path / "a/x.parquet", images, [0, 1, 0, 1], names={"label": NAMES})
    write_parquet(
        tmp_path / "b/x.parquet",
        images,
        [0, 1, 0, 1],
        names={"label": NAMES},
        sky=["a", "b", "", "d"],
        text=["x" * 2_000] * 4,
    )
    bare, full = open_dataset(f"parquet:{tmp_path}/a"), open_dataset(f"parquet:{tmp_path}/b")
    assert full.factors["sky"].tolist() == ["a", "b", "", "d"]
    assert [entry.names for entry in full.left_out if entry.kind == "column"] == [("text",)]
    assert bare.factors == {}
    names = [dataset.listed_factors for dataset in (bare, full)]  # type: ignore[attr-defined]
    assert names == [{}, {}], "stores that were made before these columns were read stay those of the data set"


def test_shards_of_val_and_train_share_classes(tmp_path: Path) -> None:
    write_shards(tmp_path / "birds/val")
    write_shards(tmp_path / "birds/train", ((0, 1), (2,)))
    assert every_split(f"wds:{tmp_path}/birds") == ("val", "train")
    assert open_dataset(f"wds:{tmp_path}/birds", split="validation").split == "val"
    write_shards(tmp_path / "birds/validation")
    with pytest.raises(DataUnavailableError, match="two folders are the split val"):
        open_dataset(f"wds:{tmp_path}/birds")
