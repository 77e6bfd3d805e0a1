"""From no worker at all: an autoscaler is asked for GPUs, which a fake cloud on loopback then has.

Ray's fake provider starts real Ray nodes whose GPU is a number only, so these tests see where work goes, not a kernel.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.nodes import LoopbackCluster, free_port, short_folder

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="process groups of Linux"),
]
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

    def run(self, task: int) -> tuple[str, list[int] | list[str]]:
        import ray

        time.sleep(1)
        return ray.get_runtime_context().get_node_id(), ray.get_gpu_ids()


@contextmanager
def fake_cloud(workers: dict[str, dict[str, object]]) -> Iterator[LoopbackCluster]:
    """A head with no core and no GPU, and an autoscaler that may start workers of the kinds given.

    As `ray.cluster_utils.AutoscalingCluster`, whose start and end would end every Ray of this machine.
    """
    from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

    port = free_port()
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
            "gcs_address": f"127.0.0.1:{port}",
        },
    }
    more = {
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    }
    with short_folder() as folder:
        (folder / "cloud.json").write_text(json.dumps(config))
        cloud = LoopbackCluster(folder, port, [f"--autoscaling-config={folder / 'cloud.json'}"], more)
        try:
            yield cloud
        finally:
            cloud.close()


def drive(cloud: LoopbackCluster, device: str, gpus: int | None, wait: float) -> dict[str, object]:
    """What a run gave; it names no address."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps([device, gpus, wait])],
        env={**os.environ, **cloud.joining},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def worker(resources: dict[str, float], most: int) -> dict[str, object]:
    return {"resources": resources, "node_config": {}, "min_workers": 0, "max_workers": most}


def test_gpus_are_asked_for_where_there_are_none() -> None:
    kinds = {"gpu": worker({"CPU": 2, "GPU": 1, "object_store_memory": 100_000_000}, 1)}
    with fake_cloud(kinds) as cloud:
        ran = drive(cloud, "auto", 1, 240)
        assert ran.get("device") == "cuda", ran
        found = ran["found"]
        assert isinstance(found, list)
        assert len(found) == 4
        assert all(gpus == [0] for _, gpus in found)  # each on a GPU, so never on the head
        late = drive(cloud, "auto", 2, 240)  # two are asked for, one is there: it does the work
        assert late["device"] == "cuda"
        assert len(str(late["found"]).split("], [")) == 4


def test_a_wait_for_what_never_comes_ends() -> None:
    with fake_cloud({"plain": worker({"CPU": 1, "object_store_memory": 100_000_000}, 1)}) as cloud:
        waited = drive(cloud, "cuda", None, 20)
        error = waited["error"]
        assert isinstance(error, dict)
        assert error["code"] == "cluster"
        assert "no actor has started in" in error["what"]
        assert "'GPU': 1" in error["why"]
        assert "waiting for GPUs: 0 of 4 are there" in str(waited["notes"])
        ran = drive(cloud, "auto", None, 240)  # it has no kind of node with a GPU, and says so
        assert ran.get("device") == "cpu", ran
        assert "the cluster has no kind of node with a GPU: CPUs compute" in str(ran["notes"])
