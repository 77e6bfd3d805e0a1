"""Fine-tuning on Ray Train: a lost worker is replaced, and what any process could not read is counted by all."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from cvbench.errors import IncompleteError
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.transfer import checkpoint
from cvbench.jobs.transfer.finetune import FinetuneOptions, finetune, make_task
from tests.jobs.images import write_folder

ALONE = Cluster(address="local", device="cpu", threads=1, actors=1)


class Killer:
    """Kills the worker of a run once, as soon as its checkpoint is some steps old."""

    def __init__(self, held: Path, step: int) -> None:
        self._held, self._step = held, step
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.killed: list[int] = []
        self.at = 0

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set() and not self.killed:
            self.at = int(checkpoint.read_plain(self._held)["step"]) if self._held.is_file() else 0
            if self.at >= self._step:
                for worker in workers():
                    worker.kill()
                    self.killed.append(worker.pid)
            time.sleep(0.01)


def workers() -> list[psutil.Process]:
    """The training processes of our own Ray."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


@pytest.mark.ray
def test_a_killed_worker_is_replaced_and_the_weights_are_the_same(ray_here: None, tmp_path: Path) -> None:
    job: dict[str, Any] = {"weights": "random", "epochs": 2, "image_size": 32, "train": ("val",), "batch_size": 8}
    here = finetune(
        FinetuneOptions("digits", "test_convnext", str(tmp_path / "here"), **job),
        Cluster(address="none", device="cpu", threads=1),
    )
    given = FinetuneOptions("digits", "test_convnext", str(tmp_path / "there"), checkpoint_seconds=0, **job)
    held = make_task(given, ALONE).file("checkpoint.safetensors")
    with Killer(held, 5) as killer:
        there = finetune(given, ALONE)
    assert len(killer.killed) == 1
    assert 5 <= killer.at < 50
    assert Path(there.weights).read_bytes() == Path(here.weights).read_bytes()
    assert not held.exists()


@pytest.mark.ray
def test_what_one_of_two_processes_could_not_read_is_counted(ray_here: None, tmp_path: Path) -> None:
    write_folder(tmp_path / "own" / "train", 24, 2, broken=(1, 4, 7))
    write_folder(tmp_path / "own" / "test", 12, 2, broken=(2, 5))
    given = FinetuneOptions(
        f"folder:{tmp_path / 'own'}",
        "test_convnext",
        str(tmp_path / "out"),
        weights="random",
        epochs=1,
        batch_size=24,
        image_size=32,
        train=("train",),
        cache=0,  # each process reads its own half only
    )
    two = Cluster(address="local", device="cpu", threads=1, actors=2)
    with pytest.raises(IncompleteError, match="3 of 24 samples could not be read") as caught:
        finetune(given, two)
    assert "--partial" in str(caught.value)
    assert not list((tmp_path / "out").iterdir())
    report = finetune(replace(given, partial=True), two)
    assert (report.failed, report.trained_on) == ({"train": 3, "test": 2}, 21)
    assert sorted(line.split(":")[0].rpartition("/")[2] for line in report.unreadable) == [
        *("001.png", "002.png", "004.png", "005.png", "007.png")
    ]
