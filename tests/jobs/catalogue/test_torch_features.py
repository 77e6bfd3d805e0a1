"""Stored layers as a torch data set: every sample once an epoch, as it is stored, in an order of its own."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import cvbench
from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.catalogue.torch_features import AHEAD
from cvbench.jobs.extraction.extract import extract
from cvbench.storage.features import FeatureLayer, FeatureStore, GroupKey
from tests.jobs.maps_store import LOOP, maps_store, options
from tests.waiting import looks

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


def test_what_is_read_ahead_is_not_written_over_what_is_handed_out(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece is looked at once all have been read that may be read beside it."""
    layer = FeatureStore.open(store).layer(GroupKey(DATASET, "all", BACKBONE, "maps"), "blocks.5")
    stored = layer.read(0, 32)
    ended: list[int] = []
    read = FeatureLayer.read

    def counted(self: FeatureLayer, start: int, stop: int, out: Any = None) -> Any:
        found = read(self, start, stop, out)
        ended.append(start)
        return found

    monkeypatch.setattr(FeatureLayer, "read", counted)
    monkeypatch.setattr(FeatureLayer, "pieces", lambda self: iter([(at, at + 4) for at in range(0, 32, 4)]))
    data = made(store)
    for at, piece in enumerate(data._read_ahead(range(8))):
        for _ in looks(30):
            if len(ended) == min(at + 1 + AHEAD, 8):
                break
        np.testing.assert_array_equal(piece.values[0], stored[piece.rows])
    assert sorted(ended) == list(range(0, 32, 4))


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


Batches = list[tuple[int, ...]]


def rows_of(loader: Any) -> Batches:
    return [tuple(batch["row"].tolist()) for batch in loader]


@pytest.fixture(scope="module")
def epochs(store: str) -> list[Batches]:
    """Batches of 4 of the first epochs, in one process."""
    data = made(store, batch_size=4)
    return [rows_of(data) for _ in range(4)]


def test_each_pass_is_the_next_epoch(store: str, epochs: list[Batches]) -> None:
    assert len({tuple(batches) for batches in epochs}) == 4
    data = made(store, batch_size=4)
    for epoch in (2, 0, 3):
        data.set_epoch(epoch)
        assert rows_of(data) == epochs[epoch]
    data.set_epoch(1)
    assert [rows_of(data), rows_of(data)] == epochs[1:3], "as from 0 on"
    copied = pickle.loads(pickle.dumps(data))  # noqa: S301 - our own bytes
    assert rows_of(copied) == rows_of(data) == epochs[3], "a copy goes on by itself"


@pytest.mark.parametrize(("workers", "persistent", "how"), [(2, True, "fork"), (3, False, "fork"), (2, True, "spawn")])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning", "ignore:This DataLoader will create:UserWarning")
def test_workers_make_the_batches_of_one_process(
    store: str, epochs: list[Batches], workers: int, persistent: bool, how: str
) -> None:
    """In turns, of the same epoch, whoever begins first; and another order is chosen while they live."""
    data = made(store, batch_size=4)
    loader: Any = DataLoader(
        data,
        batch_size=None,
        num_workers=workers,
        persistent_workers=persistent,
        multiprocessing_context=how,
    )
    found = [rows_of(loader) for _ in range(3)]
    assert [sorted(batches) for batches in found] == [sorted(batches) for batches in epochs[:3]]
    assert len(loader) == len(data) == len(found[0]) == 8
    data.set_epoch(1)
    assert rows_of(loader) == found[1]
    for start in (5, 6):
        data.set_epoch(2, start)
        assert rows_of(loader) == found[2][start:], "the rest of an epoch"
    assert sorted(rows_of(loader)) == sorted(epochs[3]), "and then the next"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_passes_under_way_at_once_are_epochs_of_their_own(store: str, epochs: list[Batches]) -> None:
    loader: Any = DataLoader(made(store, batch_size=4), batch_size=None, num_workers=2, multiprocessing_context="fork")
    pairs = list(zip(iter(loader), iter(loader), strict=True))
    found = [sorted(tuple(side["row"].tolist()) for side in sides) for sides in zip(*pairs, strict=True)]
    assert sorted(found) == sorted(sorted(batches) for batches in epochs[:2])


def test_the_length_is_that_of_the_pass(store: str) -> None:
    for size in (None, 1, 4, 31, 40):
        for drop_last in (False, True):
            data = made(store, batch_size=size, drop_last=drop_last)
            assert len(data) == len(list(data)), (size, drop_last)
    assert len(made(store)) == 31


def test_a_pass_goes_on_where_it_was(store: str, epochs: list[Batches]) -> None:
    for start in range(9):
        data = made(store, batch_size=4)
        data.set_epoch(1, start)
        assert rows_of(data) == epochs[1][start:]
        assert rows_of(data) == epochs[2]
    single = made(store)
    single.set_epoch(3, 7)
    later = [item["row"] for item in single]
    single.set_epoch(3)
    assert [item["row"] for item in single][7:] == later
    for epoch, start in ((-1, 0), (0, -1), (0, 9)):
        with pytest.raises(UsageError, match="there is no item"):
            made(store, batch_size=4).set_epoch(epoch, start)


@pytest.mark.parametrize("taken", [0, 3, 8])
def test_a_state_is_that_of_a_pass(store: str, epochs: list[Batches], taken: int) -> None:
    data = made(store, batch_size=4)
    assert rows_of(data) == epochs[0]
    passing = iter(data)
    assert rows_of(next(passing) for _ in range(taken)) == epochs[1][:taken]
    state = data.state_dict()
    other = made(store, batch_size=4)
    other.load_state_dict(state)
    assert rows_of(other) == epochs[1][taken:]
    assert rows_of(other) == epochs[2]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_what_cannot_be_resumed_is_refused(store: str) -> None:
    """By a worker: torch says its error again, as a UsageError of the same text."""
    data = made(store)
    data.set_epoch(0, 5)
    loader: Any = DataLoader(data, batch_size=4, num_workers=2, multiprocessing_context="fork")
    with pytest.raises(Exception, match="cannot be told with several workers"):
        next(iter(loader))
    batched = made(store, batch_size=4)
    batched.load_state_dict({"epoch": 0, "given": 2, "worker": 0, "workers": 1})
    loader = DataLoader(batched, batch_size=None, num_workers=2, multiprocessing_context="fork")
    with pytest.raises(Exception, match=r"not of \d of 2"):
        next(iter(loader))


def test_single_samples_are_shared_out(store: str) -> None:
    data = made(store)
    loader: Any = DataLoader(data, batch_size=4, num_workers=2, multiprocessing_context="fork")
    seen = [row for batch in loader for row in batch["row"].tolist()]
    assert sorted(seen) == sorted(item["row"] for item in data)


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
