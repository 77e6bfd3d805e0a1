"""Fine-tuning on Ray Train: a lost worker is replaced, and what any process could not read is counted by all."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvbench.errors import ClusterError, IncompleteError
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Event, Note
from cvbench.jobs.transfer import checkpoint, finetune_progress, finetune_ray
from cvbench.jobs.transfer.finetune import FinetuneOptions, finetune, make_task
from tests.jobs.images import write_folder

ALONE = Cluster(address="local", device="cpu", threads=1, actors=1)


def killed_once(config: dict[str, Any]) -> None:
    """A training process that writes down its steps, and dies once, when the checkpoint of the fifth is written."""
    steps, save = config["task"].file("steps"), checkpoint.save

    def save_and_die(path: Path, tensors: Mapping[str, Any], plain: Mapping[str, Any]) -> None:
        save(path, tensors, plain)
        if "step" not in plain:  # the weights
            return
        with steps.open("a") as file:
            file.write(f"{plain['step']}\n")
        if steps.read_text().split() == ["1", "2", "3", "4", "5"]:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save_and_die)
        train_here(config)


train_here = finetune_ray._process


@pytest.mark.ray
def test_a_killed_worker_is_replaced_and_the_weights_are_the_same(
    ray_here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job: dict[str, Any] = {"weights": "random", "epochs": 2, "image_size": 32, "train": ("val",), "batch_size": 8}
    here = finetune(
        FinetuneOptions("digits", "test_convnext", str(tmp_path / "here"), **job),
        Cluster(address="none", device="cpu", threads=1),
    )
    given = FinetuneOptions("digits", "test_convnext", str(tmp_path / "there"), checkpoint_seconds=0, **job)
    task = make_task(given, ALONE)
    monkeypatch.setattr(finetune_ray, "_process", killed_once)
    events: list[Event] = []
    there = finetune(given, ALONE, events.append)
    assert [one.text for one in events if isinstance(one, Note) and "ended early" in one.text], events
    assert task.file("steps").read_text().split() == [str(step) for step in range(1, 50)], "it went on from the fifth"
    assert Path(there.weights).read_bytes() == Path(here.weights).read_bytes()
    assert not task.file("checkpoint.safetensors").exists()


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


@pytest.mark.ray
def test_places_that_never_come_are_waited_for_as_long_as_was_said(
    ray_here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    class Holder:
        def ready(self) -> bool:
            return True

    remote: Any = ray.remote(num_cpus=1)(Holder)
    holder = remote.remote()
    assert ray.get(holder.ready.remote())
    given = FinetuneOptions("digits", "test_convnext", str(tmp_path / "out"), weights="random", image_size=32)
    monkeypatch.setattr(finetune_progress, "SAID_EVERY", 1.0)
    events: list[Event] = []
    try:
        with pytest.raises(ClusterError, match="no actor has started in 3 s, and 2 were asked for"):
            finetune(given, Cluster(address="local", device="cpu", threads=1, actors=2, wait=3), events.append)
    finally:
        ray.kill(holder)
    assert Note("waiting for CPU slots: 0 of 2 are there") in events


def heard(config: dict[str, Any]) -> None:
    """A process that trains nothing, but writes down by which addresses it speaks to the other and is heard."""
    import psutil
    import torch

    torch.distributed.all_reduce(torch.ones(1))
    found = {at.laddr.ip for at in psutil.Process().net_connections("inet")}
    named = os.environ["GLOO_SOCKET_IFNAME"]  # left to itself, Gloo goes where this machine's name leads
    config["task"].file(f"heard-{os.getpid()}").write_text("\n".join([named, *sorted(found)]))


@pytest.mark.ray
@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's sockets")
def test_processes_of_a_private_ray_speak_by_loopback(
    ray_here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = FinetuneOptions("digits", "test_convnext", str(tmp_path / "out"), weights="random", image_size=32)
    two = replace(ALONE, actors=2)
    monkeypatch.setattr(finetune_ray, "_process", heard)
    finetune_ray.train_on_ray(make_task(given, two), two, lambda row: None)
    found = [path.read_text().split() for path in tmp_path.rglob("*heard-*")]
    assert len(found) == 2
    # The store by which the processes find one another is torch's, and listens on all interfaces: SECURITY.md says so.
    allowed = {"127.0.0.1", "::1", "::ffff:127.0.0.1", "::"}
    assert {address for _, *addresses in found for address in addresses} <= allowed
    assert {name for name, *_ in found} == {"lo"}
