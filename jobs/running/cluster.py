"""What runs and where: the worker of a job, the recipe that builds it on an actor, and the place that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

Task_contra = TypeVar("Task_contra", contravariant=True)
Receipt_co = TypeVar("Receipt_co", covariant=True)


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
            machine; anything else ("host:port", "ray://...", Ray's own "auto") joins that cluster.
        device: "cpu" or "cuda"; an actor on "cuda" owns one GPU.
        actors: How many actors; None is as many as fit (one per GPU, or one per `threads` CPU cores).
        threads: CPU cores of one actor on "cpu".
        in_flight: Tasks handed to one actor at a time.
        attempts: How often a task may fail before the job gives up.
        deadline: Seconds after which a task is also given to somebody else; None derives it from the median so far.
        cores: CPU cores that each actor on "cuda" has to itself, to decode on; 0: none are reserved.
        wait: Seconds that a run may be without any actor: nodes start, or others have what they hold.
        wheel: Path of a wheel of cvbench that the actors of a joined cluster run; None: what their nodes have.
        spills: Of "none": work that turns out to be long goes on on a private Ray, one actor for each core. Bytes are
            the same; with more threads in one process they would not be, as some sums of torch depend on their number.
        notes: What a person should know of how the place was chosen.
    """

    address: str = "local"
    device: str = "cpu"
    actors: int | None = None
    threads: int = 1
    in_flight: int = 2  # so that an actor decodes one unit while it computes and writes another
    attempts: int = 3
    deadline: float | None = None
    cores: int = 0
    wait: float = 1200.0
    wheel: str | None = None
    spills: bool = False
    notes: tuple[str, ...] = ()

    @property
    def joined(self) -> bool:
        """Whether its nodes are others' business: neither this process nor a Ray that it starts."""
        return self.address not in ("none", "local")

    @property
    def needs(self) -> dict[str, float]:
        """Resources of one actor, as Ray names them."""
        if self.device == "cuda":
            return {"GPU": 1, "CPU": self.cores}
        return {"CPU": self.threads}
