"""Shards in an object store (moto's S3 on the loopback interface): found by pattern, read by ranges."""

from __future__ import annotations

import pickle
from pathlib import Path

import boto3
import numpy as np
import pytest

from cvbench.errors import DataUnavailableError, IntegrityError, ResourceError, UsageError
from cvbench.storage.datasets import Dataset, locate, open_dataset
from tests.storage.datasets.dataset_suite import jpeg
from tests.storage.datasets.shard_trees import NAMES, sample, write_hub, write_shards, write_tar


@pytest.fixture
def bucket(empty_bucket: str, tmp_path: Path) -> str:
    write_shards(tmp_path / "birds")
    write_hub(tmp_path / "beans")
    for path in tmp_path.rglob("*"):
        if path.is_file():
            upload(empty_bucket, tmp_path, path)
    return empty_bucket


def upload(bucket: str, root: Path, path: Path) -> None:
    boto3.client("s3").put_object(Bucket=bucket, Key=str(path.relative_to(root)), Body=path.read_bytes())


def same(remote: Dataset, local: Dataset) -> None:
    assert list(remote.ids) == list(local.ids)
    assert remote.labels.tolist() == local.labels.tolist()
    assert remote.classes == local.classes == NAMES
    copy: Dataset = pickle.loads(pickle.dumps(remote))  # noqa: S301
    for index in np.random.default_rng(0).permutation(len(local)):
        assert copy.read(int(index)) == local.read(int(index))


@pytest.mark.parametrize("pattern", ["birds", "birds/*.tar", "birds/val-{000000..000001}.tar", "bir*/val-00000?.tar"])
def test_tar_shards(bucket: str, tmp_path: Path, pattern: str) -> None:
    if pattern.startswith("bir*"):
        (tmp_path / "birds").rename(tmp_path / "birds2")
        local = open_dataset(f"wds:{tmp_path}/birds2")
    else:
        local = open_dataset(f"wds:{tmp_path}/birds")
    remote = open_dataset(f"wds:s3://{bucket}/{pattern}", data_root="/ignored")
    same(remote, local)
    assert remote.spec == f"wds:s3://{bucket}/{pattern}"
    assert locate(remote.spec) is None


@pytest.mark.parametrize("split", ["train", "test"])
def test_parquet_files(bucket: str, tmp_path: Path, split: str) -> None:
    remote = open_dataset(f"parquet:s3://{bucket}/beans/data", split=split)
    same(remote, open_dataset(f"parquet:{tmp_path}/beans", split=split))


def test_a_missing_object_or_bucket(bucket: str) -> None:
    with pytest.raises(DataUnavailableError, match="a shard is not there"):
        open_dataset(f"wds:s3://{bucket}/birds/val-{{000000..000002}}.tar")
    with pytest.raises(DataUnavailableError, match="no shard matches"):
        open_dataset(f"wds:s3://{bucket}/birds/test-*.tar")
    with pytest.raises((DataUnavailableError, ResourceError)):
        open_dataset("wds:s3://no-such-bucket-here/birds/*.tar")


def test_an_object_that_changes_or_goes_away(bucket: str, tmp_path: Path) -> None:
    dataset = open_dataset(f"wds:s3://{bucket}/birds")
    write_tar(tmp_path / "birds" / "val-000000.tar", [("pad", bytes(40_000)), *sample("0000", 3, 1)])
    upload(bucket, tmp_path, tmp_path / "birds" / "val-000000.tar")
    with pytest.raises(IntegrityError, match="changed after"):
        dataset.read(0)
    boto3.client("s3").delete_object(Bucket=bucket, Key="birds/val-000000.tar")
    with pytest.raises(DataUnavailableError, match="a shard is gone"):
        dataset.read(0)


def test_folders_of_splits(bucket: str, tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_shards(tmp_path / "parted" / split)
    for path in (tmp_path / "parted").rglob("*"):
        if path.is_file():
            upload(bucket, tmp_path, path)
    for split in ("train", "test"):
        same(
            open_dataset(f"wds:s3://{bucket}/parted", split=split),
            open_dataset(f"wds:{tmp_path}/parted", split=split),
        )


def test_a_table_of_objects(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "list").mkdir()
    for k in range(4):
        (tmp_path / "list" / f"{k}.jpg").write_bytes(jpeg(k))
        upload(bucket, tmp_path, tmp_path / "list" / f"{k}.jpg")
    names = ("0.jpg", "1.jpg", f"s3://{bucket}/list/2.jpg", "3.jpg")
    (tmp_path / "list/t.csv").write_text("path,label\n" + "".join(f"{name},{k % 2}\n" for k, name in enumerate(names)))
    (tmp_path / "list/gone.csv").write_text("path\n0.jpg\n9.jpg\n")
    for name in ("t.csv", "gone.csv"):
        upload(bucket, tmp_path, tmp_path / "list" / name)
    for place in (f"s3://{bucket}/list", f"{tmp_path}/list"):
        assert len(open_dataset(f"table:{place}/t.csv")) == 4
        within = "@within=." if "://" in place else f"@within=s3://{bucket}"
        dataset = open_dataset(f"table:{place}/t.csv{within}")
        assert [pickle.loads(pickle.dumps(dataset)).read(k) for k in range(4)] == [jpeg(k) for k in range(4)]  # noqa: S301
        assert dataset.labels.tolist() == [0, 1, 0, 1]
        assert dataset.spec == f"table:{place}/t.csv{within}"
        with pytest.raises(DataUnavailableError, match=r"1 of 2 listed images are not there") as caught:
            open_dataset(f"table:{place}/gone.csv")
        assert f"{place}/9.jpg" in str(caught.value)
    for outside in ("list", "lis", "list/2.jpg/../../../other"):
        name = f"s3://{bucket}-of-others/2.jpg" if outside == "list" else f"s3://{bucket}/{outside}/2.jpg"
        (tmp_path / "list/away.csv").write_text(f"path\n{name}\n")
        with pytest.raises(UsageError, match="not below its folder"):
            open_dataset(f"table:{tmp_path}/list/away.csv@within=s3://{bucket}/list")
    remote = open_dataset(f"table:s3://{bucket}/list/t.csv")
    boto3.client("s3").put_object(Bucket=bucket, Key="list/1.jpg", Body=b"other")
    with pytest.raises(IntegrityError, match="the object changed"):
        remote.read(1)
    with pytest.raises(DataUnavailableError, match="the table is not there"):
        open_dataset(f"table:s3://{bucket}/list/none.csv")
