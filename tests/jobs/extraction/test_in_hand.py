"""What the loss of an actor costs: the units in its hands, two; how many of them are computed, and when."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvbench.jobs.extraction.extract import prepare
from cvbench.jobs.extraction.worker import ExtractWorker
from cvbench.jobs.running.cluster import Cluster
from cvbench.storage.features import FeatureStore
from tests.jobs.extraction.test_extract import options
from tests.jobs.images import write_folder

HERE = Cluster("none")


def test_while_one_unit_is_committed_the_next_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So two forward passes may be lost, one whole and one begun, never a third: no two compute at a time."""
    write_folder(tmp_path / "pets", 16)
    job = prepare(replace(options(tmp_path), backbones=("test_vit",), unit=8), HERE)
    worker = job.recipe.build()
    assert isinstance(worker, ExtractWorker)
    assert Cluster().in_flight == 2
    computing, begun, lock = 0, list[int](), threading.Lock()
    second, forward, commit = threading.Event(), worker.forward, worker._commit

    def watched(batch: Any, task: Any, live: Any) -> Any:
        nonlocal computing
        with lock:
            computing += 1
            begun.append(task.unit.index)
            assert computing == 1, "two units are on the device"
        if len(begun) == 2:
            second.set()
        found = forward(batch, task, live)
        with lock:
            computing -= 1
        return found

    def held(writers: Any, bad: Any) -> Any:
        assert second.wait(120), "the next unit is not begun before the first is committed"
        group = next(iter(writers))
        with lock:
            if not committed:  # the first to come here
                committed.append(len(FeatureStore.open(tmp_path / "store.zarr").commits(group)))
        return commit(writers, bad)

    committed: list[int] = []
    monkeypatch.setattr(worker, "forward", watched)
    monkeypatch.setattr(worker, "_commit", held)
    with ThreadPoolExecutor(2) as actor:
        assert [receipt.samples for receipt in actor.map(worker.run, job.tasks())] == [8, 8]
    assert sorted(begun) == [0, 1]
    assert committed == [0], "were the actor lost now, both would be computed again"


def test_a_unit_that_is_handed_out_again_after_its_commit_is_computed_again(tmp_path: Path) -> None:
    """Its receipt was lost with its actor. The bytes are those that are there; the forward pass is not saved."""
    write_folder(tmp_path / "pets", 8)
    job = prepare(replace(options(tmp_path), backbones=("test_vit",), unit=8), HERE)
    worker = job.recipe.build()
    passes: list[int] = []
    forward = worker.forward

    def counted(batch: Any, task: Any, live: Any) -> Any:
        passes.append(task.unit.index)
        return forward(batch, task, live)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "forward", counted)
        (task,) = job.tasks()
        first, again = worker.run(task), worker.run(task)
    assert passes == [0, 0]
    assert (first.samples, first.bad) == (again.samples, again.bad)
