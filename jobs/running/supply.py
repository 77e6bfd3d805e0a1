"""What a place has for actors, and what its autoscaler would start for them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN_TYPE = "node_"  # what Ray calls the nodes of a cluster that nothing scales
QUIET = 15.0  # seconds after which a cluster that says nothing of an autoscaler has none
STALE = 120.0  # seconds: an older report is of an autoscaler that has ended


@dataclass(frozen=True)
class Outlook:
    """State of an autoscaler, as it says.

    Attributes:
        scales: Whether there is one that starts nodes.
        coming: Names of the kinds of the nodes that are being started, one for each.
        hopeless: It has no kind of node for some demand.
        failed: Why the last start failed; "": none did.
    """

    scales: bool
    coming: tuple[str, ...] = ()
    hopeless: bool = False
    failed: str = ""

    def __str__(self) -> str:
        said = f"{len(self.coming)} nodes are being started" if self.coming else "no node is being started"
        return said + (f"; a start failed: {self.failed}" if self.failed else "")


def nodes() -> list[dict[str, float]]:
    """Resources of every node that is alive, as Ray names them."""
    import ray

    known: Any = ray.nodes  # untyped
    return [dict(node["Resources"]) for node in known() if node["Alive"]]


def places(needs: Mapping[str, float], found: Iterable[Mapping[str, float]]) -> int:
    """Count the actors with these needs that fit on nodes.

    >>> places({"GPU": 1, "CPU": 8}, [{"GPU": 4.0, "CPU": 16.0}, {"CPU": 64.0}])
    2
    """
    wanted = {name: each for name, each in needs.items() if each}
    return sum(min(int(node.get(name, 0) // each) for name, each in wanted.items()) for node in found)


def cores_for_each(found: Iterable[Mapping[str, float]]) -> int | None:
    """CPU cores for each GPU, where they are fewest; None if no node has a GPU.

    >>> cores_for_each([{"CPU": 2.0}, {"CPU": 32.0, "GPU": 4.0}, {"CPU": 10.0, "GPU": 1.0}])
    8
    """
    shares = [int(node.get("CPU", 0) // node["GPU"]) for node in found if node.get("GPU", 0) >= 1]
    return min(shares, default=None)


def outlook() -> Outlook | None:
    """Ask what the autoscaler of the joined cluster says; None if nothing has been said yet."""
    import ray

    known: Any = ray.get_runtime_context  # untyped
    try:
        address = known().gcs_address
        return _second(address) or _first(address)
    except Exception:  # a client's connection has no address; Ray's own state changes from version to version
        return None


def heard() -> Outlook | None:
    """Wait for the same, as long as a cluster that has just begun may say nothing."""
    begin = time.monotonic()
    while (seen := outlook()) is None and time.monotonic() - begin < QUIET:
        time.sleep(1.0)
    return seen


def _second(address: str) -> Outlook | None:
    """Report of the second kind of autoscaler (`ray up` and KubeRay take it by default)."""
    from ray import _raylet
    from ray.core.generated import autoscaler_pb2

    raylet: Any = _raylet  # compiled, or generated: without types
    messages: Any = autoscaler_pb2
    reply = messages.GetClusterStatusReply()
    reply.ParseFromString(raylet.GcsClient(address=address).get_cluster_status(timeout_s=10))
    state = reply.autoscaling_state
    if not state.autoscaler_state_version:
        return None
    types = [node.ray_node_type_name for node in reply.cluster_resource_state.node_states]
    asked = [one.ray_node_type_name for one in state.pending_instance_requests for _ in range(one.count)]
    coming = [*asked, *(one.ray_node_type_name for one in state.pending_instances)]
    failed = [one.reason for one in state.failed_instance_requests]
    hopeless = bool(state.infeasible_resource_requests or state.infeasible_gang_resource_requests)
    return Outlook(_described(types), tuple(coming), hopeless, failed[-1][:200] if failed else "")


def _first(address: str) -> Outlook | None:
    """Report of the first kind: JSON, written every few seconds."""
    from ray import _raylet
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS

    raylet: Any = _raylet  # compiled: without types
    said = raylet.GcsClient(address=address).internal_kv_get(
        DEBUG_AUTOSCALING_STATUS.encode(), namespace=None, timeout=10
    )
    status = _read(said)
    report = status.get("autoscaler_report")
    if not isinstance(report, dict) or time.time() - float(status.get("time", 0)) > STALE:
        return None
    launches = dict(report.get("pending_launches") or {})
    coming = [name for name, count in launches.items() for _ in range(int(count))]
    coming += [str(node[1]) for node in report.get("pending_nodes") or []]
    failed = report.get("failed_nodes") or []
    active = report.get("active_nodes") or {}
    return Outlook(_described(active), tuple(coming), False, str(failed[-1]) if failed else "") if active else None


def _read(said: bytes | None) -> dict[str, Any]:
    try:
        status = json.loads(said or b"{}")
    except (ValueError, RecursionError):
        return {}
    return status if isinstance(status, dict) else {}


def _described(types: Iterable[str]) -> bool:
    """Whether nodes are of kinds that somebody has described; a head may have no name of its own."""
    return not any(name.startswith(UNKNOWN_TYPE) for name in types)
