"""Fixtures that several folders share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# As the command line does: Ray's workers share the cores, and threads of torch that spin while they wait take them.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """One private local Ray with two CPU slots for all tests that can share it: jobs use a Ray that is there."""
    import ray

    from cvbench.jobs.executor import Cluster, RaySession

    with RaySession(Cluster(address="local", actors=2)):
        yield
    assert not ray.is_initialized()
