"""Random SIGKILLs of actors, drivers and nodes, and what they cost: units computed again, and whether one byte differs.

    python -m bench.chaos --kills 200 --seed 1 --minutes 30 --out chaos.json

One small extraction is done undisturbed, in one process. Then the same on a Ray of this machine's loopback (a head and
two nodes of one core), again and again on new stores, while a process is killed whenever the store has grown by a
random share of its files, 2 to 12 %: an actor, a node with all its processes, or the driver, after which the same
command is started again. At the end of each store all its bytes are compared with the undisturbed one. It kills only
what it started, and fails if it did not come to so many kills.

`units_back` are those that were with an actor as it was lost, by the logs of the runs: at most the tasks that one actor
is given at a time, two. What a killed driver's actors had begun is in no log. `units_computed_again` are forward passes
beyond the first of a unit, written down by the network itself as it begins one (`tests.cluster.counted`): they are all,
whatever was killed. `most_again` is the largest number of them for one unit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from tests.cluster.counted import FILE, counted_words, passes
from tests.cluster.nodes import LoopbackCluster, Node, loopback
from tests.cluster.test_kills import files, tidy
from tests.jobs.images import write_folder

from cvbench.jobs.catalogue.runs import list_runs

IMAGES, UNIT = 384, 4
SLOW = 600.0  # seconds without a new file: the run is stuck


@dataclass
class Count:
    """What was killed, and what it cost."""

    kills: Counter[str] = field(default_factory=Counter)
    stores: int = 0
    differing: int = 0
    redone: int = 0
    again: int = 0
    most: int = 0
    seconds: list[float] = field(default_factory=list)


def command(words: list[str], cluster: LoopbackCluster | None) -> subprocess.Popen[bytes]:
    """Start cvbench as a process of its own."""
    joining = {} if cluster is None else cluster.joining
    program = "import sys; sys.argv[0] = 'cvbench'; from cvbench.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, *words],
        env={**os.environ, **joining},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def grown(process: subprocess.Popen[bytes], store: Path, by: int) -> bool:
    """Wait until the store has so many more files; False if the command ended before."""
    goal, last, size = files(store) + by, time.monotonic(), files(store)
    while process.poll() is None:
        now = files(store)
        if now > size:
            size, last = now, time.monotonic()
        if now >= goal:
            return True
        if time.monotonic() - last > SLOW:
            raise SystemExit("the command makes no progress")
        time.sleep(0.02)
    return False


def kill(what: str, process: subprocess.Popen[bytes], cluster: LoopbackCluster, workers: list[Node], rng: Any) -> bool:
    """Kill one thing; False if there was none of it."""
    if what == "driver":
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    if what == "node":
        lost = workers.pop(rng.randrange(len(workers)))
        lost.kill()
        workers.append(cluster.add())
        return True
    actors = sorted((actor for node in workers for actor in node.actors()), key=lambda actor: actor.pid)
    if not actors:
        return False
    try:
        rng.choice(actors).kill()
    except psutil.NoSuchProcess:  # it ended by itself
        return False
    return True


def begun(store: Path) -> int:
    """Units that went back or were given out again in all runs on a store, by their logs."""
    return sum(run.redone for run in list_runs(str(store)))


def one_store(
    pets: Path,
    store: Path,
    cluster: LoopbackCluster,
    workers: list[Node],
    rng: random.Random,
    growth: tuple[int, int],
    left: int,
    end: float,
) -> Counter[str]:
    """One extraction, with `left` kills at most, each when the store has `growth` more files; what was killed."""
    killed: Counter[str] = Counter()
    words = counted_words(pets, store, "auto", UNIT)
    process = command(words, cluster)
    while True:
        if not (killed.total() < left and time.monotonic() < end and grown(process, store, rng.randrange(*growth))):
            _, said = process.communicate()
            if process.returncode != 0:
                raise SystemExit(said.decode())
            return killed
        what = rng.choices(["actor", "driver", "node"], [6, 3, 1])[0]
        killed[what] += kill(what, process, cluster, workers, rng)
        if process.poll() is not None and what == "driver":
            process = command(words, cluster)


def main() -> None:
    """Run, and print what it came to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--out", default="")
    asked = parser.parse_args()
    rng, end, count = random.Random(asked.seed), time.monotonic() + asked.minutes * 60, Count()
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FILE] = str(Path(folder) / "passes")  # before the nodes start, whose actors inherit it
        chaos(asked, rng, end, count, Path(folder))
    if asked.out:
        Path(asked.out).write_text(json.dumps(report(asked, count), indent=2) + "\n")
    if count.kills.total() < asked.kills or count.differing:
        raise SystemExit(f"{count.kills.total()} of {asked.kills} kills, {count.differing} stores that differ")


def chaos(asked: argparse.Namespace, rng: random.Random, end: float, count: Count, folder: Path) -> None:
    """One store after the other, until there were enough kills or the time is over."""
    with loopback(nodes=2) as cluster:
        pets = write_folder(folder / "pets", IMAGES, broken=(50,))
        reference = folder / "reference.zarr"
        if command(counted_words(pets, reference, "none", UNIT), None).wait() != 0:
            raise SystemExit("the undisturbed run failed")
        expected, workers = tidy(reference), cluster.nodes[1:]
        growth = files(reference) // 50, files(reference) // 8
        once = passes(Path(os.environ[FILE]), UNIT)
        assert len(once) == once.total() == IMAGES // UNIT, "each unit is one batch, computed once"
        while count.kills.total() < asked.kills and time.monotonic() < end:
            store = folder / f"store-{count.stores}.zarr"
            Path(os.environ[FILE]).unlink()
            begin = time.monotonic()
            killed = one_store(pets, store, cluster, workers, rng, growth, asked.kills - count.kills.total(), end)
            count.seconds.append(round(time.monotonic() - begin, 1))
            count.kills += killed
            count.redone += begun(store)
            computed = passes(Path(os.environ[FILE]), UNIT)
            assert computed.keys() == once.keys(), "every unit is computed"
            count.again += computed.total() - len(computed)
            count.most = max(count.most, *computed.values())
            count.stores += 1
            count.differing += tidy(store) != expected
            print(json.dumps(report(asked, count)), flush=True)


def report(asked: argparse.Namespace, count: Count) -> dict[str, Any]:
    """The figures so far."""
    actors = count.kills["actor"] + count.kills["node"] + 2 * count.kills["driver"]  # a node has one core
    logged = count.kills["actor"] + count.kills["node"]
    return {
        "seed": asked.seed,
        "kills": dict(count.kills),
        "stores": count.stores,
        "stores_that_differ": count.differing,
        "units_each": IMAGES // UNIT,
        "units_back_by_logs": count.redone,
        "units_back_per_lost_actor": round(count.redone / logged, 2) if logged else None,
        "units_computed_again": count.again,
        "units_computed_again_per_lost_actor": round(count.again / actors, 2) if actors else None,
        "most_again": max(count.most - 1, 0),
        "seconds": count.seconds,
    }


if __name__ == "__main__":
    main()
