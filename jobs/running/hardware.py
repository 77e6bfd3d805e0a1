"""Where a command runs, as it is typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cvbench.options import Form, Option

if TYPE_CHECKING:
    from cvbench.jobs.running.cluster import Cluster


@dataclass(frozen=True)
class Hardware:
    """Hardware that a command runs on."""

    address: Annotated[
        str,
        Option(
            '"local" starts a private Ray, "none" runs in this process, else the address of a Ray cluster.',
            variable="CVBENCH_ADDRESS",
        ),
    ] = "local"
    device: Annotated[str, Option("auto, cpu or cuda.")] = "auto"
    gpus: Annotated[int | None, Option("How many GPUs (actors) to use; default all.", least=1)] = None
    threads: Annotated[int | None, Option("CPU cores of one actor (CPU only).", least=1)] = None

    def cluster(self, threads: int = 1) -> Cluster:
        """The cluster that is meant; `threads` if nothing was said of them.

        Raises:
            UnknownNameError: A device that does not exist.
        """
        from cvbench.jobs.running.cluster import Cluster
        from cvbench.jobs.running.session import choose_device

        chosen = choose_device(self.device, self.address)
        return Cluster(address=self.address, device=chosen, actors=self.gpus, threads=self.threads or threads)


HERE = Form(Hardware, only=("address", "device"), defaults={"address": "none"})
"""Of a command whose work is done in this process."""

SIDE_BY_SIDE = Form(
    Hardware,
    only=("address", "device", "threads"),
    help={
        "address": '"none" runs one after the other in this process, "local" side by side on a private Ray, else the '
        "address of a Ray cluster.",
        "threads": "CPU cores of one task (with Ray).",
    },
    defaults={"address": "none"},
)
"""Of a command with few long tasks: worth a Ray only where they are long."""
