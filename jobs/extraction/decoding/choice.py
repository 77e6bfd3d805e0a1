"""Threads or processes: which decode, and how many of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.place import cores_here

DecodeIn = Literal["auto", "threads", "processes"]

ENOUGH_CORES = 8
"""Of an actor with a GPU: from here on processes decode faster than threads, which share Python's lock."""
KEPT = 2
"""Cores that are not for decoding: for the thread that launches, and for the one that writes."""
THREADS_MOST = 1_740.0
"""Images a second, 500 x 375 JPEGs for two backbones, that the threads of one process decode at most (a model, from a
profile on two cores: `docs/scale.md`)."""


@dataclass(frozen=True)
class Decoding:
    """So many threads of an actor's process, or processes of their own, that decode."""

    number: int
    processes: bool = False


def in_processes(asked: DecodeIn, device: str, cores: int) -> bool:
    """Whether processes decode for an actor with so many cores, if nothing else is asked for.

    >>> in_processes("auto", "cuda", 16), in_processes("auto", "cuda", 4), in_processes("auto", "cpu", 64)
    (True, False, False)
    """
    return asked == "processes" or (asked == "auto" and device == "cuda" and cores >= ENOUGH_CORES)


def settled(asked: DecodeIn, cluster: Cluster, threads: int | None = None) -> Decoding:
    """Say how each actor of a place decodes.

    Args:
        asked: "auto": processes beside a GPU with enough cores that are known to be the actor's own, else threads. On a
            CPU the forward pass is what takes the time, and wants the cores.
        threads: How many, if that is asked for.
    """
    known = cores_here() if cluster.address == "none" else cluster.cores
    if in_processes(asked, cluster.device, known):
        if cluster.device == "cpu":
            return Decoding(threads or max(1, cores_here() if cluster.address == "none" else cluster.threads), True)
        return Decoding(threads or max(1, (known or os.cpu_count() or 1) - KEPT), True)
    return Decoding(threads or _threads(cluster))


def _threads(cluster: Cluster) -> int:
    if cluster.device == "cpu":
        return max(cores_here() if cluster.address == "none" else 1, cluster.threads)
    return cluster.cores or max(4, min(16, (os.cpu_count() or 8) // 2))
