"""Versions of what computes, on the driver and on every actor: what may differ between them, and what may not.

Packages that decide bytes must be the same on an actor as on the driver, which plans the run and digests the weights.
Their builds may differ (a head without a GPU has torch's CPU wheel): a local part, "+cu126", is not compared. All else
may differ, and is said. What an actor has, not what the driver has, is recorded with each unit that it commits.
"""

from __future__ import annotations

import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cvbench import __version__
from cvbench.errors import ClusterError

DECIDE = ("cvbench", "torch", "torchvision", "timm", "pillow", "numpy")
"""Packages that decide bytes: of features, and of partials, which NumPy and its BLAS compute on a CPU."""
SAID = ("python", "ray", "cupy")


@dataclass(frozen=True)
class Hello:
    """An actor's first words: its host's name, its address, its process, and the version of each package ("": none)."""

    node: str
    address: str
    pid: int
    versions: Mapping[str, str]


def versions() -> dict[str, str]:
    """Name -> version, of `DECIDE` and `SAID`, in this process; nothing is imported for it."""
    found = {name: installed(name) for name in (*DECIDE, *SAID) if name not in ("cvbench", "python", "cupy")}
    cupy = installed("cupy-cuda12x") or installed("cupy-cuda13x")
    return {"cvbench": __version__, "python": platform.python_version(), "cupy": cupy, **found}


def hello() -> Hello:
    """The first words of this process, which is one of Ray's."""
    import os

    from ray.util import get_node_ip_address

    address: Any = get_node_ip_address  # untyped
    return Hello(socket.gethostname(), str(address()), os.getpid(), versions())


def compare(here: Mapping[str, str], there: Hello) -> str | None:
    """Word of an actor whose versions are not those of the driver; None if they are.

    Raises:
        ClusterError: A package that decides bytes has another version.
    """
    others = {name: (here[name], there.versions.get(name, "")) for name in here}
    differ = {name: pair for name, pair in others.items() if _public(pair[0]) != _public(pair[1])}
    if not differ:
        return None
    told = ", ".join(f"{name} {far or 'none'} instead of {near or 'none'}" for name, (near, far) in differ.items())
    if differ.keys() & set(DECIDE):
        raise ClusterError(
            f"the node {there.node} computes with other versions than the command",
            where=f"process {there.pid} of {there.address}",
            why=told,
            fix="the same packages on every node (constraints.txt); of cvbench itself --wheel FILE brings its own",
        )
    return f"the node {there.node} has other versions, which its units record: {told}"


def _public(number: str) -> str:
    """A version without the part that names a build."""
    return number.partition("+")[0]


@cache  # each reading parses all that a package says about itself
def installed(package: str) -> str:
    """The version of a package in this process, which does not change while it runs; "" if there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
