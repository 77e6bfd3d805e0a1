"""A worker on a node that has another disk than the driver: named, and nothing is made there."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cvbench.errors import ClusterError
from cvbench.jobs.extraction.extract import extract, prepare
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.seen import check_seen, seen_store
from cvbench.storage.features import FeatureStore
from tests.jobs.extraction.test_extract import options
from tests.jobs.images import write_folder

HERE = Cluster("none")


def test_an_extraction(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 16)
    job = prepare(options(tmp_path), HERE)
    there = tmp_path / "other" / "store.zarr"
    with pytest.raises(ClusterError, match="this node does not see the driver's store") as caught:
        replace(job.recipe, store=str(there)).build()
    assert str(there) in str(caught.value.where)
    assert caught.value.why == "there is no store"
    assert "s3://" in str(caught.value.fix)
    assert not there.parent.exists()
    FeatureStore.open(there, mode="a")  # as an earlier run of something else has left one
    with pytest.raises(ClusterError, match="does not see") as caught:
        replace(job.recipe, store=str(there)).build()
    assert caught.value.why == "the store there has no folder-pets/all"
    job.recipe.build()


def test_an_analysis(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 16)
    extract(options(tmp_path), HERE)
    store = FeatureStore.open(tmp_path / "store.zarr")
    check_seen(store, "folder-pets", "all")
    assert seen_store(store.url, "folder-pets", "all").mode == "r+"
    shutil.rmtree(tmp_path / "store.zarr")
    with pytest.raises(ClusterError, match="does not see"):
        seen_store(store.url, "folder-pets", "all")
