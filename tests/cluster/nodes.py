"""Ray nodes on loopback, each a process group of its own, which tests kill and freeze."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import psutil

DEADLINE = 300
HEAD = (
    *("--block", "--dashboard-agent-listen-port=0", "--node-ip-address=127.0.0.1", "--object-store-memory=100000000"),
    *("--num-cpus=0", "--num-gpus=0", "--include-dashboard=false"),
)

PATIENT = {"RAY_agent_register_timeout_ms": "240000"}
ATTEMPTS = 5
"""A machine that does much else starts a node in a minute; Ray gives up after half of one."""

STARTED = "Ray runtime started"
WORKER = f"""
import signal, sys
from ray._private.node import Node
from ray._private.parameter import RayParams
address, cpus = sys.argv[1:]
ports = dict(min_worker_port=0, max_worker_port=0, node_manager_port=0, dashboard_agent_listen_port=0)
Node(
    RayParams(
        gcs_address=address, redis_address=address, node_ip_address="127.0.0.1", num_cpus=int(cpus), num_gpus=0,
        object_store_memory=100_000_000, include_log_monitor=False, **ports,
    ),
    head=False, shutdown_at_exit=True, spawn_reaper=False,
)
print("{STARTED}", flush=True)
signal.pause()
"""
"""As `ray start --address`, which refuses a second node on loopback."""


class Node:
    """A node: a process of Python that starts it and stays, and all that it starts."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.known: set[psutil.Process] = set()
        for attempt in range(ATTEMPTS):
            with log.open("w") as file:
                self.process = subprocess.Popen(
                    [sys.executable, *words],
                    env={**environment},
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            begin = time.monotonic()
            while STARTED not in (said := log.read_text()) and self.process.poll() is None:
                assert time.monotonic() - begin < DEADLINE, said
                self.processes()
                time.sleep(0.2)
            self.processes()
            if self.process.poll() is None:
                return
            self.signal(signal.SIGKILL)
            assert "timed out during startup" in said, said
            assert attempt < ATTEMPTS - 1, said

    def processes(self) -> set[psutil.Process]:
        """All processes of it that are alive; orphans are remembered."""
        for known in [*self.known, psutil.Process(self.process.pid) if self.process.poll() is None else None]:
            try:
                if known is not None:
                    self.known |= {known, *known.children(recursive=True)}
            except psutil.Error:
                continue
        return {known for known in self.known if known.is_running()}

    def actors(self) -> set[psutil.Process]:
        """Processes of its actors."""
        found = set()
        for process in self.processes():
            try:
                if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::_Actor"):
                    found.add(process)
            except psutil.Error:
                continue
        return found

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of it, as a machine that is lost or frozen."""
        for process in self.processes():
            try:
                process.send_signal(number)
            except psutil.Error:
                continue

    def kill(self) -> None:
        """Lose the machine."""
        for _ in range(3):  # what was being started meanwhile
            self.signal(signal.SIGKILL)
            time.sleep(0.1)
        self.process.wait(DEADLINE)


PORTS = range(20_000, 32_000)
"""Below those that systems give to whoever asks for any, and above those of Ray's workers."""


def free_port() -> int:
    """A port of loopback that nobody listens on, nor will until a head of ours does."""
    drawn = random.SystemRandom()
    while True:
        with socket.socket() as probe, suppress(OSError):
            port = drawn.choice(PORTS)
            probe.bind(("127.0.0.1", port))
            return port


class LoopbackCluster:
    """A head without a core, and nodes."""

    def __init__(
        self, folder: Path, port: int, head: Sequence[str] = (), more: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.folder, self.port = folder, port
        self.address = f"127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "RAY_AUTH_MODE": "disabled",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback
            "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
            **PATIENT,
            **more,
        }
        self.nodes: list[Node] = []
        words = ["-m", "ray.scripts.scripts", "start", "--head", f"--port={self.port}", *HEAD]
        self.head = self._start([*words, f"--temp-dir={folder}", *head])

    @property
    def joining(self) -> dict[str, str]:
        """Variables of a command that joins it."""
        return {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_ADDRESS": self.address}

    def start(self, words: Sequence[str]) -> subprocess.Popen[str]:
        """Run `cvbench WORDS` on it, in a process that imports Ray anew: where Ray looks for itself is read then."""
        program = "import sys; sys.argv[0] = 'cvbench'; from cvbench.cli import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", program, *words],
            env={**os.environ, **self.joining},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _start(self, words: Sequence[str], more: Mapping[str, str] = MappingProxyType({})) -> Node:
        node = Node(words, {**self.environment, **more}, self.folder / f"node-{len(self.nodes)}.log")
        self.nodes.append(node)
        return node

    def add(self, cpus: int = 1, more: Mapping[str, str] = MappingProxyType({})) -> Node:
        """One more node; `more` are variables of it alone."""
        return self._start(["-c", WORKER, self.address, str(cpus)], more)

    def close(self) -> None:
        """End all, by their numbers."""
        for node in reversed(self.nodes):
            node.signal(signal.SIGCONT)
            node.kill()


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a short path: Ray's sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="cv", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def loopback(nodes: int = 0) -> Iterator[LoopbackCluster]:
    """A cluster of a head and so many nodes."""
    with short_folder() as folder:
        cluster = LoopbackCluster(folder, free_port())
        try:
            for _ in range(nodes):
                cluster.add()
            yield cluster
        finally:
            cluster.close()
