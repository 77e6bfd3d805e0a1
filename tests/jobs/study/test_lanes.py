"""Studies whose steps run side by side: the same store and page, failures, lost processes, interrupts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from cvbench.errors import UsageError
from cvbench.jobs.running.place import cores_here, shares
from cvbench.jobs.running.progress import Event, Listener, Started
from cvbench.jobs.study import lanes
from cvbench.jobs.study.attempt import no_listener
from cvbench.jobs.study.journal import FILE
from cvbench.jobs.study.outcomes import StepOutcome, check_outcomes
from cvbench.jobs.study.run import run_study
from cvbench.jobs.study.schedule import Schedule
from cvbench.jobs.study.study import read_study
from tests.forks import Start
from tests.jobs.extraction.test_extract import contents
from tests.jobs.study.studies import study_of, write_study
from tests.jobs.study.test_run import files
from tests.waiting import looks

DEADLINE = 150
ATTEMPTS = 5
"""How often a study may be over before this process, which others may hold up, has looked at its processes."""
DATASETS = [
    {"dataset": "digits", "split": ["test", "val"], "limit": 16},
    {"dataset": "digits+shift=1", "split": "test", "limit": 16},
]
HERE = {"store": "study.zarr", "report": {"out": "report"}, "datasets": DATASETS}
"""The report names the store: runs that are compared are of the same words, in folders of their own."""
needs_two_cores = pytest.mark.skipif(cores_here() < 2, reason="side by side is for two cores at least")


def lanes_of(process: int) -> list[psutil.Process]:
    """The processes that run steps for this one."""
    try:
        children = psutil.Process(process).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [one for one in children if "cvbench.jobs.study.lane" in words_of(one)]


def words_of(process: psutil.Process) -> str:
    """The command line of a process, empty once it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@contextmanager
def moved(folder: Path) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[StepOutcome]]:
    """A folder with a study whose steps ran one after the other."""
    folder = tmp_path_factory.mktemp("alone")
    write_study(folder, **HERE)
    with moved(folder):
        ended = run_study(read_study("study.yaml"))
    check_outcomes(ended)
    return folder, ended


@needs_two_cores
def test_side_by_side_they_make_the_same_store_and_page(alone: tuple[Path, list[StepOutcome]], tmp_path: Path) -> None:
    write_study(tmp_path, **HERE, jobs=2)
    events: list[tuple[int, Event]] = []
    listeners = 0

    @contextmanager
    def hear() -> Iterator[Listener]:
        nonlocal listeners
        listeners += 1
        number = listeners
        yield lambda event: events.append((number, event))

    order: list[str] = []
    with moved(tmp_path):
        ended = run_study(read_study("study.yaml"), hear, lambda one: order.append(one.name))
    check_outcomes(ended)
    assert [(one.name, one.command, one.left) for one in ended] == [
        (one.name, one.command, one.left) for one in alone[1]
    ]
    assert sorted(order) == sorted(one.name for one in ended)
    assert order[-1] == "report"
    heard = [event.job for _, event in events if isinstance(event, Started)]
    assert sorted(heard) == ["analyze spectra"] * 2 + ["extract"] * 3 + ["report"]
    assert contents(tmp_path / "study.zarr") == contents(alone[0] / "study.zarr")
    assert files(tmp_path / "report") == files(alone[0] / "report")
    assert lanes_of(os.getpid()) == []


@pytest.mark.slow
@needs_two_cores
def test_a_step_that_fails_stops_only_what_needs_it(tmp_path: Path) -> None:
    datasets = [{"dataset": f"folder:{tmp_path}/birds", "limit": 8}, *DATASETS[1:]]
    ended = run_study(read_study(str(write_study(tmp_path, datasets=datasets, jobs=2))))
    birds, shifted = f"folder:{tmp_path}/birds/all", "digits+shift=1/test"
    assert {one.name: one.state for one in ended} == {
        f"extract {birds}": "failed",
        f"extract {shifted}": "done",
        f"analyze spectra {birds}": "skipped",
        "report": "failed",  # nothing to report: a variant alone is no data set of an analysis
    }
    assert ended[0].error["what"] == "the folder of images is not there"
    assert (tmp_path / "report" / FILE).is_file()


@pytest.mark.slow
@needs_two_cores
def test_a_process_that_is_killed_fails_its_step_alone(tmp_path: Path) -> None:
    study = read_study(str(write_study(tmp_path, jobs=2, **{**HERE, "store": str(tmp_path / "s.zarr")})))
    killed: list[int] = []

    @contextmanager
    def kill_first() -> Iterator[Listener]:
        def listen(event: Event) -> None:
            if isinstance(event, Started) and event.job == "extract" and not killed:
                one = lanes_of(os.getpid())[0]
                killed.append(one.pid)
                one.kill()

        yield listen

    with moved(tmp_path):
        ended = run_study(study, kill_first)
        assert killed
        # Its extraction; or the step after it, where it had sent the end of that one before it was killed.
        failed = [one for one in ended if one.state == "failed"]
        assert len(failed) == 1
        assert failed[0].error["what"] == "the process that ran this step has ended by signal 9"
        assert sum(one.state == "done" for one in ended) >= 3  # another process took the next steps
        check_outcomes(run_study(study))


@needs_two_cores
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_ends_its_processes_and_the_same_command_resumes(
    start: Start, alone: tuple[Path, list[StepOutcome]], tmp_path: Path, number: signal.Signals
) -> None:
    for attempt in range(ATTEMPTS):
        folder = tmp_path / str(attempt)
        write_study(folder, **HERE, jobs=2)
        with moved(folder):
            process = start(["run", "study.yaml"])
            running: list[psutil.Process] = []
            for _ in looks(DEADLINE):
                if process.poll() is not None or (len(running) == 2 and (folder / "study.zarr").exists()):
                    break
                running = lanes_of(process.pid)
            process.send_signal(number)
            process.wait(DEADLINE)
        if process.returncode:  # else it was over before anybody looked
            break
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    for _ in looks(DEADLINE):
        if not any(map(is_there, running)):
            break
    with moved(folder):
        check_outcomes(run_study(read_study("study.yaml")))
    assert files(folder / "report") == files(alone[0] / "report")


def is_there(process: psutil.Process) -> bool:
    """Whether a process has not ended."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


TIDY = """
import queue, signal, socket, sys, threading, time
from pathlib import Path
from cvbench.jobs.study import lane
signal.signal(signal.SIGTERM, lane._unwind)
parent = socket.socket(fileno=int(sys.argv[1]))
threading.Thread(target=lane._receive, args=(parent, queue.SimpleQueue()), daemon=True).start()
try:
    parent.send(b"x")
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    Path(sys.argv[2]).touch()
"""


def test_an_interrupted_step_may_tidy_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "GRACE", DEADLINE)  # it tidies up for a second; how long that takes is the machine's
    near, far = socket.socketpair()
    one = lanes._Lane({}, [0], no_listener)
    with far:
        words = [sys.executable, "-c", TIDY, str(far.fileno()), str(tmp_path / "tidied")]
        one._process = subprocess.Popen(words, pass_fds=(far.fileno(),))
    one._socket = near
    assert near.recv(1) == b"x"
    one.interrupt()
    one.close()
    assert (tmp_path / "tidied").exists()


def test_evaluations_follow_the_probes_that_may_give_them_logits() -> None:
    from cvbench.jobs.study.steps import steps_of

    text = "datasets: [{dataset: digits, split: [train, test]}]\ntransfer: [probe]\nevaluations: [accuracy]\njobs: 4\n"
    schedule = Schedule(steps_of(study_of(text)), lambda ended: None)
    begun = []
    while (step := schedule.ready()) is not None:
        schedule.begin(step)
        begun.append(step)
    assert [one.name for one in begun] == ["extract digits/train", "extract digits/test"]

    def end(names: list[str], state: str) -> list[str]:
        for name in names:
            schedule.end(StepOutcome(name, "", state))
        found = []
        while (step := schedule.ready()) is not None:
            schedule.begin(step)
            found.append(step.name)
        return found

    assert end(["extract digits/train", "extract digits/test"], "done") == ["transfer probe digits"]
    evaluations = end(["transfer probe digits"], "failed")
    assert evaluations == ["eval accuracy digits/train", "eval accuracy digits/test"]
    assert end(evaluations, "done") == ["report"]


@pytest.mark.parametrize("address", ["local", "127.0.0.1:6379"])
def test_side_by_side_is_refused_on_a_ray(address: str) -> None:
    from cvbench.jobs.study.check import check_study

    text = f"datasets: [digits]\naddress: {address}\njobs: 2\n"
    with pytest.raises(UsageError, match="jobs: 2 is for steps in this machine's processes") as caught:
        check_study(study_of(text))
    assert caught.value.where == "s.yaml:3"


@pytest.mark.parametrize("value", [0, -1, 1.5, "two", True])
def test_jobs_is_a_number(value: Any) -> None:
    with pytest.raises(UsageError, match="jobs"):
        study_of(f"datasets: [digits]\njobs: {value}\n")


def test_shares_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {2, 3, 5, 7, 8}, raising=False)
    assert shares(1) == [[2, 3, 5, 7, 8]]
    assert shares(2) == [[2, 3], [5, 7, 8]]
    assert shares(5) == [[2], [3], [5], [7], [8]]
    for number in (0, 6):
        with pytest.raises(ValueError, match="shares"):
            shares(number)
