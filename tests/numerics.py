"""Runs the numeric tests with other BLAS kernels and other draws: `python -m tests.numerics [--draws N] [--jobs N]`.

OpenBLAS chooses its kernels by the processor, and each adds in an order of its own. A test that holds on one machine
by the luck of that order is red on the next. So the tests that draw by `tests.seeds` run once with each of the kernels
that this processor can run, and, with the processor's own, for several draws.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

CORES = {
    "Prescott": set[str](),  # SSE3: any x86-64
    "Haswell": {"avx2", "fma"},
    "Zen": {"avx2", "fma"},
    "SkylakeX": {"avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl"},
}
"""What OPENBLAS_CORETYPE may say, and the processor's flags that it needs; without them it would stop the process."""


def files() -> list[str]:
    """The test files that draw by `tests.seeds`."""
    found = (path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "seeded(" in path.read_text())
    return [str(path.relative_to(ROOT)) for path in found]


def cores() -> list[str]:
    """Those that this processor can run; none where it does not say what it can."""
    info = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not info.exists():
        return []
    line = next((line for line in info.read_text().splitlines() if line.startswith("flags")), "")
    flags = set(line.split())
    return [core for core, needed in CORES.items() if needed <= flags]


def runs(draws: int) -> Iterator[dict[str, str]]:
    """The environment of every run: each core with the first draw, then the processor's own with the others."""
    for core in cores():
        yield {"OPENBLAS_CORETYPE": core}
    for draw in range(1, draws):
        yield {"CVBENCH_TEST_SEED": str(draw)}


def main() -> int:
    """Run them all; 1 if any fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2, help="processes that share the tests of a run")
    words = parser.parse_args()
    shared = ["--randomly-seed=1", "-n", str(words.jobs), "--dist", "loadgroup"]
    failed = []
    for given in runs(words.draws):
        name = " ".join(f"{key}={value}" for key, value in given.items())
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *shared, *files()]
        if subprocess.run(command, cwd=ROOT, env={**os.environ, **given}, stdin=subprocess.DEVNULL).returncode:
            failed.append(name)
    print(f"failed with: {', '.join(failed)}" if failed else "all passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
