"""What `--address auto` means: this process, unless there is more than one process could use."""

from __future__ import annotations

import os
import sys

from cvbench.errors import UsageError

AUTO = "auto"
RAY_ADDRESS = "RAY_ADDRESS"


def settle(address: str, device: str, actors: int | None) -> str:
    """The place that is meant: "none", "local" or the address of a cluster.

    "auto" is the cluster that RAY_ADDRESS names (Ray sets it within its jobs); else a private Ray where several GPUs,
    or several actors, are to be used; else this process, which starts in a third of the time.

    Args:
        address: As typed.
        device: "auto", "cpu" or "cuda", as typed.
        actors: How many are asked for.

    Raises:
        UsageError: RAY_ADDRESS names the page of a cluster, not the cluster.
    """
    if address != AUTO:
        return address
    named = os.environ.get(RAY_ADDRESS, "").strip()
    if named.startswith(("http://", "https://")):
        raise UsageError(
            f"{RAY_ADDRESS}={named} is the page of a cluster, where jobs are handed in",
            why="a run joins a cluster by its host and port",
            fix="ray job submit -- cvbench ..., or --address HOST:PORT, or --address none",
        )
    if named:
        return named
    if (actors or 1) > 1 or (device != "cpu" and actors is None and _gpus_here() > 1):
        return "local"
    return "none"


def cores_here() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shares(number: int) -> list[list[int]]:
    """Cut the cores that this process may use into `number` shares, none of them empty; by their numbers.

    Raises:
        ValueError: There are fewer cores.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(cores_here()))
    if not 1 <= number <= len(cores):
        raise ValueError(f"{len(cores)} cores are no {number} shares")
    return [cores[i * len(cores) // number : (i + 1) * len(cores) // number] for i in range(number)]


_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/nvmap")
"""What a driver of GPUs opens on Linux: NVIDIA's, AMD's, those of WSL and of Tegra."""


def may_have_gpu() -> bool:
    """Whether this machine may have a GPU that torch uses: a look at files, where torch takes seconds to be asked.

    >>> may_have_gpu() or not _gpus_here()
    True
    """
    return sys.platform != "linux" or any(map(os.path.exists, _DRIVERS))


def _gpus_here() -> int:
    if not may_have_gpu():
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
