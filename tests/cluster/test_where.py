"""Where a command runs makes no difference to what it computes, and a private Ray is heard by this machine alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster.test_kills import DEADLINE, actors_of, tidy, wait_for_growth, words_of
from tests.cluster.test_kills import few as few  # a fixture
from tests.cluster.test_kills import few_undisturbed as few_undisturbed
from tests.forks import Forked, Start

LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def listening(process: Forked) -> Iterator[tuple[str, str]]:
    """(program, address) of every port that a command and what it started listen on."""
    for child in (command := psutil.Process(process.pid), *command.children(recursive=True)):
        try:
            yield from ((child.name(), at.laddr.ip) for at in child.net_connections("inet") if at.status == "LISTEN")
        except psutil.Error:
            continue


def test_a_command_that_says_nothing_starts_no_ray(
    start: Start, few: Path, few_undisturbed: dict[str, str], tmp_path: Path
) -> None:
    words = [*words_of(few, tmp_path / "store.zarr", "auto"), "--threads", "1"]  # else long work goes on on a Ray
    process = start(words, {"RAY_ADDRESS": ""})
    assert wait_for_growth(process, tmp_path / "store.zarr", len(few_undisturbed) // 2)
    assert not [*actors_of(process)]
    assert not [*listening(process)]
    said = "".join(process.communicate(timeout=DEADLINE))
    assert process.returncode == 0, said
    assert tidy(tmp_path / "store.zarr") == few_undisturbed


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
    process = start(words_of(few, tmp_path / "store.zarr", "local"))
    assert wait_for_growth(process, tmp_path / "store.zarr", len(few_undisturbed) // 10)
    heard = {*listening(process)}
    said = "".join(process.communicate(timeout=DEADLINE))
    assert process.returncode == 0, said
    assert {program for program, _ in heard} >= {"gcs_server", "raylet"}
    assert {address for _, address in heard} <= {*LOOPBACK}
    assert tidy(tmp_path / "store.zarr") == few_undisturbed
