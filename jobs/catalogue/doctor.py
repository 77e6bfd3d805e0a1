"""What `cvbench doctor` looks at: what is installed here, and whether it fits together, this machine and the network.

Nothing is written, nothing is sent but a request to open a connection. No variable of the environment is shown.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from cvbench import __version__
from cvbench.errors import ClusterError, CvbenchError, ResourceError
from cvbench.jobs.reading.options import DEFAULT_STORE
from cvbench.jobs.running.memory import machine_memory
from cvbench.jobs.running.sizes import human
from cvbench.jobs.running.token import is_open, token_file
from cvbench.options import Option

PACKAGES = ("torch", "torchvision", "timm", "ray", "zarr", "numpy", "scipy", "scikit-learn", "pillow", "pyarrow")
HUB = ("huggingface.co", 443)
LITTLE_MEMORY, LITTLE_DISK = 4 * 10**9, 2 * 10**9  # bytes
DASHBOARD = 8265


@dataclass(frozen=True)
class DoctorOptions:
    """Things to look at."""

    store: Annotated[str, Option("Path or URL of the feature store.")] = DEFAULT_STORE
    data_root: Annotated[str | None, Option("Folder that holds the data sets.", variable="CVBENCH_DATA")] = None
    address: Annotated[str, Option("Address of the Ray cluster to try, if any.", variable="CVBENCH_ADDRESS")] = "local"
    dashboard: Annotated[str | None, Option("URL of the cluster's dashboard; default port 8265 of its address.")] = None
    timeout: Annotated[float, Option("Seconds that a connection may take.", least=0.1)] = 3.0


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        state: "note" is what a person may want to know and need not change; "problem" ends with an exit code.
        said: What was found.
        fix: What to do.
        exit_code: Of a problem.
    """

    name: str
    state: Literal["ok", "note", "problem"]
    said: str
    fix: str | None = None
    exit_code: int = 0


def doctor(options: DoctorOptions) -> list[Check]:
    """Look at everything; nothing raises, what fails is a finding."""
    return [
        *_python(),
        *graphics(),
        *_machine(),
        *_store(options.store),
        *_data(options.data_root),
        *_hub(options.timeout),
        *_cluster(options),
    ]


def exit_code(found: list[Check]) -> int:
    """0, or that of the worst problem: a cluster's before a resource's."""
    return max((check.exit_code for check in found), default=0)


def _python() -> Iterator[Check]:
    yield Check(
        "cvbench", "ok", f"{__version__} on Python {platform.python_version()}, {platform.platform(terse=True)}"
    )
    known = {name: installed for name in PACKAGES if (installed := _version(name)) is not None}
    yield Check("packages", "ok", ", ".join(f"{name} {number}" for name, number in known.items()))
    absent = [name for name in PACKAGES if name not in known]
    if absent:
        yield _lacking("packages", f"not installed: {', '.join(absent)}", "pip install cvbench, into this Python")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _lacking(name: str, said: str, fix: str) -> Check:
    return Check(name, "problem", said, fix, ResourceError.exit_code)


def graphics() -> Iterator[Check]:
    """The GPU as torch sees it, and whether CuPy is of the same CUDA."""
    try:
        import torch
    except Exception as error:  # a broken wheel raises whatever it likes
        yield _lacking("gpu", f"torch cannot be imported: {type(error).__name__}: {error}", "pip install torch")
        return
    built = torch.version.cuda
    if not torch.cuda.is_available():
        wheel = "torch is built without CUDA" if built is None else f"torch is built for CUDA {built}"
        yield Check("gpu", "note", f"none is seen; {wheel}")
        return
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield Check("gpu", "ok", f"{', '.join(names)}; torch is built for CUDA {built}")
    yield from _architectures(torch.cuda.get_arch_list(), torch.cuda.get_device_capability())
    major = str(built).partition(".")[0]
    cupy = {number: found for number in ("12", "13") if (found := _version(f"cupy-cuda{number}x")) is not None}
    if not cupy:
        yield Check("cupy", "note", "not installed: analyses run on the CPU", f"pip install 'cvbench[cuda{major}]'")
    elif major not in cupy:
        said = f"CuPy is built for CUDA {', '.join(cupy)}, torch for {built}"
        yield _lacking("cupy", said, f"pip uninstall cupy-cuda{next(iter(cupy))}x; pip install 'cvbench[cuda{major}]'")
    else:
        yield Check("cupy", "ok", cupy[major])


def _architectures(built: list[str], capability: tuple[int, int]) -> Iterator[Check]:
    from cvbench.engine.models.devices import VOLTA_PINS

    own = capability[0] * 10 + capability[1]
    able = [int(name.partition("_")[2].rstrip("abcdef")) for name in built if name.startswith("sm_")]
    if able and own < min(able):
        yield _lacking("gpu", f"torch has no kernels for this card (sm_{own}; it has {', '.join(built)})", VOLTA_PINS)


def _machine() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Check("cores", "ok", f"{cores}" if cores == os.cpu_count() else f"{cores} of {os.cpu_count()}")
    total, free = machine_memory()
    if total is not None:
        said = f"{human(total)}" + ("" if free is None else f", {human(free)} of it free")
        little = free is not None and free < LITTLE_MEMORY
        yield Check(
            "memory", "note" if little else "ok", said, "--batch-size 8, one --backbone at a time" * little or None
        )


def _store(url: str) -> Iterator[Check]:
    from cvbench.storage.features import FeatureStore

    shown = _without_secrets(url)
    try:
        store = FeatureStore.open(url)
        groups = store.groups()
    except CvbenchError as error:
        there = error.code != "data-unavailable"
        if there:
            yield Check("store", "problem", f"{shown}: {error.what}", error.fix, error.exit_code)
        else:
            yield Check("store", "note", f"{shown}: none there yet")
    else:
        yield Check("store", "ok", f"{shown}: {len(groups)} groups of layers, format {store.ledger.format}")
    if "://" in url:
        return
    path = Path(url).absolute()
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    if not os.access(path, os.W_OK):
        yield _lacking("disk", f"{path} cannot be written to", "another --store")
    elif free < LITTLE_DISK:
        yield _lacking("disk", f"{human(free)} free at {path}", "make room, or another --store")
    else:
        yield Check("disk", "ok", f"{human(free)} free at {path}")


def _without_secrets(url: str) -> str:
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _data(root: str | None) -> Iterator[Check]:
    from cvbench.jobs.catalogue.datasets import list_datasets

    try:
        listed, problems = list_datasets(root)
    except CvbenchError as error:
        yield Check("data", "problem", error.what, error.fix, error.exit_code)
        return
    for problem in problems:
        yield Check("data", "note", f"{problem.what} ({problem.where})", problem.fix)
    found = [row.info.name for row in listed if row.found]
    if root is None:
        said, fix = (
            "no data root: data sets to download are not looked for",
            "--data-root, or the variable CVBENCH_DATA",
        )
        yield Check("data", "note", said, fix)
    else:
        yield Check("data", "ok", f"{root}: {', '.join(found) or 'no data set of the registry'}")


def _hub(timeout: float) -> Iterator[Check]:
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() not in ("", "0", "false", "no", "off"):
        yield Check("hub", "note", "HF_HUB_OFFLINE is set: only weights in the cache are found")
        return
    try:
        with socket.create_connection(HUB, timeout=timeout):
            yield Check("hub", "ok", f"{HUB[0]} is reached")
    except OSError as error:
        said = f"{HUB[0]} is not reached: {error.strerror or error}"
        yield Check("hub", "note", said, "pretrained weights come from the cache, or by --weights FILE.safetensors")


def _cluster(options: DoctorOptions) -> Iterator[Check]:
    address = options.address
    host = urlsplit(address if "://" in address else f"ray://{address}").hostname if ":" in address else None
    if host is not None:
        yield from _port(address, host, options.timeout)
    elif address not in ("local", "none"):
        yield Check("cluster", "note", f"{address} is found by Ray; nothing is tried")
    if address not in ("local", "none"):  # a private Ray closes its token itself
        yield from token_open()
    url = options.dashboard or (None if host is None else f"http://{host}:{DASHBOARD}")
    if url is not None:
        yield from dashboard_open(url, options.timeout)


def _port(address: str, host: str, timeout: float) -> Iterator[Check]:
    port = urlsplit(address if "://" in address else f"ray://{address}").port
    try:
        with socket.create_connection((host, port or 6379), timeout=timeout):
            yield Check("cluster", "ok", f"{host}:{port or 6379} answers")
    except OSError as error:
        said = f"{host}:{port or 6379} does not answer: {error.strerror or error}"
        yield _of_cluster(said, "start the head, or a tunnel to it: see docs; --address local needs none")


def token_open() -> Iterator[Check]:
    """Whoever reads Ray's token on this machine can run code on the cluster."""
    path = token_file()
    if path is not None and is_open(path):
        yield _of_cluster(f"others can read Ray's token {path}", f"chmod 600 {shlex.quote(str(path))}")


def dashboard_open(url: str, timeout: float) -> Iterator[Check]:
    """Ray's dashboard runs what it is sent: one that answers a stranger is open to all (CVE-2023-48022)."""
    if urlsplit(url).scheme not in ("http", "https"):
        yield _of_cluster(f"{url} is no URL of a dashboard", "--dashboard http://HOST:8265")
        return
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/api/version", timeout=timeout) as answer:
            if answer.status == 200:
                fix = "ray start with RAY_AUTH_MODE=token, and the dashboard on loopback"
                yield _of_cluster(f"the dashboard at {url} answers without authentication", fix)
    except urllib.error.HTTPError as error:
        yield Check("dashboard", "ok", f"{url} asks for authentication ({error.code})")
    except OSError:
        yield Check("dashboard", "ok", f"none is reached at {url}")


def _of_cluster(said: str, fix: str) -> Check:
    return Check("cluster", "problem", said, fix, ClusterError.exit_code)
