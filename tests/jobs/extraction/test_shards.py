"""Features of tar shards and Parquet files are those of the same images in a folder, in a loop and on Ray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.jobs.catalogue.datasets import verify
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.running.cluster import Cluster
from cvbench.storage.datasets import open_dataset
from cvbench.storage.features import FeatureStore
from tests.jobs.images import write_folder
from tests.jobs.travel import travelling
from tests.storage.datasets.shard_trees import write_parquet, write_tar

COUNT = 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The same images in the same order as a folder, as three tar shards and as two Parquet files."""
    write_folder(tmp_path / "birds", COUNT)
    folder = open_dataset(f"folder:{tmp_path}/birds")
    images = [bytes(folder.read(i)) for i in range(COUNT)]
    labels = folder.labels.tolist()
    for shard in range(3):
        files = [
            (f"{k:03d}.{kind}", content)
            for k in range(7 * shard, min(7 * shard + 7, COUNT))
            for kind, content in (("png", images[k]), ("cls", str(labels[k]).encode()))
        ]
        write_tar(tmp_path / "tars" / f"birds-{shard:03d}.tar", files)
    for part, rows in enumerate((slice(0, 12), slice(12, COUNT))):
        write_parquet(
            tmp_path / "rows" / f"test-{part:05d}-of-00002.parquet", images[rows], labels[rows], rows_per_group=5
        )
    return tmp_path


def features(root: Path, dataset: str, cluster: Cluster) -> tuple[list[str], NDArray[np.float32]]:
    """The data set's key and (COUNT, channels) float32 of the last block."""
    options = ExtractOptions(
        dataset=dataset,
        data_root=str(root),
        backbones=("test_vit",),
        store=str(root / "store.zarr"),
        weights=("random",),
        batch_size=4,
        unit=8,
        dtype="float32",
        image_size=64,
    )
    assert extract(options, cluster).computed == COUNT
    store = FeatureStore.open(root / "store.zarr")
    keys = sorted({group.dataset for group in store.groups()})
    group = next(group for group in store.groups() if group.view == "pooled" and group.dataset == keys[-1])
    return keys, store.layer(group, "blocks.1").numpy()


SPECS = ("folder:birds", "wds:tars/birds-{000..002}.tar", "parquet:rows")


def test_in_a_loop(root: Path) -> None:
    found = {}
    for spec in SPECS:
        found[spec] = features(root, spec, Cluster(address="none"))[1]
        (root / "store.zarr").rename(root / spec.split(":")[0])
    for spec in SPECS[1:]:
        np.testing.assert_array_equal(found[spec], found["folder:birds"])


def test_where_they_have_travelled(root: Path) -> None:
    with travelling():
        same_features(root, Cluster(address="none"))


@pytest.mark.ray
def test_on_ray(ray_here: None, root: Path) -> None:
    same_features(root, Cluster(address="local", actors=1))


def same_features(root: Path, cluster: Cluster) -> None:
    """Of a Parquet file, read there, and of a tar, read here."""
    keys, values = features(root, "parquet:rows", cluster)
    assert keys == ["parquet-rows"]
    (root / "store.zarr").rename(root / "first")
    np.testing.assert_array_equal(values, features(root, "wds:tars", Cluster(address="none"))[1])


@pytest.mark.parametrize("spec", SPECS)
def test_verify_reads_shards_too(root: Path, spec: str) -> None:
    report = verify(spec, root, deep=True)
    assert report.ok
    assert [(row.images, row.decoded) for row in report.splits] == [(COUNT, COUNT)]
    assert report.splits[0].bytes > 10_000


def test_verify_finds_a_damaged_image_in_a_shard(root: Path) -> None:
    path = root / "tars" / "birds-000.tar"
    data = bytearray(path.read_bytes())
    at = data.index(b"\x89PNG")
    data[at : at + 4] = b"html"
    path.write_bytes(data)
    report = verify("wds:tars", root, deep=True)
    assert [(problem.kind, problem.where) for problem in report.problems] == [("not-an-image", "birds-000/000")]
