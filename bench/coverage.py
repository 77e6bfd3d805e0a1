"""How often the printed intervals hold the truth, and how often a verdict is wrong: simulated, nominal 95 %.

    python bench/coverage.py --runs 400 --workers 2
    python bench/coverage.py --area CKA --runs 200

Prints the table of bench/README.md: coverage with its Monte-Carlo error (bold where it falls short of the aim), the
median width, the share of draws for which no interval is printed, and for differences of equals the share resolved.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers are the parallelism
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))  # the laws lie beside the tests that run their small version

from tests.simulation.cases import CASES
from tests.simulation.frame import simulate, table


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--area", action="append", help="only this area; repeat for more")
    parser.add_argument("--small", action="store_true", help="only what the tests run")
    given = parser.parse_args()
    rows = []
    for case in CASES:
        if (given.area is None or case.area in given.area) and (case.small or not given.small):
            rows += simulate(case, given.runs, given.seed, given.workers)
            print(f"{case.area}: {case.name}: {100 * rows[-1].share:.1f} %", file=sys.stderr, flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
