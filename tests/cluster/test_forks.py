"""A forked command is what a terminal would have started: its words, streams, folder, environment, exit and signals."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.forks import Start
from tests.jobs.transfer.holding import Training

DEADLINE = 150


def test_exit_code_and_streams(start: Start) -> None:
    done = start(["datasets", "ls"])
    out, err = done.communicate(DEADLINE)
    assert (done.returncode, err) == (0, "")
    assert "digits" in out
    done = start(["store", "info", "--store", "none.zarr"])
    out, err = done.communicate(DEADLINE)
    assert (done.returncode, out) == (3, "")
    assert err.startswith("cvbench: there is no feature store")
    done = start(["no-such-command"])
    assert "No such command" in done.communicate(DEADLINE)[1]
    assert done.returncode == 2


def test_folder_and_environment(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "61")
    done = start(["datasets", "--help"])
    assert max(map(len, done.communicate(DEADLINE)[0].splitlines())) <= 61
    done = start(["extract", "--dataset", "folder:here", "--address", "none"])
    assert str(tmp_path) in done.communicate(DEADLINE)[1]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_signal_to_its_group_reaches_it_alone(start: Start, tmp_path: Path) -> None:
    training = Training(start, tmp_path, 1)
    process = training.begin("none")
    other = start(["--version"])
    assert os.getpgid(process.pid) == os.getsid(process.pid) == process.pid != os.getpgid(0)
    training.wait_for(1, process)  # it is at work, and is not done before the signal
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(DEADLINE) == 143
    assert other.wait(DEADLINE) == 0
