"""Where a command runs makes no difference to what it computes, and a private Ray is heard by this machine alone."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster.test_kills import DEADLINE, actors_of, started_by, stopped, tidy, words_of
from tests.cluster.test_kills import few as few  # a fixture
from tests.cluster.test_kills import few_undisturbed as few_undisturbed
from tests.forks import Forked, Start

LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def listening(process: Forked) -> Iterator[tuple[str, str]]:
    """(program, address) of every port that a command, which is there, and what it started listen on."""
    for child in (psutil.Process(process.pid), *started_by(process)):
        try:
            yield from ((child.name(), at.laddr.ip) for at in child.net_connections("inet") if at.status == "LISTEN")
        except psutil.Error:
            continue


def test_a_command_that_says_nothing_starts_no_ray(
    start: Start, few: Path, few_undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "")
    whole, alone = len(few_undisturbed), ("--threads", "1")  # else long work goes on on a Ray
    process, store = stopped(start, lambda store: [*words_of(few, store, "auto"), *alone], tmp_path, whole // 2, whole)
    assert not [*actors_of(process)]
    assert not [*listening(process)]
    process.send_signal(signal.SIGCONT)
    said = "".join(process.communicate(timeout=DEADLINE))
    assert process.returncode == 0, said
    assert tidy(store) == few_undisturbed


def test_the_page_of_a_cluster_is_refused(start: Start, few: Path, tmp_path: Path) -> None:
    process = start(words_of(few, tmp_path / "store.zarr", "auto"), {"RAY_ADDRESS": "http://127.0.0.1:8265"})
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 2
    assert "ray job submit" in err
    assert not os.path.exists(tmp_path / "store.zarr")


@pytest.mark.ray
@pytest.mark.skipif(sys.platform != "linux", reason="reads the sockets of other processes")
def test_a_private_ray_listens_on_loopback_alone(
    start: Start, few: Path, few_undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """And its results are those of the loop."""
    whole = len(few_undisturbed)
    process, store = stopped(start, lambda store: words_of(few, store, "local"), tmp_path, whole // 10, whole)
    heard = {*listening(process)}
    process.send_signal(signal.SIGCONT)
    said = "".join(process.communicate(timeout=DEADLINE))
    assert process.returncode == 0, said
    assert {program for program, _ in heard} >= {"gcs_server", "raylet"}
    assert {address for _, address in heard} <= {*LOOPBACK}
    assert tidy(store) == few_undisturbed
