"""The connection to Ray, where none is there yet (so not on the shared one)."""

from __future__ import annotations

import subprocess
import sys

CONNECT = """
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.session import RaySession
from cvbench.errors import ClusterError
import time
begin = time.monotonic()
try:
    with RaySession(Cluster(address="127.0.0.1:1")):
        pass
except ClusterError as error:
    assert time.monotonic() - begin < 30
    print(error)
"""


def test_an_unreachable_cluster_is_named_at_once() -> None:
    said = subprocess.run([sys.executable, "-c", CONNECT], capture_output=True, text=True, timeout=120).stdout
    assert "Ray cannot be reached at '127.0.0.1:1'" in said
    assert "--address local" in said
