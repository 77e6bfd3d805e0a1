"""The connection to Ray, where none is there yet (so not on the shared one)."""

from __future__ import annotations

import subprocess
import sys

CONNECT = """
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.session import RaySession
from cvbench.errors import ClusterError
import ray
ray.init = lambda **given: print("Ray itself was asked, which tries for minutes")
try:
    with RaySession(Cluster(address="127.0.0.1:1")):
        pass
except ClusterError as error:
    print(error)
"""


def test_an_unreachable_cluster_is_named_at_once() -> None:
    said = subprocess.run([sys.executable, "-c", CONNECT], capture_output=True, text=True, timeout=120).stdout
    assert said.startswith("Ray cannot be reached at '127.0.0.1:1'"), said
    assert "--address local" in said
