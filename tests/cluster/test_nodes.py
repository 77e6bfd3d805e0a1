"""Several Ray nodes: lost, frozen, without their head; whatever happens, the store ends with the same bytes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from tests.cluster.nodes import LoopbackCluster, Node, loopback
from tests.cluster.test_kills import pets as pets  # a fixture
from tests.cluster.test_kills import tidy, wait_for_growth, words_of
from tests.cluster.test_kills import undisturbed as undisturbed
from tests.waiting import looks

pytestmark = [pytest.mark.ray, pytest.mark.skipif(sys.platform != "linux", reason="process groups of Linux")]
DEADLINE = 400
ATTEMPTS = 3


class Working(NamedTuple):
    """A command, its store, and the actors that are held meanwhile."""

    process: subprocess.Popen[str]
    store: Path
    held: set[psutil.Process]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LoopbackCluster]:
    with loopback(nodes=2) as found:
        yield found


def test_the_doctor_looks_at_every_node(pets: Path, tmp_path: Path) -> None:
    """Of a cluster of its own: nodes that other tests have killed are listed for a while, and the doctor names them."""
    words = [
        "cluster",
        "doctor",
        "--format",
        "json",
        "--timeout",
        "300",
        "--dataset",
        f"folder:{pets}",
        "--store",
        str(tmp_path / "new.zarr"),
    ]
    with loopback(nodes=2) as cluster:
        process = cluster.start(words)
        out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err + out
    report = json.loads(out)
    assert (report["ok"], report["nodes"]) == (True, 3)
    found = {(one["node"], one["name"]): one for one in report["findings"]}
    assert found["", "nodes"]["said"] == "3 of 3 answer"
    assert found["", "exclusive"]["state"] == "ok"
    nodes = {node for node, _ in found if node}
    assert len(nodes) == 3
    for node in nodes:
        assert found[node, "versions"]["state"] == "ok"
        assert found[node, "clock"]["state"] == "ok"
        assert "192 samples" in found[node, "data"]["said"]
        assert found[node, "disk of store"]["state"] in ("ok", "problem")
    assert not (tmp_path / "new.zarr").exists()  # nothing stays of the race


def test_the_doctor_says_what_no_node_sees(tmp_path: Path, cluster: LoopbackCluster) -> None:
    """A store below a file can be written by none; the driver alone has the data set."""
    (tmp_path / "file").touch()
    words = ["cluster", "doctor", "--format", "json", "--store", str(tmp_path / "file" / "store.zarr")]
    process = cluster.start(words)
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 8, err + out
    problems = {one["name"] for one in json.loads(out)["findings"] if one["state"] == "problem"}
    assert "store" in problems


WHERE = """
import sys
from tests.cluster.test_nodes import Where
from cvbench.jobs.running.executor import run_tasks
from cvbench.jobs.running.hardware import Hardware
run_tasks(Where(), [0], Hardware(device="cpu", gpus=1, wheel=sys.argv[1]).cluster(), lambda task, place: print(place))
"""


@dataclass(frozen=True)
class Where:
    """Says where cvbench is on an actor, and a variable that it was given."""

    def build(self) -> Where:
        return self

    def run(self, task: int) -> str:
        import cvbench

        return f"{cvbench.__file__} {os.environ['OMP_WAIT_POLICY']}"


def test_a_wheel_goes_along(tmp_path: Path, cluster: LoopbackCluster) -> None:
    root = Path(__file__).parents[2] / "src" / "cvbench"
    wheel = tmp_path / "cvbench-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for folder, _, names in os.walk(root, followlinks=True):
            for name in names:
                if name.endswith(".py"):
                    path = Path(folder) / name
                    archive.write(path, Path("cvbench") / path.relative_to(root))
    done = subprocess.run(
        [sys.executable, "-c", WHERE, str(wheel)],
        env={**os.environ, **cluster.joining},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        cwd=root.parents[1],
    )
    assert done.returncode == 0, done.stderr
    place, policy = done.stdout.split()
    assert "py_modules" in place
    assert policy == "passive"


def test_two_drivers_on_one_store(
    pets: Path, undisturbed: dict[str, str], tmp_path: Path, cluster: LoopbackCluster
) -> None:
    store = tmp_path / "store.zarr"
    both = [cluster.start(words_of(pets, store, "auto")) for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, err
    assert tidy(store) == undisturbed


def signal_all(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def at_work(cluster: LoopbackCluster, node: Node, pets: Path, folder: Path, grown: int) -> Working:
    """A command of which a node has an actor, whose store has so many more files, and which is not at its end.

    Until the node has one, the actors of all others are held; a command that was over before is begun anew.
    """
    for attempt in range(ATTEMPTS):
        store = folder / f"store-{attempt}.zarr"
        process = cluster.start(words_of(pets, store, "auto"))
        if wait_for_growth(process, store, grown):
            held = set[psutil.Process]()
            for _ in looks(DEADLINE):
                if node.actors() or process.poll() is not None:
                    break
                others = {actor for other in cluster.nodes if other is not node for actor in other.actors()} - held
                signal_all(others, signal.SIGSTOP)
                held |= others
            if node.actors() and process.poll() is None:
                return Working(process, store, held)
            signal_all(held, signal.SIGCONT)
        _, err = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, err
    raise AssertionError(f"{ATTEMPTS} commands were over before the node had an actor")


def test_a_node_that_is_lost(pets: Path, undisturbed: dict[str, str], tmp_path: Path, cluster: LoopbackCluster) -> None:
    lost = cluster.add()
    process, store, held = at_work(cluster, lost, pets, tmp_path, len(undisturbed) // 20)
    lost.kill()
    signal_all(held, signal.SIGCONT)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    assert tidy(store) == undisturbed


@pytest.mark.slow
def test_a_node_that_freezes_and_thaws_after_its_work_was_given_away(
    pets: Path, undisturbed: dict[str, str], tmp_path: Path, cluster: LoopbackCluster
) -> None:
    frozen = cluster.add()
    process, store, held = at_work(cluster, frozen, pets, tmp_path, len(undisturbed) // 20)
    frozen.signal(signal.SIGSTOP)
    signal_all(held, signal.SIGCONT)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    frozen.signal(signal.SIGCONT)  # what it had begun it may end now, late
    time.sleep(10)
    assert tidy(store) == undisturbed
    frozen.kill()


@pytest.mark.slow
def test_a_head_that_is_lost_and_the_same_command_on_another(
    pets: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    with loopback(nodes=1) as first:
        grown = len(undisturbed) // random.Random(5).randrange(5, 20)
        process, store, _ = at_work(first, first.nodes[-1], pets, tmp_path, grown)
        for node in first.nodes:
            node.kill()
        out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode != 0, out + err
    assert os.path.exists(store)
    with loopback(nodes=1) as second:
        process = second.start(words_of(pets, store, "auto"))
        _, err = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, err
    assert tidy(store) == undisturbed
