"""Runs units of work, on Ray actors or in this process, for every job alike.

A job hands over a *recipe* (how to build a worker; it travels to the actors) and *tasks* (small picklable values).
A worker must be idempotent: a task may run twice, if an actor dies, is overdue or freezes; the late result is dropped.
The store's ledger makes that harmless. Nothing that matters is kept here: the same command goes on where this ended.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from cvbench.errors import ClusterError, CvbenchError, IncompleteError

Task_contra = TypeVar("Task_contra", contravariant=True)
Receipt_co = TypeVar("Receipt_co", covariant=True)
Task = TypeVar("Task")
Receipt = TypeVar("Receipt")


@runtime_checkable
class Worker(Protocol[Task_contra, Receipt_co]):
    """The object that an actor holds. Two threads may call `run` at once: one unit decodes while another writes."""

    def run(self, task: Task_contra) -> Receipt_co:
        """Do one task and say what was done."""
        ...


class WorkerRecipe(Protocol[Task_contra, Receipt_co]):
    """Builds a worker where it will run. Frozen and picklable."""

    def build(self) -> Worker[Task_contra, Receipt_co]:
        """Load what the worker needs (weights, data set, store)."""
        ...


@dataclass(frozen=True)
class Cluster:
    """Place where tasks run, and the way in which actors get them.

    Attributes:
        address: "none" is a plain loop in this process, the reference for tests; "local" starts a private Ray on this
            machine; anything else ("auto", "ray://...", "host:port") joins that cluster.
        device: "cpu" or "cuda"; an actor on "cuda" owns one GPU.
        actors: How many actors; None is as many as fit (one per GPU, or one per `threads` CPU cores).
        threads: CPU cores of one actor on "cpu".
        in_flight: Tasks handed to one actor at a time.
        attempts: How often a task may fail before the job gives up.
        deadline: Seconds after which a task is also given to somebody else; None derives it from the median so far.
    """

    address: str = "local"
    device: str = "cpu"
    actors: int | None = None
    threads: int = 1
    in_flight: int = 2  # so that an actor decodes one unit while it computes and writes another
    attempts: int = 3
    deadline: float | None = None


def run_tasks(
    recipe: WorkerRecipe[Task, Receipt],
    tasks: Sequence[Task],
    cluster: Cluster,
    on_done: Callable[[Task, Receipt], None] = lambda task, receipt: None,
) -> None:
    """Run every task once, in any order, and report each as it ends.

    Raises:
        CvbenchError: The first error that another attempt would not cure, as the worker raised it.
        IncompleteError: A task failed `cluster.attempts` times.
        ClusterError: Ray cannot be reached, or actors die without any progress.
    """
    if not tasks:
        return
    if cluster.address == "none":
        worker = recipe.build()
        for task in tasks:
            on_done(task, worker.run(task))
        return
    with RaySession(cluster) as session:
        _Pool(session, recipe, tasks, on_done).run()


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
            raise ClusterError(
                f"Ray cannot be reached at {self.cluster.address!r}",
                why=str(error).splitlines()[0] if str(error) else type(error).__name__,
                fix="--address local starts a private Ray; --address none runs without Ray",
            ) from error
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


@dataclass
class _Slot:
    handle: Any
    running: dict[Any, int] = field(default_factory=dict)  # object ref -> task number


@dataclass
class _Pool(Generic[Task, Receipt]):
    """The driver's loop: hands out tasks, collects receipts, replaces the dead, repeats the overdue."""

    session: RaySession
    recipe: WorkerRecipe[Task, Receipt]
    tasks: Sequence[Task]
    on_done: Callable[[Task, Receipt], None]
    slots: list[_Slot] = field(default_factory=list)
    queue: deque[int] = field(default_factory=deque)
    failures: dict[int, int] = field(default_factory=dict)
    started: dict[Any, float] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    durations: list[float] = field(default_factory=list)
    deaths: int = 0  # since the last receipt

    def run(self) -> None:
        cluster = self.session.cluster
        wanted = cluster.actors or self.session.capacity()
        self.queue.extend(range(len(self.tasks)))
        self.slots = [_Slot(self.session.actor(self.recipe)) for _ in range(min(wanted, len(self.tasks)))]
        try:
            while len(self.done) < len(self.tasks):
                self._hand_out()
                self._collect()
                self._repeat_overdue()
        finally:
            for slot in self.slots:
                _kill(slot.handle)

    def _hand_out(self) -> None:
        # Breadth first: every actor gets one task before any gets a second.
        for depth in range(self.session.cluster.in_flight):
            for slot in self.slots:
                if self.queue and len(slot.running) == depth:
                    number = self.queue.popleft()
                    if number not in self.done:
                        ref = slot.handle.run.remote(self.tasks[number])
                        slot.running[ref] = number
                        self.started[ref] = time.monotonic()

    def _collect(self) -> None:
        import ray

        refs = [ref for slot in self.slots for ref in slot.running]
        ready, _ = ray.wait(refs, num_returns=1, timeout=1.0)
        for ref in ready:
            slot = next((s for s in self.slots if ref in s.running), None)
            if slot is None:  # its actor was replaced a moment ago
                continue
            number = slot.running[ref]
            try:
                receipt = ray.get(ref)
            except ray.exceptions.RayActorError as error:
                self._replace(slot, error)
            except ray.exceptions.RayTaskError as error:
                del slot.running[ref]
                self._failed(number, error)
            else:
                del slot.running[ref]
                self._succeeded(number, receipt, time.monotonic() - self.started.pop(ref))

    def _succeeded(self, number: int, receipt: Receipt, seconds: float) -> None:
        self.deaths = 0
        self.durations.append(seconds)
        if number not in self.done:  # else: the repeat of an overdue task won
            self.done.add(number)
            self.on_done(self.tasks[number], receipt)

    def _failed(self, number: int, error: Any) -> None:
        cause = error.cause
        if isinstance(cause, CvbenchError):  # deliberate: another attempt gives the same
            raise cause
        if number in self.done:
            return
        self.failures[number] = self.failures.get(number, 0) + 1
        if self.failures[number] >= self.session.cluster.attempts:
            raise IncompleteError(
                f"a unit failed {self.failures[number]} times",
                where=str(self.tasks[number]),
                why=f"{type(cause).__name__}: {cause}",
                fix="the same command tries again; everything committed is kept",
            ) from error
        self.queue.appendleft(number)

    def _replace(self, slot: _Slot, error: Exception) -> None:
        """A dead actor's tasks go back to the queue; a new actor takes its place."""
        self.deaths += 1
        if self.deaths > 3 * max(len(self.slots), 2):
            raise ClusterError(
                f"{self.deaths} actors died without finishing one unit",
                why=str(error).splitlines()[0],
                fix="check the memory of the nodes (--batch-size, --backbone one at a time); the same command resumes",
            ) from error
        self.queue.extendleft(n for n in slot.running.values() if n not in self.done)
        for ref in slot.running:
            self.started.pop(ref, None)
        _kill(slot.handle)
        self.slots[self.slots.index(slot)] = _Slot(self.session.actor(self.recipe))

    def _repeat_overdue(self) -> None:
        """Give a task past its deadline to an idle actor as well; give up an actor at three times the deadline.

        Ray never reports an actor that is stopped or hangs in a file system, so the driver keeps the time itself.
        """
        deadline = self._deadline()
        now = time.monotonic()
        queued = set(self.queue)
        for slot in list(self.slots):
            late = [(ref, n) for ref, n in slot.running.items() if now - self.started[ref] > deadline]
            if any(now - self.started[ref] > 3 * deadline for ref, _ in late):
                self._replace(slot, TimeoutError(f"no answer for {3 * deadline:.0f} s"))
                continue
            elsewhere = {n for s in self.slots if s is not slot for n in s.running.values()}
            idle = any(not s.running for s in self.slots)
            for _, number in late:
                if idle and number not in self.done and number not in queued and number not in elsewhere:
                    self.queue.append(number)
                    queued.add(number)

    def _deadline(self) -> float:
        if self.session.cluster.deadline is not None:
            return self.session.cluster.deadline
        if len(self.durations) < 3:
            return 1800.0  # nothing to go by yet, and the first task of an actor loads the weights
        return max(60.0, 5 * statistics.median(self.durations))


def _kill(handle: Any) -> None:
    import ray

    ray.kill(handle, no_restart=True)


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
