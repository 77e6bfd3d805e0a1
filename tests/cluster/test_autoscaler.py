"""From no worker at all: an autoscaler is asked for GPUs, which a fake cloud on loopback then has.

Ray's fake provider starts real Ray nodes whose GPU is a number only, so these tests see where work goes, not a kernel.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.skipif(sys.platform != "linux", reason="process groups of Linux")]
DEADLINE = 300
LISTS = (
    *("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands", "setup_commands"),
    *("head_setup_commands", "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands"),
)
"""Keys of a cluster's configuration that a fake cloud needs nothing of."""

# As a process of its own: this one may be connected to the Ray that other tests share.
DRIVER = """
import sys, json
from tests.cluster.test_autoscaler import Place
from cvbench.errors import CvbenchError
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.executor import run_tasks
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Note
device, gpus, wait = json.loads(sys.argv[1])
notes, found = [], []
try:
    cluster = Hardware(device=device, gpus=gpus, wait=wait).cluster()
    run_tasks(Place(), range(4), cluster, lambda _, receipt: found.append(receipt), lambda one: notes.append(one.text))
    print(json.dumps({"device": cluster.device, "notes": notes, "found": found}))
except CvbenchError as error:
    print(json.dumps({"error": error.as_dict(), "notes": notes}))
"""


@dataclass(frozen=True)
class Place:
    """Says on which node a task ran, and which GPU it had."""

    def build(self) -> Place:
        return self

    def run(self, task: int) -> tuple[str, list[int]]:
        import ray

        time.sleep(1)
        return ray.get_runtime_context().get_node_id(), ray.get_gpu_ids()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class FakeCloud:
    """A head with no core and no GPU, and an autoscaler that may start workers of the kinds given."""

    def __init__(self, folder: Path, workers: dict[str, dict[str, object]]) -> None:
        from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

        port = free_port()
        self.address = f"127.0.0.1:{port}"
        # As `ray.cluster_utils.AutoscalingCluster`, whose start and end would end every Ray of this machine.
        head: dict[str, object] = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
        config = {
            **{key: dict[str, str]() for key in ("auth", "docker", "file_mounts")},
            **{key: list[str]() for key in LISTS},
            "cluster_name": "fake",
            "max_workers": 4,
            "upscaling_speed": 1.0,
            "idle_timeout_minutes": 5,
            "file_mounts_sync_continuously": False,
            "head_node_type": "ray.head.default",
            "available_node_types": {**workers, "ray.head.default": head},
            "provider": {
                "type": "external",  # of its own name Ray wants a file that its wheel lacks
                "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
                "launch_multiple": True,
                "head_node_id": FAKE_HEAD_NODE_ID,
                "gcs_address": self.address,
            },
        }
        (folder / "cloud.json").write_text(json.dumps(config))
        self.environment = {
            **os.environ,
            "RAY_AUTH_MODE": "disabled",  # the nodes of the fake cloud would not get the token
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        }
        words = ["start", "--head", "--block", f"--port={port}", "--num-cpus=0", "--num-gpus=0"]
        words += ["--dashboard-agent-listen-port=0", "--include-dashboard=false", "--node-ip-address=127.0.0.1", f"--temp-dir={folder}"]
        words += [f"--autoscaling-config={folder / 'cloud.json'}", "--object-store-memory=100000000"]
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", *words],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        begin = time.monotonic()
        while "Ray runtime started" not in (said := (folder / "log").read_text()):
            assert self.process.poll() is None, said
            assert time.monotonic() - begin < DEADLINE, said
            time.sleep(0.2)

    def drive(self, device: str, gpus: int | None, wait: float) -> dict[str, object]:
        """What a run on this cluster gave; it names no address."""
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, json.dumps([device, gpus, wait])],
            env={**self.environment, "RAY_ADDRESS": self.address},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            cwd=Path(__file__).parents[2],
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        assert isinstance(found, dict)
        return found

    def close(self) -> None:
        """End the head and all that came of it, by their numbers."""
        started = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for process in started:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(started, 30)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: Ray's sockets lie in it."""
    import shutil
    import tempfile

    made = Path(tempfile.mkdtemp(prefix="cv", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def worker(resources: dict[str, float], most: int) -> dict[str, object]:
    return {"resources": resources, "node_config": {}, "min_workers": 0, "max_workers": most}


def test_gpus_are_asked_for_where_there_are_none(folder: Path) -> None:
    cloud = FakeCloud(folder, {"gpu": worker({"CPU": 2, "GPU": 1, "object_store_memory": 100_000_000}, 1)})
    try:
        ran = cloud.drive("auto", 1, 240)
        assert ran.get("device") == "cuda", ran
        assert "no GPU is there yet; the cluster's autoscaler starts nodes" in ran["notes"]  # type: ignore[operator]
        found = ran["found"]
        assert isinstance(found, Sequence)
        assert len(found) == 4
        assert all(gpus == [0] for _, gpus in found)  # each on a GPU, so never on the head
        late = cloud.drive("auto", 2, 15)  # two are asked for, one is there: it does the work
        assert late["device"] == "cuda"
        assert len(late["found"]) == 4  # type: ignore[arg-type]
    finally:
        cloud.close()


def test_a_wait_for_what_never_comes_ends(folder: Path) -> None:
    cloud = FakeCloud(folder, {"plain": worker({"CPU": 1, "object_store_memory": 100_000_000}, 1)})
    try:
        waited = cloud.drive("cuda", None, 8)
        error = waited["error"]
        assert isinstance(error, dict)
        assert error["code"] == "cluster"
        assert "no actor has started in" in error["what"]
        assert "'GPU': 1" in error["why"]
        assert any(str(note).startswith("waiting for GPUs: 0 of 4 are there") for note in waited["notes"])  # type: ignore[attr-defined]
        ran = cloud.drive("auto", None, 240)  # it has no kind of node with a GPU, and says so
        assert ran.get("device") == "cpu", ran
        assert "the cluster has no kind of node with a GPU: CPUs compute" in ran["notes"]  # type: ignore[operator]
    finally:
        cloud.close()
