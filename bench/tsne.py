"""t-SNE backends side by side: CPU seconds and what the map keeps, on the same clustered features.

    python bench/tsne.py [--sizes 1000 2000 5000] [--iterations 1000] [--dims 256] [--classes 10]

Each runs in a process of its own on one thread, from the same 50 principal components and the same start. `opentsne bh`
and `opentsne fft` are openTSNE by Barnes-Hut and by interpolation (FIt-SNE), which decides `FFT_FROM`. Trustworthiness
and kNN recall are at k = 10, against the standardised features; KL in nats.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.tsne import backends as tsne_backends
from cvbench.engine.analyses.tsne.measure import measures, prepare
from cvbench.engine.analyses.tsne.options import TsneOptions

TOOLS = ("sklearn", "opentsne bh", "opentsne fft")


def features(n: int, dims: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(n, dims) float32 and (n,) labels: classes that overlap, each along directions of its own."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, n)
    centres = 0.5 * rng.standard_normal((classes, dims))
    mixing = rng.standard_normal((classes, 12, dims)) / np.sqrt(12)
    inner = rng.standard_normal((n, 12))
    x = centres[labels] + np.einsum("nk,nkd->nd", inner, mixing[labels]) + 0.5 * rng.standard_normal((n, dims))
    return x.astype(np.float32), labels


def child(tool: str, options: argparse.Namespace) -> None:
    """Measure one tool and print a line of JSON."""
    x, labels = features(options.child_size, options.dims, options.classes)
    prepared = prepare(x, TsneOptions())
    rows, scores = prepared.compared(x), prepared.scores
    backend, _, method = tool.partition(" ")
    tsne_backends.FFT_FROM = 0 if method == "fft" else sys.maxsize
    tsne_backends.FFT_THREADS = 1  # so that CPU seconds can be compared
    wall, cpu = time.perf_counter(), time.process_time()
    found = tsne_backends.embed(scores, backend, tsne_backends.MapSettings(iterations=options.iterations))
    row = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "kl": found.kl}
    queries = np.arange(0, len(x), max(1, len(x) // 2000))
    kept = measures(rows, found.map, queries, labels)
    row |= {name: float(kept[f"{name}_10"].mean()) for name in ("trustworthiness", "recall", "purity_map")}
    print(json.dumps(row))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 2000, 5000])
    parser.add_argument("--dims", type=int, default=256)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--child-size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options)
        return
    print(f"{options.dims} features, {options.classes} classes, {options.iterations} iterations, perplexity 30")
    print(f"{'n':>6}  {'tool':14}{'wall s':>8}{'CPU s':>8}{'KL':>8}{'trust':>8}{'recall':>8}{'purity':>8}")
    for size in options.sizes:
        for tool in options.tools:
            line = [sys.executable, __file__, "--child", tool, "--child-size", str(size)]
            for key in ("dims", "classes", "iterations"):
                line += [f"--{key}", str(getattr(options, key))]
            done = subprocess.run(line, capture_output=True, text=True, check=True)
            row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            numbers = "".join(f"{row[key]:8.3f}" for key in ("kl", "trustworthiness", "recall", "purity_map"))
            print(f"{size:6d}  {tool:14}{row['wall']:8.1f}{row['cpu']:8.1f}{numbers}", flush=True)


if __name__ == "__main__":
    main()
