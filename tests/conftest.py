"""Fixtures that several folders share, and how the tests are shared among processes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.forks import ForkServer, Start

# As the command line does: Ray's workers share the cores, and threads of torch that spin while they wait take them.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# How fast a machine is, or how busy, is no property of what is tested.
settings.register_profile("cvbench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cvbench")

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What libraries read, when they are loaded, for how many threads a process may have."""


def pytest_configure(config: pytest.Config) -> None:
    """One thread for each of several processes (`-n`), which inherit it; alone, a process takes what it likes."""
    if getattr(config.option, "numprocesses", None):
        for name in THREADS:
            os.environ.setdefault(name, "1")


TOGETHER = ("ray_here", "start")
"""Fixtures that are dear to make: all files that use one are one group, and the groups are begun in this order."""


@pytest.hookimpl(tryfirst=True)  # before the plugin reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `-n 2 --dist loadgroup`, a file stays in one process, for what it makes once; the longest go first."""
    if not hasattr(config, "workerinput"):
        return
    groups = {_file(item): _file(item) for item in items}
    for item in items:
        for name in TOGETHER:
            if name in getattr(item, "fixturenames", ()):
                groups[_file(item)] = name
    for item in items:
        item.add_marker(pytest.mark.xdist_group(groups[_file(item)]))
    order = {name: at for at, name in enumerate(TOGETHER)}
    items.sort(key=lambda item: order.get(groups[_file(item)], len(order)))


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


@pytest.fixture(scope="session", autouse=True)
def one_ray() -> Iterator[pytest.MonkeyPatch]:
    """No test of this process starts a Ray of its own by mistake, which takes it ten seconds: `ray_here` is there."""
    from cvbench.jobs.running.session import RaySession

    def refuse(session: RaySession, ray: object) -> None:
        raise AssertionError("a test that runs on Ray takes the fixture ray_here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RaySession, "_start_local", refuse)
        yield patch


@pytest.fixture(scope="session")
def ray_here(one_ray: pytest.MonkeyPatch) -> Iterator[None]:
    """One private local Ray with two CPU slots for all tests that can share it: jobs use a Ray that is there."""
    import ray

    from cvbench.jobs.running.cluster import Cluster
    from cvbench.jobs.running.session import RaySession

    one_ray.undo()
    with RaySession(Cluster(address="local", actors=2)):
        yield
    assert not ray.is_initialized()


@pytest.fixture(scope="session")
def start() -> Iterator[Start]:
    """Starts a command line as a process of its own: `start(words)`."""
    server = ForkServer()
    yield server.start
    server.close()
