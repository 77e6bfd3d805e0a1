"""A connection to Ray, its actors and what it has to give."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from cvbench.errors import ClusterError
from cvbench.jobs.running.cluster import Cluster, Worker, WorkerRecipe
from cvbench.jobs.running.logs import keep_logs
from cvbench.jobs.running.places import unpacked
from cvbench.jobs.running.supply import heard, nodes, outlook, places
from cvbench.jobs.running.token import own_token
from cvbench.jobs.running.versions import Hello, hello

_SHARED: ContextVar[list[RaySession] | None] = ContextVar("shared", default=None)
"""Within `shared_ray`, the session that has started or joined a Ray, once one has."""


@contextmanager
def shared_ray() -> Iterator[None]:
    """Within it the Ray that a job starts or joins stays for the next job; without any that needs one, none starts."""
    opened: list[RaySession] = []
    token = _SHARED.set(opened)
    try:
        yield
    finally:
        _SHARED.reset(token)
        for session in opened:
            session.close()


class RaySession:
    """A connection to Ray: the private local one is started and stopped here, a cluster is only joined and left."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._ours = False

    def __enter__(self) -> RaySession:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # num_gpus=0 leaves CUDA_VISIBLE_DEVICES alone
        import ray

        if ray.is_initialized():  # the caller's own: used, and left alone
            return self
        try:
            _check_port(self.cluster.address)
            keep_logs()
            with _own_signals():
                if self.cluster.address == "local":
                    self._start_local(ray)
                else:
                    self._join(ray)
        except Exception as error:  # Ray raises many kinds, and plain ones
            raise _unreachable(self.cluster.address, error) from error
        shared = _SHARED.get()
        if shared is None:
            self._ours = True
        else:
            shared.append(self)
        return self

    def _start_local(self, ray: Any) -> None:
        # Features go from the actor to the store, never through Ray: a small object store is enough.
        cores = max(os.cpu_count() or 1, (self.cluster.actors or 1) * self.cluster.threads)
        own_token()
        with on_loopback():
            ray.init(
                address="local",
                num_cpus=cores,
                include_dashboard=False,
                object_store_memory=100 * 1024 * 1024,
                log_to_driver=True,
                configure_logging=False,
            )

    def _join(self, ray: Any) -> None:
        join = partial(ray.init, address=self.cluster.address, log_to_driver=True, configure_logging=False)
        if self.cluster.wheel is None:
            join()
            return
        with unpacked(self.cluster.wheel) as package:  # as a wheel Ray would install it, and all that it depends on
            join(runtime_env={"py_modules": [str(package)]})

    def __exit__(self, *exc: object) -> None:
        if self._ours:
            self.close()

    def close(self) -> None:
        """End the Ray that was started, or leave the one that was joined."""
        import ray

        with _own_signals():
            ray.shutdown()

    def demand(self) -> tuple[int, bool]:
        """Count the actors to ask for at first; and say whether more may be asked for: a cluster grows by being asked.

        Raises:
            ClusterError: Not a single one fits, and none ever will.
        """
        if self.cluster.actors is not None:
            return self.cluster.actors, False
        found = nodes()
        total = places(self.cluster.needs, found)
        seen = None
        if self.cluster.joined:
            seen = outlook() if total else heard()
        if seen is not None and seen.scales:
            return max(total, FIRST_ASKED), True
        if total < 1:
            kind = "GPU" if self.cluster.device == "cuda" else "CPU"
            raise ClusterError(
                f"the cluster has no {kind} for an actor",
                why=f"an actor needs {self.cluster.needs}; nodes: {_summed(found)}",
                fix="add a worker node, or pass --device cpu",
            )
        return total, False

    def actor(self, recipe: WorkerRecipe[Any, Any]) -> Any:
        """A new actor that builds its worker on the first task, so that a failure arrives as that task's error."""
        import ray

        needs = self.cluster.needs
        remote = ray.remote(_Actor).options(
            num_gpus=needs.get("GPU", 0),
            num_cpus=needs["CPU"],
            max_restarts=0,  # the pool owns restarts and retries
            max_task_retries=0,
            max_concurrency=self.cluster.in_flight,
            runtime_env={"env_vars": _environment()} if self.cluster.joined else None,
        )
        return remote.remote(recipe)

    def waiting(self, there: int, asked: int) -> str:
        """Word of what is waited for, while not all actors are there that were asked for."""
        kind = "GPUs" if self.cluster.device == "cuda" else "CPU slots"
        seen = outlook() if self.cluster.joined else None
        said = f"waiting for {kind}: {there} of {asked} are there"
        return f"{said}; {seen}" if seen is not None and seen.scales else said

    def lacking(self, waited: float, asked: int) -> ClusterError:
        """The error for a run that no actor came to."""
        seen = outlook() if self.cluster.joined else None
        return ClusterError(
            f"no actor has started in {waited:.0f} s, and {asked} were asked for",
            why=f"one needs {self.cluster.needs}; nodes: {_summed(nodes())}; "
            + (str(seen) if seen is not None and seen.scales else "nothing starts more of them"),
            fix="`ray status` says what is in the way; --wait SECONDS waits longer; the same command resumes",
        )


_GLOO = "GLOO_SOCKET_IFNAME"
"""How Gloo is told its interface."""
FIRST_ASKED = 4
"""Actors that a cluster which grows is asked for at first, if there are fewer places."""
CARRIED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "HF_HUB_OFFLINE")
"""Variables that actors on other nodes get from the driver, where it has them."""


def _environment() -> dict[str, str]:
    """Variables of an actor on a node of a joined cluster; a private Ray inherits them."""
    given = {name: os.environ[name] for name in CARRIED if name in os.environ}
    return {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive"), **given}


def _summed(found: Sequence[Mapping[str, float]]) -> str:
    """Nodes in a few words."""
    named = [f"{node.get('CPU', 0):g} CPU + {node.get('GPU', 0):g} GPU" for node in found]
    return ", ".join(f"{count} x ({name})" for name, count in Counter(named).items()) or "none"


_OF_TOKENS = re.compile(r"unauthenticated|unauthori[sz]ed|auth\w* token|token auth", re.IGNORECASE)


def _unreachable(address: str, error: Exception) -> ClusterError:
    """The error for a Ray that does not answer, or that refuses us for want of its token."""
    text = str(error)
    if _OF_TOKENS.search(text):
        return ClusterError(
            f"the cluster at {address!r} wants a token, and has none or another one of us",
            why=next(line.strip() for line in text.splitlines() if _OF_TOKENS.search(line))[:200],
            fix="RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=FILE before the command, with the file of the head",
        )
    return ClusterError(
        f"Ray cannot be reached at {address!r}",
        why=text.splitlines()[0] if text else type(error).__name__,
        fix="--address local starts a private Ray; --address none runs without Ray",
    )


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this process does at an interrupt or a termination: `ray.init` makes the latter a crash.

    Python's own table of handlers is not enough to go by: Ray also installs one below it, in C, and takes it away with
    `ray.shutdown`, which leaves the system's default.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread may; Ray does not either
        yield
        return
    held = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in held.items():
            if handler is not None:  # None: it was not set from Python
                signal.signal(number, handler)


def _check_port(address: str) -> None:
    """Try the port of a "host:port" address: Ray itself would try for minutes before it gives up."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=10):
            pass


@contextmanager
def on_loopback() -> Iterator[None]:
    """Within it a Ray that starts listens on this machine's loopback alone.

    Ray does so on systems where it supports one node only, and asks a variable which these are; the address of a node
    that is given to it is changed to the machine's own. Gloo, by which processes train together, takes the interface
    that the machine's name leads to, which may be any, unless it is given one.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    given = {ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if loopback and _GLOO not in os.environ:
        given[_GLOO] = loopback[0]
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with set_variables(given):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def set_variables(given: Mapping[str, str]) -> Iterator[None]:
    """Within it these variables of the environment are set; after it they are as before."""
    held = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, before in held.items():
            if before is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = before


class _Actor:
    """The Ray side of a worker."""

    def __init__(self, recipe: WorkerRecipe[Any, Any]) -> None:
        self._recipe = recipe
        self._lock = threading.Lock()
        self._worker: Worker[Any, Any] | None = None

    def hello(self) -> Hello:
        """Say where this is, and with which versions; answered once the actor has its place."""
        return hello()

    def run(self, task: Any) -> Any:
        with self._lock:  # two tasks arrive at once; only one builds
            if self._worker is None:
                self._worker = self._recipe.build()
        return self._worker.run(task)
