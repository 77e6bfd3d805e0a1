"""Where a command runs, as it is typed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from cvbench.options import Form, Option

if TYPE_CHECKING:
    from cvbench.jobs.running.cluster import Cluster

MOST_THREADS = 1024
"""No machine has more cores for one process; each thread takes memory of its own."""


@dataclass(frozen=True)
class Hardware:
    """Hardware that a command runs on."""

    address: Annotated[
        str,
        Option(
            '"auto" is the cluster that RAY_ADDRESS names, else a private Ray with several GPUs, else this process; '
            '"none" is this process, "local" a private Ray, anything else the address of a Ray cluster.',
            variable="CVBENCH_ADDRESS",
            such_as=("auto", "none", "local"),
        ),
    ] = "auto"
    device: Annotated[str, Option("auto: a GPU if there is one.", values=("auto", "cpu", "cuda"))] = "auto"
    gpus: Annotated[int | None, Option("How many GPUs (actors) to use; default all.", least=1)] = None
    threads: Annotated[
        int | None,
        Option("CPU cores of one actor; of one with a GPU, those that it decodes on.", least=1, most=MOST_THREADS),
    ] = None
    wait: Annotated[float, Option("Seconds to wait for nodes that a cluster starts.", least=1)] = 1200.0
    wheel: Annotated[str | None, Option("Wheel of cvbench that the actors of a joined cluster are to run.")] = None

    def settled(self) -> Hardware:
        """Hardware with "auto" replaced by the place that it means here.

        Raises:
            UsageError: RAY_ADDRESS names no cluster that can be joined.
        """
        from cvbench.jobs.running.place import settle

        return replace(self, address=settle(self.address, self.device, self.gpus))

    def cluster(self, threads: int = 1) -> Cluster:
        """The cluster that is meant; `threads` if nothing was said of them.

        Raises:
            UnknownNameError: A device that does not exist.
            UsageError: RAY_ADDRESS names no cluster that can be joined, or the wheel is no file.
            ClusterError: A cluster does not answer, or starts no node.
        """
        from cvbench.jobs.running.cluster import Cluster
        from cvbench.jobs.running.device import choose
        from cvbench.jobs.running.place import AUTO, cores_here
        from cvbench.jobs.running.places import wheel_file

        address = self.settled().address
        chosen = choose(self.device, address)
        unsaid = self.address == AUTO and self.threads is None and self.gpus is None
        return Cluster(
            address=address,
            device=chosen.device,
            actors=self.gpus,
            threads=(self.threads or threads) if chosen.device == "cpu" else threads,
            spills=unsaid and (address, chosen.device) == ("none", "cpu") and cores_here() > 1,
            cores=chosen.cores if self.threads is None or address == "none" else self.threads,
            wait=self.wait,
            wheel=wheel_file(self.wheel),
            notes=chosen.notes,
        )


HERE = Form(Hardware, only=("address", "device"), defaults={"address": "none"})
"""Of a command whose work is done in this process."""

SIDE_BY_SIDE = Form(
    Hardware,
    only=("address", "device", "threads"),
    help={
        "address": '"none" runs one after the other in this process, "local" side by side on a private Ray, "auto" on '
        "the cluster that RAY_ADDRESS names, else the address of a Ray cluster.",
        "threads": "CPU cores of one task (with Ray).",
    },
    defaults={"address": "none"},
)
"""Of a command with few long tasks: worth a Ray only where they are long."""
