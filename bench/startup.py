"""Start-up: `cvbench --help` against its floor, `python -c "import typer"`, side by side in one run.

    python bench/startup.py [--rounds 20]

Both are whole processes, timed alternately so that a busy machine slows both alike; the ratio is of the medians. The
floor is the import of the command-line library, and no command of ours can be faster. Bound: 1.5. Exit 1 beyond it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

BOUND = 1.5
HEAVY = {"torch", "torchvision", "timm", "ray", "zarr", "matplotlib", "numpy", "xarray", "dask", "scipy", "sklearn"}
FLOOR = [sys.executable, "-c", "import typer"]
HELP = [str(Path(sys.executable).with_name("cvbench")), "--help"]
IMPORTED = """
import json, sys, io, contextlib
sys.argv = ["cvbench", "--help"]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    from cvbench.cli import main
    main()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names))))
"""


def seconds(command: Sequence[str]) -> float:
    """Wall time of one run of the command, which must succeed."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return time.perf_counter() - start


def imported() -> list[str]:
    """Top-level modules outside the standard library that `cvbench --help` imports."""
    done = subprocess.run([sys.executable, "-c", IMPORTED], check=True, capture_output=True, text=True)
    names: list[str] = json.loads(done.stdout)
    return names


def main() -> int:
    """Measure, print one JSON object, and say by the exit code whether the bound holds."""
    parser = argparse.ArgumentParser(description="cvbench --help against import typer")
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    for command in (FLOOR, HELP):  # compile and cache once
        seconds(command)
    pairs = [(seconds(FLOOR), seconds(HELP)) for _ in range(rounds)]
    floor, own = (statistics.median(column) for column in zip(*pairs, strict=True))
    modules = imported()
    heavy = sorted(HEAVY.intersection(modules))
    figures = {
        "import_typer_ms": round(1e3 * floor, 1),
        "cvbench_help_ms": round(1e3 * own, 1),
        "ratio": round(own / floor, 2),
        "bound": BOUND,
        "rounds": rounds,
        "heavy": heavy,
        "modules": modules,
    }
    print(json.dumps(figures, indent=1))
    return int(own / floor > BOUND or bool(heavy))


if __name__ == "__main__":
    raise SystemExit(main())
