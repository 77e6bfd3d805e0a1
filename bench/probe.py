"""The logistic probe against scikit-learn's, each in its own process: CPU seconds, wall, and the objective reached.

    python bench/probe.py                     # one fit per C and the whole search, 2,500 x 192 x 25: a minute
    python bench/probe.py --samples 10000 --features 768 --classes 100 --penalties 0.1     # minutes: scikit-learn's

Both minimise the same objective on the same float32 features to the same tolerance on the gradient. The features have a
spectrum that falls as 1/j^decay, as those of trained networks do; --decay 0 makes them white. `search` is what a probe
does: 15 of 97 penalties by validation top-1, each from the nearest fit so far.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray


def features(options: argparse.Namespace, n: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(n, d) float32 and (n,) labels of overlapping classes, away from the origin."""
    d, k = options.features, options.classes
    fixed, rng = np.random.default_rng(0), np.random.default_rng(seed)
    axes, _ = np.linalg.qr(fixed.standard_normal((d, d)))
    scales = np.arange(1, d + 1) ** -options.decay
    scales /= np.sqrt((scales**2).mean())
    centres = fixed.standard_normal((k, d)) * options.separation
    labels = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
    x = ((rng.standard_normal((n, d)) + centres[labels]) * scales) @ axes.T + 0.5 * fixed.standard_normal(d)
    return x.astype(np.float32), labels


def child(options: argparse.Namespace) -> None:
    """Measure one tool at one C, or the search."""
    import torch
    from sklearn.linear_model import LogisticRegression  # imported by both: not what is measured

    from cvbench.engine.probe.logistic import fit_logistic, prepare
    from cvbench.engine.probe.peer import fit_peer
    from cvbench.engine.probe.recipes import Part, ProbeOptions, probe

    torch.set_num_threads(options.threads)
    LogisticRegression(max_iter=5).fit(np.eye(3), [0, 1, 2])
    x, y = features(options, options.samples, 1)
    test = features(options, 2000, 2)
    data, labels = torch.from_numpy(x), torch.from_numpy(y)
    fit_logistic(prepare(data[:100, :8]), labels[:100] % 3, 3, [1.0])  # first use of the libraries
    wall, cpu = time.perf_counter(), time.process_time()
    if options.child_c == 0:
        parts = [Part(*features(options, n, seed)) for n, seed in ((options.samples, 1), (1000, 3), (2000, 2))]
        solver = "lbfgs" if options.child == "cvbench" else "scikit-learn"
        settings = ProbeOptions("clip_lbfgs", solver, seeds=1, tolerance=options.tolerance)
        (run,) = probe(parts[0], parts[1], parts[2], options.classes, settings, "cpu")
        row: dict[str, Any] = {"loss": run.penalty, "iterations": len(run.tried)}
        predicted = run.logits.argmax(axis=1)
    else:
        limits: Any = {"tolerance": options.tolerance, "max_iterations": 1000}
        if options.child == "cvbench":
            fit = fit_logistic(prepare(data), labels, options.classes, [options.child_c], **limits)
        else:
            fit = fit_peer(data, labels, [options.child_c], **limits)
        row = {"loss": float(fit.loss[0]), "iterations": int(fit.iterations[0])}
        predicted = fit.logits(torch.from_numpy(test[0]))[0].argmax(dim=1).numpy()
    row |= {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    print(json.dumps({**row, "top1": float((predicted == test[1]).mean())}))


def spawn(tool: str, c: float, options: argparse.Namespace) -> dict[str, Any]:
    """One measurement in a new process."""
    line = [sys.executable, __file__, "--child", tool, "--child-c", str(c)]
    for key in ("samples", "features", "classes", "decay", "separation", "tolerance", "threads"):
        line += [f"--{key}", str(getattr(options, key))]
    threads = {name: str(options.threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(line, capture_output=True, text=True, check=True, env={**os.environ, **threads})
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2500)
    parser.add_argument("--features", type=int, default=192)
    parser.add_argument("--classes", type=int, default=25)
    parser.add_argument("--decay", type=float, default=1.0)
    parser.add_argument("--separation", type=float, default=0.5)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument(
        "--penalties", type=float, nargs="+", default=[0.001, 0.1, 10.0, 0.0], help="C; 0 is the search"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--child-c", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    print(f"{options.samples} x {options.features}, {options.classes} classes, decay {options.decay:g}")
    print(f"tolerance {options.tolerance:g}, {options.threads} threads")
    print(f"{'C':>8} {'tool':14}{'wall s':>9}{'CPU s':>9}{'ratio':>8}{'iterations':>12}{'objective':>12}{'top-1':>8}")
    for c in options.penalties:
        base: dict[str, Any] = {}
        for tool in ("scikit-learn", "cvbench"):
            row = spawn(tool, c, options)
            base = base or row
            name = f"{c:g}" if c else "search"
            ratio = f"{base['cpu'] / row['cpu']:.1f}x"
            what = f"{row['loss']:12.6f}" if c else f"{'C ' + format(row['loss'], '.3g'):>12}"
            print(
                f"{name:>8} {tool:14}{row['wall']:9.2f}{row['cpu']:9.2f}{ratio:>8}{row['iterations']:12d}{what}"
                f"{row['top1']:8.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
