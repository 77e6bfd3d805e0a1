"""The executor: every task once, on Ray as in a loop; dead, frozen and failing workers."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from cvbench.errors import ClusterError, IncompleteError, IntegrityError
from cvbench.jobs.running import executor
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.executor import run_tasks

LOOP = Cluster(address="none")
RAY = Cluster(address="local", actors=2)
pytestmark = pytest.mark.usefixtures("ray_here")
BOTH = [pytest.param(LOOP, id="loop"), pytest.param(RAY, id="ray", marks=pytest.mark.ray)]


@dataclass(frozen=True)
class Square:
    """Squares numbers; `fault` does something bad the first time that task 3 arrives (a file in `folder` remembers)."""

    folder: str = ""
    fault: str = ""

    def build(self) -> Square:
        return self

    def run(self, task: int) -> tuple[int, int]:
        if task == 3 and self.fault in ("integrity", "always", "kill", "freeze", "once"):
            first = Path(self.folder) / "seen"
            if self.fault == "integrity":
                raise IntegrityError("task 3 is damaged", where="task 3")
            if self.fault == "always":
                raise RuntimeError("task 3 never works")
            if not first.exists():
                first.touch()
                if self.fault == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if self.fault == "freeze":
                    time.sleep(600)
                raise RuntimeError("once")
        if self.fault == "together":  # the first actor that is there waits for the second
            (Path(self.folder) / str(os.getpid())).touch()
            while len(list(Path(self.folder).iterdir())) < 2:
                time.sleep(0.05)
        if self.fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return task * task, os.getpid()


def squares(recipe: Square, cluster: Cluster, count: int = 8) -> tuple[dict[int, int], set[int]]:
    found: dict[int, int] = {}
    pids = set()

    def done(task: int, receipt: tuple[int, int]) -> None:
        assert task not in found, "a task was reported twice"
        found[task] = receipt[0]
        pids.add(receipt[1])

    run_tasks(recipe, range(count), cluster, done)
    return found, pids


@pytest.mark.parametrize("cluster", BOTH)
def test_every_task_is_done_once(cluster: Cluster) -> None:
    assert squares(Square(), cluster)[0] == {n: n * n for n in range(8)}


@pytest.mark.parametrize("cluster", BOTH)
def test_no_task_starts_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "RaySession", lambda cluster: pytest.fail("a cluster was started for no work"))
    assert squares(Square(), cluster, count=0) == ({}, set())


@pytest.mark.ray
def test_the_work_is_shared_by_the_actors_and_not_done_here(tmp_path: Path) -> None:
    pids = squares(Square(str(tmp_path), "together"), RAY, count=40)[1]
    assert len(pids) == 2
    assert os.getpid() not in pids


@pytest.mark.ray
@pytest.mark.parametrize("fault", ["kill", "once"])
def test_a_killed_actor_and_a_passing_error_are_retried(tmp_path: Path, fault: str) -> None:
    assert squares(Square(str(tmp_path), fault), RAY)[0] == {n: n * n for n in range(8)}
    assert (tmp_path / "seen").exists(), "the fault never happened"


@pytest.mark.ray
def test_a_task_that_freezes_is_given_to_another_actor(tmp_path: Path) -> None:
    cluster = Cluster(address="local", actors=2, deadline=3.0)
    assert squares(Square(str(tmp_path), "freeze"), cluster)[0] == {n: n * n for n in range(8)}


@pytest.mark.parametrize("cluster", BOTH)
def test_a_deliberate_error_arrives_as_it_was_raised(cluster: Cluster) -> None:
    with pytest.raises(IntegrityError, match="task 3 is damaged") as caught:
        squares(Square(fault="integrity"), cluster)
    assert caught.value.where == "task 3"


@pytest.mark.ray
def test_a_task_that_always_fails_is_named() -> None:
    with pytest.raises(IncompleteError, match="failed 3 times") as caught:
        squares(Square(fault="always"), RAY)
    assert caught.value.why == "RuntimeError: task 3 never works"


@pytest.mark.ray
def test_actors_that_only_die_end_the_run() -> None:
    with pytest.raises(ClusterError, match="died without finishing"):
        squares(Square(fault="die"), RAY, count=2)


@pytest.mark.ray
def test_long_work_of_one_process_goes_on_on_a_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "WORTH_A_RAY", 0.0)
    notes: list[object] = []
    found: dict[int, tuple[int, int]] = {}
    cluster = Cluster(address="none", spills=True, actors=2)
    run_tasks(Square(), range(8), cluster, lambda task, receipt: found.update({task: receipt}), notes.append)
    assert {task: receipt[0] for task, receipt in found.items()} == {n: n * n for n in range(8)}
    assert found[0][1] == os.getpid()
    assert os.getpid() not in {found[task][1] for task in range(1, 8)}
    assert "7 of 8 units are left" in str(notes)


def test_short_work_stays_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "WORTH_A_RAY", 90.0)
    seconds = iter(range(10))  # one for each task
    monkeypatch.setattr(executor, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    assert squares(Square(), Cluster(address="none", spills=True))[1] == {os.getpid()}
