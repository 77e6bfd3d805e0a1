"""Fixtures that several folders share, and how the tests are shared among processes."""

from __future__ import annotations

import gc
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests.forks import ForkServer, Start
from tests.groups import GroupScheduling, group_of, rank
from tests.long import LIST, is_long, unknown
from tests.patience import VARIABLES, be_patient

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import Scheduling

# As the command line does: Ray's workers share the cores, and threads of torch that spin while they wait take them.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A Ray that starts beside other tests may need minutes.
for variable, value in VARIABLES.items():
    os.environ.setdefault(variable, value)

# Compiled modules are kept whatever the machine's setting: Ray's workers and commands import hundreds of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How fast a machine is, or how busy, is no property of what is tested. Nor is chance: a test draws the same examples in
# every run, as long as its text stays; `pytest --hypothesis-profile=search` draws others each time.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("cvbench", settings.get_profile("search"), derandomize=True)
settings.load_profile("cvbench")

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What libraries read, when they are loaded, for how many threads a process may have."""

GIVEN_BACK = 120.0
"""Seconds within which Ray gets its slots back from what a test has ended; on a busy machine it takes some."""
MEMORY, ROOM = Path("/dev/shm"), 4 * 2**30
"""A file system in memory, where there is one; free bytes that the files of a run may need at most.

A store is thousands of small files, each synced to the disk: there tests waited for the disk half of their time.
"""


def pytest_configure(config: pytest.Config) -> None:
    """One thread for each of several processes (`-n`), which inherit it; alone, a process takes what it likes.

    Files are written in memory, if there is room.
    """
    if getattr(config.option, "numprocesses", None):
        for name in THREADS:
            os.environ.setdefault(name, "1")
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """With `--dist loadgroup`, groups are handed out as `tests.groups` makes them."""
    return GroupScheduling(config, log) if config.getoption("dist") == "loadgroup" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the long runs; in a process of several, the longest groups go first.

    Raises:
        pytest.UsageError: All tests are collected, and the list of long runs names one that is not among them.
    """
    if list(config.args) == config.getini("testpaths") and (gone := unknown(item.nodeid for item in items)):
        raise pytest.UsageError(f"{LIST.name} names tests that there are not: {', '.join(gone)}")
    for item in items:
        if is_long(item.nodeid):
            item.add_marker(pytest.mark.slow)
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank(group_of(item.nodeid)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Modules and tests that come to stay are no garbage: a look for some goes through all of them, again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """What is there for the whole run, all modules and tests, is not gone through at every collection of garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def only_here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], None]:
    """Refuses in a second process of the run what belongs in one of them: `only_here(what)`."""
    shared = getattr(request.config.option, "loadgroup", False)  # set by xdist, in its processes
    run = tmp_path_factory.getbasetemp().parent
    ours = set[str]()  # a file whose functions and doctests are collected apart begins twice

    def claim(what: str) -> None:
        try:
            if shared and what not in ours:
                ours.add(what)
                (run / f"claimed-{what.replace('/', '-')}").touch(exist_ok=False)
        except FileExistsError:
            raise AssertionError(f"{what} is in two processes of one run: see tests/groups.py") from None

    return claim


@pytest.fixture(scope="module", autouse=True)
def file_in_one_process(request: pytest.FixtureRequest, only_here: Callable[[str], None]) -> None:
    """What a file makes once is made once a run, which nothing else would show but the time it takes."""
    only_here(request.node.nodeid)


@pytest.fixture(scope="session", autouse=True)
def one_ray() -> Iterator[pytest.MonkeyPatch]:
    """No test of this process starts a Ray of its own by mistake, which takes it ten seconds: `ray_here` is there."""
    from cvbench.jobs.running.session import RaySession

    def refuse(session: RaySession, ray: object) -> None:
        raise AssertionError("a test that runs on Ray takes the fixture ray_here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RaySession, "_start_local", refuse)
        yield patch


@pytest.fixture(scope="session", autouse=True)
def work_stays_here() -> Iterator[None]:
    """Work does not become long, and go on on a Ray, because the first of its units was held up by something else."""
    from cvbench.jobs.running import executor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "WORTH_A_RAY", math.inf)
        yield


@pytest.fixture(scope="session")
def ray_here(one_ray: pytest.MonkeyPatch, only_here: Callable[[str], None]) -> Iterator[None]:
    """One private local Ray with two CPU slots for all tests that can share it: jobs use a Ray that is there."""
    only_here("ray_here")
    import ray

    from cvbench.jobs.running.cluster import Cluster
    from cvbench.jobs.running.session import RaySession

    one_ray.undo()
    be_patient()
    one_ray.setenv("RAY_metrics_report_interval_ms", "1000")  # else who waits for a counter waits ten seconds
    with RaySession(Cluster(address="local", actors=2)):
        yield
    assert not ray.is_initialized()


@pytest.fixture(autouse=True)
def nothing_is_held(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test gives back what it took of the Ray that all share: the next that needs both slots would wait for ever."""
    yield
    if "ray_here" not in request.fixturenames:
        return
    import ray as untyped

    ray: Any = untyped
    whole, end = ray.cluster_resources().get("CPU", 0), time.monotonic() + GIVEN_BACK
    while ray.available_resources().get("CPU", 0) < whole:
        assert time.monotonic() < end, "the test left actors or placement groups that hold Ray's slots"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def start() -> Iterator[Start]:
    """Starts a command line as a process of its own: `start(words)`."""
    server = ForkServer()
    yield server.start
    server.close()


@pytest.fixture
def cupy() -> Iterator[Any]:
    """CuPy on a card; without one the stand-in of `tests.standin`, and torch's tensors pretend too."""
    from tests.standin.plug import plugged, real

    module = real()
    if module is not None:
        yield module
        return
    with plugged() as module:
        yield module
