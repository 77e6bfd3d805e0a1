"""A connection to Ray, its actors and what it has to give."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from cvbench.errors import ClusterError
from cvbench.jobs.running.cluster import Cluster, Worker, WorkerRecipe

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
            with _own_signals():
                if self.cluster.address == "local":
                    self._start_local(ray)
                else:
                    ray.init(address=self.cluster.address, log_to_driver=False)
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
        ray.init(
            address="local",
            num_cpus=cores,
            include_dashboard=False,
            object_store_memory=100 * 1024 * 1024,
            log_to_driver=False,
            configure_logging=False,
        )

    def __exit__(self, *exc: object) -> None:
        if self._ours:
            self.close()

    def close(self) -> None:
        """End the Ray that was started, or leave the one that was joined."""
        import ray

        with _own_signals():
            ray.shutdown()

    def capacity(self) -> int:
        """Count the actors that fit on the cluster.

        Raises:
            ClusterError: Not a single one does.
        """
        kind, each = ("GPU", 1) if self.cluster.device == "cuda" else ("CPU", self.cluster.threads)
        total = int(resources().get(kind, 0) // each)
        if total < 1:
            raise ClusterError(
                f"the cluster has no {kind} for an actor",
                why=f"resources: {resources()}",
                fix="add a worker node, or pass --device cpu",
            )
        return total

    def actor(self, recipe: WorkerRecipe[Any, Any]) -> Any:
        """A new actor that builds its worker on the first task, so that a failure arrives as that task's error."""
        import ray

        gpus = 1 if self.cluster.device == "cuda" else 0
        remote = ray.remote(_Actor).options(
            num_gpus=gpus,
            num_cpus=0 if gpus else self.cluster.threads,
            max_restarts=0,  # the pool owns restarts and retries
            max_task_retries=0,
            max_concurrency=self.cluster.in_flight,
        )
        return remote.remote(recipe)


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


class _Actor:
    """The Ray side of a worker."""

    def __init__(self, recipe: WorkerRecipe[Any, Any]) -> None:
        self._recipe = recipe
        self._lock = threading.Lock()
        self._worker: Worker[Any, Any] | None = None

    def run(self, task: Any) -> Any:
        with self._lock:  # two tasks arrive at once; only one builds
            if self._worker is None:
                self._worker = self._recipe.build()
        return self._worker.run(task)


def choose_device(device: str, address: str) -> str:
    """ "cpu" or "cuda": as asked, or, for "auto", whether this machine or the cluster joined has a GPU.

    Raises:
        UnknownNameError: Another word.
        ResourceError: CUDA is asked for on this machine, and there is none.
    """
    from cvbench.engine.models.devices import resolve_device

    if address in ("none", "local") or device == "cpu":
        return resolve_device(device).type
    if device == "cuda":
        return device  # the driver's own machine need not have a GPU
    resolve_device(device)  # refuses an unknown word
    with RaySession(Cluster(address=address)):
        return "cuda" if resources().get("GPU", 0) >= 1 else "cpu"


def resources() -> dict[str, float]:
    """All resources of the cluster that was joined: {"CPU": 2.0, "GPU": ...}."""
    import ray

    known: Any = ray.cluster_resources  # untyped
    return dict(known())
