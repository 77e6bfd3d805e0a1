"""A Ray cluster of several nodes on this machine, one of which is lost in the middle of an extraction."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cvbench.jobs.executor import Cluster
from cvbench.jobs.extract import ExtractOptions, extract
from tests.jobs.images import write_folder
from tests.jobs.test_extract import contents

# In a process of its own: Ray can be initialised once per process, and the other tests share another one.
SCRIPT = """
import sys
import ray
from ray.cluster_utils import Cluster as Nodes
from cvbench.jobs.executor import Cluster
from cvbench.jobs.extract import extract
from cvbench.jobs.progress import Advanced
from tests.cluster.test_nodes import options

HERE = {"node_ip_address": "127.0.0.1", "object_store_memory": 100 * 1024 * 1024}
nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **HERE})
lost = nodes.add_node(num_cpus=1, **HERE)
nodes.add_node(num_cpus=1, **HERE)
done = []

def listen(event):
    if isinstance(event, Advanced):
        done.append(event.unit)
        if len(done) == 3:  # both nodes are at work
            nodes.remove_node(lost, allow_graceful=False)

report = extract(options(sys.argv[1], sys.argv[2]), Cluster(address=nodes.address), listen)
assert sorted(done) == list(range(12)), done
print("computed", report.computed)
nodes.shutdown()
"""


def options(pets: str, store: str) -> ExtractOptions:
    return ExtractOptions(
        dataset=f"folder:{pets}",
        backbones=("test_vit", "test_convnext"),
        store=store,
        weights=("random",),
        batch_size=8,
        unit=8,
        image_size=64,
    )


@pytest.mark.ray
def test_a_lost_node_costs_its_unfinished_units_only(tmp_path: Path) -> None:
    pets = write_folder(tmp_path / "pets", 96)
    extract(options(str(pets), str(tmp_path / "undisturbed.zarr")), Cluster(address="none"))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(pets), str(tmp_path / "store.zarr")],
        capture_output=True,
        text=True,
        timeout=400,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "computed 96" in done.stdout
    assert contents(tmp_path / "store.zarr") == contents(tmp_path / "undisturbed.zarr")
