"""`cvbench cluster doctor`: every node of a cluster is looked at from itself, and what they share is tried.

A node says what it has in a task that holds no core and no GPU. All nodes at once try to create the same objects of the
store: of each, exactly one may. They are removed again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from cvbench.errors import ClusterError, CvbenchError, UsageError
from cvbench.jobs.catalogue.doctor import LITTLE_DISK, Check, dashboard_open, graphics, token_open
from cvbench.jobs.reading.options import DEFAULT_STORE
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.place import settle
from cvbench.jobs.running.places import absolute
from cvbench.jobs.running.sizes import human
from cvbench.jobs.running.versions import Hello, compare, hello, versions
from cvbench.options import Option

ROUNDS, RACERS = 16, 4
"""Objects that are raced for, and threads of each node that race."""
SKEW, MOST_SKEW = 2.0, 300.0
"""Seconds by which clocks may differ without a word; and by which requests to an object store come to be refused."""
TEMPORARY = "cvbench-doctor"


@dataclass(frozen=True)
class ClusterOptions:
    """A cluster, and what its nodes are to share."""

    address: Annotated[
        str,
        Option('Address of the Ray cluster; "auto" is the one that RAY_ADDRESS names.', variable="CVBENCH_ADDRESS"),
    ] = "auto"
    store: Annotated[str, Option("Path or URL of the feature store that all nodes are to write to.")] = DEFAULT_STORE
    dataset: Annotated[str | None, Option("Data set that all nodes are to read.", short="-d")] = None
    split: Annotated[str | None, Option("Split of it; default its own.")] = None
    data_root: Annotated[str | None, Option("Folder that holds the data sets.", variable="CVBENCH_DATA")] = None
    dashboard: Annotated[str | None, Option("URL of the cluster's dashboard; default port 8265 of its head.")] = None
    timeout: Annotated[float, Option("Seconds that a node, or a connection, may take.", least=0.1)] = 120.0


@dataclass(frozen=True)
class Look:
    """Things that a node is to look at."""

    store: str
    dataset: str | None
    split: str | None
    data_root: str | None
    race: str
    driver: str = ""  # digest of the data set on the driver


@dataclass(frozen=True)
class Seen:
    """Answer of a node.

    Attributes:
        clock: Its seconds since 1970, as it was asked.
        checks: Of its own: graphics, disk, data set, store.
        won: Of the objects raced for, how many of its threads made each.
        read: What it reads in each afterwards.
    """

    hello: Hello
    clock: float
    checks: tuple[Check, ...]
    won: tuple[int, ...] = ()
    read: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One finding on one node; `node` is "" for what is of the cluster."""

    node: str
    name: str
    state: Literal["ok", "note", "problem"]
    said: str
    fix: str | None = None


@dataclass(frozen=True)
class Report:
    """Report of what was found, the cluster first, then node by node."""

    address: str
    nodes: int
    findings: tuple[Finding, ...] = field(default_factory=tuple)

    @property
    def ok(self) -> bool:
        """Whether nothing is in the way."""
        return not any(one.state == "problem" for one in self.findings)


def cluster_doctor(options: ClusterOptions) -> Report:
    """Look at every node.

    Raises:
        UsageError: No cluster is named.
        ClusterError: It does not answer.
        CvbenchError: The data set cannot be opened here.
    """
    from cvbench.jobs.running.session import RaySession

    address = settle(options.address, "cpu", None)
    if address in ("none", "local"):
        raise UsageError(
            "no cluster is named", where=f"--address {address}", fix="--address HOST:PORT, or the variable RAY_ADDRESS"
        )
    look = _look(options)
    with RaySession(Cluster(address=address)):
        nodes = _nodes()
        asked = time.time()
        seen = _ask(nodes, look, options.timeout)
        spent = time.time() - asked
        findings = [
            *_of_all(seen, look),
            *_of_dashboard(options, address),
            *(one for name, found in seen.items() for one in _of_node(name, found, asked, spent)),
        ]
    return Report(address, len(nodes), tuple(findings))


def _look(options: ClusterOptions) -> Look:
    digest = ""
    if options.dataset is not None:
        from cvbench.storage.datasets import open_dataset

        digest = open_dataset(options.dataset, data_root=options.data_root, split=options.split).digest
    race = f"{TEMPORARY}-{uuid.uuid4().hex}"
    return Look(absolute(options.store), options.dataset, options.split, options.data_root, race, digest)


def _nodes() -> dict[str, str]:
    """Id -> name of the nodes that are alive; two on one machine are told apart by their ids."""
    import ray

    known: Any = ray.nodes  # untyped
    alive = [node for node in known() if node["Alive"]]
    hosts = [node["NodeManagerHostname"] for node in alive]
    return {
        node["NodeID"]: host if hosts.count(host) == 1 else f"{host}/{node['NodeID'][-6:]}"
        for node, host in zip(alive, hosts, strict=True)
    }


def _ask(nodes: Mapping[str, str], look: Look, timeout: float) -> dict[str, Seen | CvbenchError]:
    """Name of each node -> what it says, or why it says nothing."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as There

    def on(number: str, function: Any) -> Any:
        seeing = {"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}}  # the card, without holding it
        there = There(number, soft=False)
        return (
            ray.remote(function)
            .options(num_cpus=0, max_retries=0, runtime_env=seeing, scheduling_strategy=there)
            .remote(look)
        )

    refs = {name: on(number, _see) for number, name in nodes.items()}
    ray.wait([*refs.values()], num_returns=len(refs), timeout=timeout)
    found: dict[str, Seen | CvbenchError] = {}
    for name, ref in refs.items():
        try:
            found[name] = ray.get(ref, timeout=0.5)
        except Exception as error:  # whatever a node of other packages raises
            why = (str(error).strip() or type(error).__name__).splitlines()[-1]
            found[name] = ClusterError("the node does not answer as a node of this version", why=why[:300])
    told = [number for number, name in nodes.items() if isinstance(found[name], Seen)]
    ray.wait([on(number, _tidy) for number in told], num_returns=len(told), timeout=timeout)  # each its own disk
    return found


def _see(look: Look) -> Seen:
    """On a node: look at it, and race."""
    clock = time.time()
    checks = [*graphics(), *_disk(look.store), *_data(look)]
    try:
        won, read = _race(look)
    except CvbenchError as error:
        return Seen(hello(), clock, (*checks, _problem("store", f"{error.what}: {error.why or ''}", error.fix)))
    return Seen(hello(), clock, tuple(checks), won, read)


def _problem(name: str, said: str, fix: str | None) -> Check:
    return Check(name, "problem", said, fix, ClusterError.exit_code)


def _disk(store: str) -> Iterator[Check]:
    """Free space where this node writes: of its home (weights), and of a store that is a path."""
    import shutil

    for name, place in (("home", str(Path.home())), ("store", store)):
        if "://" in place:
            continue
        path = Path(place)
        while not path.exists():
            path = path.parent
        free = shutil.disk_usage(path).free
        if free < LITTLE_DISK:
            yield _problem(f"disk of {name}", f"{human(free)} free at {path}", "make room there")
        else:
            yield Check(f"disk of {name}", "ok", f"{human(free)} free at {path}")


def _data(look: Look) -> Iterator[Check]:
    if look.dataset is None:
        return
    from cvbench.storage.datasets import open_dataset

    try:
        found = open_dataset(look.dataset, data_root=look.data_root, split=look.split)
    except CvbenchError as error:
        yield _problem("data", f"{look.dataset}: {error.what}", "the same path on every node, or an object store")
        return
    if found.digest == look.driver:
        yield Check("data", "ok", f"{look.dataset}: {len(found)} samples")
    else:
        yield _problem("data", f"{look.dataset} is another data set than on the driver", "the same files on every node")


def _race(look: Look) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Try to make each object from several threads; how many did, and what is read afterwards."""
    from cvbench.storage.objects.open import open_objects

    objects = open_objects(look.store)
    keys = [f"{look.race}/{number}" for number in range(ROUNDS)]

    def racer(number: int) -> list[bool]:
        return [objects.create(key, f"{uuid.uuid4().hex}".encode()) for key in keys]

    with ThreadPoolExecutor(RACERS) as racers:
        made = list(racers.map(racer, range(RACERS)))
    read = tuple((objects.get(key) or b"").decode("ascii", "replace") for key in keys)
    return tuple(map(sum, zip(*made, strict=True))), read


def _tidy(look: Look) -> None:
    from cvbench.storage.objects.open import open_objects

    objects = open_objects(look.store)
    with suppress(CvbenchError):
        for number in range(ROUNDS):
            objects.delete(f"{look.race}/{number}")
    if "://" not in look.store:  # folders that only the race has made
        for folder in (Path(look.store) / look.race, Path(look.store)):
            with suppress(OSError):
                folder.rmdir()


def _of_all(seen: Mapping[str, Seen | CvbenchError], look: Look) -> Iterator[Finding]:
    """Findings that no node can see alone."""
    told = {name: found for name, found in seen.items() if isinstance(found, Seen)}
    yield Finding("", "nodes", "ok" if len(told) == len(seen) else "note", f"{len(told)} of {len(seen)} answer")
    racing = {name: found for name, found in told.items() if found.won}
    if not racing:
        return
    makers = [sum(found.won[number] for found in racing.values()) for number in range(ROUNDS)]
    contents = [{found.read[number] for found in racing.values()} for number in range(ROUNDS)]
    if makers == [1] * ROUNDS and all(len(one) == 1 for one in contents):
        said = f"{ROUNDS} objects, {RACERS} attempts of each of {len(racing)} nodes: each was made once, all read it"
        yield Finding("", "exclusive", "ok", said)
    else:
        wrong = sum(count != 1 for count in makers)
        fix = "a shared file system with atomic links, or an object store with conditional puts; the same path for all"
        said = f"{look.store}: {wrong} of {ROUNDS} objects were not made exactly once: nodes do not share this store"
        yield Finding("", "exclusive", "problem", said, fix)


def _of_dashboard(options: ClusterOptions, address: str) -> Iterator[Finding]:
    host = address.removeprefix("ray://").rpartition(":")[0] or "127.0.0.1"
    for check in dashboard_open(options.dashboard or f"http://{host}:8265", min(options.timeout, 5.0)):
        yield Finding("", "dashboard", check.state, check.said, check.fix)
    for check in token_open():
        yield Finding("", "token", check.state, check.said, check.fix)


def _of_node(name: str, found: Seen | CvbenchError, asked: float, spent: float) -> Iterator[Finding]:
    if isinstance(found, CvbenchError):
        fix = "install the same wheel of cvbench on it; `ray status` says whether it is busy or gone"
        yield Finding(name, "node", "problem", f"{found.what}: {found.why}", fix)
        return
    try:
        said = compare(versions(), found.hello)
        yield Finding(name, "versions", "note" if said else "ok", said or _listed(found.hello.versions))
    except ClusterError as error:
        yield Finding(name, "versions", "problem", f"{error.why}", error.fix)
    yield _of_clock(name, found.clock, asked, spent)
    for check in found.checks:
        yield Finding(name, check.name, check.state, check.said, check.fix)


def _of_clock(name: str, clock: float, asked: float, spent: float) -> Finding:
    """Tell how far a clock is out at least: its time was read between the question and the answer."""
    out = max(asked - clock, clock - asked - spent, 0.0)
    if out > MOST_SKEW:
        return Finding(name, "clock", "problem", f"{out:.0f} s from the driver's", "chrony or ntpd on every node")
    if out > SKEW:
        return Finding(name, "clock", "note", f"{out:.1f} s from the driver's", "chrony or ntpd on every node")
    return Finding(name, "clock", "ok", "as the driver's")


def _listed(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in found.items() if number)


def shown(findings: Sequence[Finding]) -> list[tuple[str, Finding]]:
    """Findings under their nodes; what is ok of all nodes alike is said once, under "every node"."""
    alike: dict[tuple[str, str], list[str]] = {}
    nodes = {one.node for one in findings if one.node}
    for one in findings:
        alike.setdefault((one.name, one.said), []).append(one.node)
    rows, said = [], set()
    for one in findings:
        key = one.name, one.said
        everywhere = bool(one.node) and len(nodes) > 1 and set(alike[key]) == nodes
        if key not in said or not everywhere:
            rows.append(("every node" if everywhere else one.node or "cluster", one))
            said.add(key)
    return rows
