"""What the driver's loop costs with up to 1,000 actors: receipts per second of its own time, and how busy actors are.

Actors live in virtual time (tests/jobs/running/virtual.py): the loop that every job runs on Ray is the real one, its
Ray is not. Ray's own cost of a call comes on top.

    python bench/driver.py
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests/jobs/running/virtual.py

from tests.jobs.running.virtual import Fate, VirtualRay

from cvbench.jobs.running import pool
from cvbench.jobs.running.cluster import Cluster

CASES = [
    (8, 2_000, Fate()),
    (8, 16_000, Fate()),
    (8, 64_000, Fate()),
    (200, 20_000, Fate()),
    (1_000, 1_000, Fate()),
    (1_000, 60_000, Fate()),
    (1_000, 60_000, Fate(dying=0.01)),
    (1_000, 60_000, Fate(dying=0.01, failing=0.001, lagging=0.001)),
]


def row(actors: int, tasks: int, fate: Fate) -> list[str]:
    """One case."""
    ray = VirtualRay(fate, Cluster(address="virtual", actors=actors))
    sys.modules["ray"] = ray  # type: ignore[assignment]
    pool.time = ray  # type: ignore[assignment, attr-defined]
    begun = time.process_time()
    driver: pool.Pool[int, None] = pool.Pool(ray, None, range(tasks), lambda task, receipt: None)  # type: ignore[arg-type]
    driver.run()
    seconds = time.process_time() - begun
    return [
        f"{actors:,}",
        f"{tasks:,}",
        f"{fate.dying:.0%}",
        f"{fate.lagging:.1%}",
        f"{tasks / seconds:,.0f}",
        f"{tasks / ray.now:,.0f}",
        f"{ray.busy / (actors * ray.now):.3f}",
        f"{ray.deaths}",
    ]


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print("| actors | tasks | dying a minute | lagging | receipts/s | needed/s | busy | deaths |")
    print("|---|---|---|---|---|---|---|---|")
    for case in CASES:
        print(f"| {' | '.join(row(*case))} |", flush=True)


if __name__ == "__main__":
    main()
