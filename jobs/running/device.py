"""The device that a run is on: what was typed or, on a cluster, what it has or its autoscaler starts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cvbench.errors import ClusterError
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.place import cores_here, may_have_gpu
from cvbench.jobs.running.session import RaySession
from cvbench.jobs.running.supply import QUIET, cores_for_each, nodes, outlook

PATIENCE = 60.0  # seconds in which an autoscaler must have begun to start a node


@dataclass(frozen=True)
class Chosen:
    """A device, the CPU cores that each of its actors has to itself, and what to say of the choice."""

    device: str
    cores: int = 0
    notes: tuple[str, ...] = ()


def choose(device: str, address: str) -> Chosen:
    """The device that is meant. On a cluster "auto" is the GPU, if a node has one or its autoscaler starts one.

    Args:
        device: "auto", "cpu" or "cuda", as typed.
        address: A settled place, see `place.settle`.

    Raises:
        UnknownNameError: Another word.
        ResourceError: CUDA is asked for on this machine, and there is none.
        ClusterError: The cluster does not answer; or it has an autoscaler, and that starts nothing with a GPU.
    """
    if address in ("none", "local") and (device == "cpu" or (device == "auto" and not may_have_gpu())):
        return Chosen("cpu")
    from cvbench.engine.models.devices import resolve_device

    if address in ("none", "local"):
        found = resolve_device(device).type
        return Chosen(found, _cores_for_each_here() if (found, address) == ("cuda", "local") else 0)
    if device == "cpu":
        return Chosen("cpu")
    if device != "cuda":
        resolve_device(device)  # refuses an unknown word
    with RaySession(Cluster(address=address)):
        cores = cores_for_each(nodes())
        if cores is not None or device == "cuda":  # for "cuda" the run itself waits
            return Chosen("cuda", cores or 0)
        return _of_autoscaler()


def _cores_for_each_here() -> int:
    import torch

    return cores_here() // max(torch.cuda.device_count(), 1)


def _of_autoscaler() -> Chosen:
    """Ask for a GPU, and see what comes of it."""
    begin = time.monotonic()
    with _demand() as there:
        while (waited := time.monotonic() - begin) < PATIENCE:
            if there(1.0):
                return Chosen("cuda", cores_for_each(nodes()) or 0)
            seen = outlook()
            if seen is None and waited < QUIET:
                continue
            if seen is None or not seen.scales:
                return Chosen("cpu", notes=("the cluster has no GPU, and nothing that would start one: CPUs compute",))
            if seen.hopeless:
                return Chosen("cpu", notes=("the cluster has no kind of node with a GPU: CPUs compute",))
            if seen.coming:
                return Chosen("cuda", notes=("no GPU is there yet; the cluster's autoscaler starts nodes",))
    raise ClusterError(
        f"the cluster has no GPU, and its autoscaler has begun to start none in {PATIENCE:.0f} s",
        why=str(seen),
        fix="--device cuda waits for one, --device cpu computes on CPUs; `ray status` says what is in the way",
    )


@contextmanager
def _demand() -> Iterator[Any]:
    """Demand one GPU as long as the context lasts; gives what waits for it: seconds -> whether it is there."""
    from ray.util import placement_group, remove_placement_group

    ask: Any = placement_group
    take: Any = remove_placement_group
    group = ask([{"GPU": 1}])
    try:
        yield lambda seconds: group.wait(timeout_seconds=seconds)
    finally:
        take(group)
