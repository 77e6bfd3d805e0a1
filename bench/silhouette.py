"""The silhouette against scikit-learn's, each in a process of its own: CPU seconds and peak memory.

    python bench/silhouette.py [--sizes 2000 10000] [--dims 768] [--classes 10] [--threads 2]
    python bench/silhouette.py --metrics sqeuclidean              # scikit-learn needs half a minute
    python bench/silhouette.py --sizes 30000 --metrics cosine sqeuclidean --sample 300 --sampled-reference

`--sampled-reference`: scikit-learn's distances of `--sample` rows to all give the values that are compared, since its
silhouette of so many rows takes minutes; its CPU seconds are then those of the sample times n / sample.

Both get the same float32 features of overlapping classes. The features' own size is not part of the memory. Memory is
the peak of the resident set less what it was before. The last column is the largest difference of any sample's value.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.silhouette.kernel import silhouette_samples

METRICS = ("euclidean", "cosine", "sqeuclidean")


def features(n: int, dims: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(n, dims) float32 and (n,) labels: classes that overlap, feature scales spread log-normally."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, n)
    centres = rng.standard_normal((classes, dims), dtype=np.float32)
    scales = np.exp(rng.normal(0, 0.7, dims)).astype(np.float32)
    return (rng.standard_normal((n, dims), dtype=np.float32) + 0.5 * centres[labels]) * scales, labels


def sampled_reference(x: NDArray[np.float32], labels: NDArray[np.int64], metric: str, rows: NDArray[np.int64]) -> Any:
    """(m,) silhouette of some rows from scikit-learn's distances to all, in float64."""
    from sklearn.metrics import pairwise_distances

    own, counts = labels[rows], np.bincount(labels)
    found = []
    for start in range(0, len(rows), 100):
        part = rows[start : start + 100]
        distances = pairwise_distances(x[part].astype(np.float64), x.astype(np.float64), metric=metric)
        distances[np.arange(len(part)), part] = 0
        found.append(distances @ (labels[:, None] == np.arange(len(counts))))
    sums, at = np.concatenate(found), np.arange(len(rows))
    a = sums[at, own] / (counts[own] - 1)
    means = sums / counts
    means[at, own] = np.inf
    b = means.min(axis=1)
    return (b - a) / np.maximum(a, b)


def child(tool: str, metric: str, options: argparse.Namespace, out: str) -> None:
    """Measure one tool; its values are written to `out`."""
    from sklearn.metrics import silhouette_samples as peer  # imported by both: not what is measured

    small = features(64, options.dims, 2)
    for call in (peer, silhouette_samples):
        call(*small, metric=metric)
    x, labels = features(options.child_size, options.dims, options.classes)
    rows = None
    if tool == "sample" or (tool == "scikit-learn" and options.sampled_reference):
        rows = np.random.default_rng(1).choice(len(x), options.sample, replace=False)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    wall, cpu = time.perf_counter(), time.process_time()
    if rows is not None and tool == "scikit-learn":
        found = sampled_reference(x, labels, metric, rows)
    elif tool == "scikit-learn":
        found = peer(x, labels, metric=metric)
    else:
        found = silhouette_samples(x, labels, metric=metric, rows=rows)
    part = len(x) / len(found) if tool == "scikit-learn" else 1
    row = {"wall": (time.perf_counter() - wall) * part, "cpu": (time.process_time() - cpu) * part}
    status = Path("/proc/self/status").read_text()  # getrusage would give the parent's peak through fork
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    row["memory"] = peak - before
    np.savez(out, found=found, rows=np.arange(len(x)) if rows is None else rows)
    print(json.dumps(row))


def spawn(tool: str, metric: str, size: int, options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """One tool in a new process, on `--threads` threads of the matrix products."""
    line = [sys.executable, __file__, "--child", tool, "--metric", metric, "--out", str(out)]
    for key in ("dims", "classes", "sample"):
        line += [f"--{key}", str(getattr(options, key))]
    line += ["--sampled-reference"] if options.sampled_reference else []
    threads = {name: str(options.threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(
        [*line, "--child-size", str(size)], capture_output=True, text=True, check=True, env={**os.environ, **threads}
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    with np.load(out) as values:
        found.update(found=values["found"], rows=values["rows"])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 10_000])
    parser.add_argument("--dims", type=int, default=768)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=METRICS[:2])
    parser.add_argument("--sample", type=int, default=1000, help="rows scored against all, Euclidean")
    parser.add_argument("--sampled-reference", action="store_true", help="scikit-learn's distances of the sample alone")
    for name in ("--child", "--metric", "--out"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--child-size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.metric, options, options.out)
        return
    print(f"{options.dims} features, {options.classes} classes, {options.threads} threads")
    print(f"{'n':>6} {'metric':12}{'tool':14}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'CPU ratio':>11}  difference")
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            for metric in options.metrics:
                tools = ["scikit-learn", "cvbench", *(["sample"] if metric == "euclidean" else [])]
                base: dict[str, Any] = {}
                for tool in tools:
                    row = spawn(tool, metric, size, options, Path(folder) / "values.npz")
                    base = base or row
                    _, mine, its = np.intersect1d(row["rows"], base["rows"], return_indices=True)
                    error = np.abs(row["found"][mine] - base["found"][its]).max()
                    print(
                        f"{size:6d} {metric:12}{tool:14}{row['wall']:9.2f}{row['cpu']:9.2f}{row['memory'] / 1e6:9.0f}"
                        f"{base['cpu'] / row['cpu']:10.1f}x  {error:.1e}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
