"""Stored layers as a torch data set: every sample once an epoch, as it is stored, in an order of its own."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import cvbench
from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.extraction.extract import extract
from cvbench.storage.features import FeatureStore, GroupKey
from tests.jobs.maps_store import LOOP, maps_store, options

DATASET, BACKBONE = "folder-pets", "test_vit@64"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """32 images, one unreadable: maps in units of 8, pooled features of the first 16."""
    folder = tmp_path_factory.mktemp("torch")
    path = maps_store(folder)
    from dataclasses import replace

    extract(replace(options(folder, ("head",), 64), limit=16), LOOP)
    return str(path)


def made(store: str, layers: Any = "blocks.5", **changes: Any) -> Any:
    return cvbench.torch_dataset(store, layers, backbone=BACKBONE, **{"view": "maps", **changes})


def test_every_sample_comes_once_as_it_is_stored(store: str) -> None:
    layer = FeatureStore.open(store).layer(GroupKey(DATASET, "all", BACKBONE, "maps"), "blocks.5")
    labels = FeatureStore.open(store).samples(DATASET, "all")["label"]
    data = made(store)
    items = list(data)
    assert len(items) == data.samples == 31
    assert sorted(item["row"] for item in items) == layer.rows.tolist()
    for item in items:
        assert item["features"].dtype is torch.float16
        np.testing.assert_array_equal(item["features"].numpy(), layer.read(item["row"], item["row"] + 1)[0])
        assert item["label"] == labels[item["row"]]


@pytest.mark.parametrize("size", [1, 5, 8, 12, 31, 100])
def test_batches_are_full_but_the_last(store: str, size: int) -> None:
    batches = list(made(store, batch_size=size))
    lengths = [len(batch["row"]) for batch in batches]
    assert lengths == [size] * (31 // size) + ([31 % size] if 31 % size else [])
    rows = torch.cat([batch["row"] for batch in batches])
    assert sorted(rows.tolist()) == sorted({*rows.tolist()})
    single = {item["row"]: item["features"] for item in made(store)}
    for batch in batches:
        for row, features in zip(batch["row"].tolist(), batch["features"], strict=True):
            assert torch.equal(features, single[row])
    whole = list(made(store, batch_size=size, drop_last=True))
    assert [len(batch["row"]) for batch in whole] == [size] * (31 // size)


def test_epochs_have_orders_of_their_own_that_come_again(store: str) -> None:
    def rows(data: Any, epoch: int) -> list[int]:
        data.set_epoch(epoch)
        return [item["row"] for item in data]

    data = made(store)
    first, second = rows(data, 0), rows(data, 1)
    assert first != second != sorted(second)
    assert rows(made(store), 1) == second
    assert rows(made(store, seed=1), 0) != first
    assert rows(made(store, shuffle=False), 0) == sorted(first)


def test_several_layers_are_of_the_same_samples(store: str) -> None:
    whole = made(store, "blocks.0")
    both = list(made(store, ["blocks.0", "blocks.5"], batch_size=7))
    assert {name for batch in both for name in batch["features"]} == {"blocks.0", "blocks.5"}
    single = {item["row"]: item["features"] for item in whole}
    for batch in both:
        for row, features in zip(batch["row"].tolist(), batch["features"]["blocks.0"], strict=True):
            assert torch.equal(features, single[row])


def test_a_part_of_a_split_is_what_is_there(store: str) -> None:
    data = made(store, "head", view="head", batch_size=4)
    rows = torch.cat([batch["row"] for batch in data]).tolist()
    assert data.samples == len(rows) < 31
    assert max(rows) < 16


def test_workers_share_the_chunks_out(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, seen = pickle.loads(pickle.dumps(made(store))), []  # noqa: S301 - our own bytes
    for number in range(3):
        info = SimpleNamespace(id=number, num_workers=3)
        monkeypatch.setattr("cvbench.jobs.catalogue.torch_features.get_worker_info", lambda info=info: info)
        seen += [item["row"] for item in data]
    assert len(seen) == len({*seen}) == 31


def test_it_is_what_a_data_loader_takes(store: str) -> None:
    batches = list(DataLoader(made(store, batch_size=10), batch_size=None))
    assert [len(batch["label"]) for batch in batches] == [10, 10, 10, 1]
    collated = list(DataLoader(made(store, ["blocks.0", "blocks.5"]), batch_size=16))
    assert collated[0]["features"]["blocks.5"].shape[0] == len(collated[0]["label"]) == 16


def test_what_is_not_there_is_named(store: str) -> None:
    with pytest.raises(UnknownNameError, match=r"blocks\.9"):
        made(store, "blocks.9")
    for layers in ([], ["blocks.0", "blocks.0"]):
        with pytest.raises(UsageError, match="each once"):
            made(store, layers)
    with pytest.raises(UsageError, match="batch_size is 0"):
        made(store, batch_size=0)
