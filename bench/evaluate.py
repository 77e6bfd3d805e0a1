"""Benchmarks from the stored logits of 50,000 samples and 1000 classes, each in a process of its own: CPU seconds.

    python bench/evaluate.py [--samples 50000] [--classes 1000] [--threads 2] [--folder FOLDER]

A store of float32 logits is written first (200 MB). Each command is then timed from opening the store to the kept
result, imports apart; memory is the peak of the resident set less what it was before. Beside them: reading the logits
from the store alone, and top-1, top-5 and ECE by scikit-learn and a loop over bins on an array that is in memory.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

COMMANDS = ("read", "accuracy", "calibration", "scikit-learn")


def logits_of(start: int, stop: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits that are right in about 3 of 4 cases."""
    rng = np.random.default_rng(start)
    labels = rng.integers(0, classes, stop - start)
    values = rng.standard_normal((stop - start, classes), dtype=np.float32) * np.float32(2)
    values[np.arange(stop - start), labels] += rng.normal(9, 3, stop - start).astype(np.float32)
    return values, labels


def make(folder: Path, samples: int, classes: int) -> None:
    """Write the store, unit by unit."""
    from cvbench.storage.features import ArraySpec, FeatureStore, GroupKey, SplitInfo
    from cvbench.storage.features.units import plan_units, unit_size

    store = FeatureStore.open(folder, mode="a")
    unit = unit_size(samples, 32)
    units = plan_units(samples, unit)
    labels = np.concatenate([logits_of(u.start, u.stop, classes)[1] for u in units])
    ids = np.array([f"image-{i:05d}" for i in range(samples)])
    store.begin(SplitInfo("made", "all", samples, "d", 0, unit, 32, tuple(map(str, range(classes))), ids, labels))
    group = GroupKey("made", "all", "vit", "logits")
    store.declare(group, {"made": True}, [ArraySpec("logits", (classes,), "float32", ("sample", "channel"))])
    for one in units:
        with store.writer(group, ["logits"], one) as writer:
            writer.write("logits", 0, logits_of(one.start, one.stop, classes)[0])
            writer.commit()


def read(store: str) -> str:
    """Only the bytes, checked: the floor of what reads every logit."""
    from cvbench.jobs.evaluation.options import EvalOptions
    from cvbench.jobs.evaluation.samples import open_samples
    from cvbench.jobs.reading.reading import open_store
    from cvbench.jobs.reading.selection import Selection

    samples = open_samples(open_store(store), Selection(store), EvalOptions())
    (layer,) = samples.selected.layers
    return f"{sum(len(values) for _, values in samples.blocks(layer))} rows"


def accuracy(store: str) -> str:
    """`cvbench eval accuracy`."""
    from cvbench.jobs.evaluation.accuracy import accuracy as run
    from cvbench.jobs.evaluation.options import AccuracyOptions
    from cvbench.jobs.reading.selection import Selection
    from cvbench.jobs.results.table import table_rows

    return _shown(list(table_rows(run([Selection(store)], AccuracyOptions())[0].result))[:2])


def calibrated(store: str) -> str:
    """`cvbench eval calibration`, with the temperature."""
    from cvbench.jobs.evaluation.calibration import calibrate
    from cvbench.jobs.evaluation.options import CalibrationOptions
    from cvbench.jobs.reading.selection import Selection
    from cvbench.jobs.results.table import table_rows

    rows = table_rows(calibrate([Selection(store)], CalibrationOptions())[0].result)
    return _shown([row for row in rows if row.metric in ("ECE", "temperature") and not row.factor])


def peer(store: str) -> str:
    """Top-1, top-5 and ECE as a script has them, from an array."""
    from sklearn.metrics import accuracy_score, top_k_accuracy_score

    from cvbench.storage.features import FeatureStore, GroupKey

    opened = FeatureStore.open(store)
    z = opened.layer(GroupKey("made", "all", "vit", "logits"), "logits").numpy()
    labels = opened.split("made", "all").labels
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    edges = np.linspace(0, 1, 16)
    ece = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            ece += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    five = top_k_accuracy_score(labels, z, k=5, labels=np.arange(z.shape[1]))
    return f"top1 {accuracy_score(labels, p.argmax(axis=1)):.4f}, top5 {five:.4f}, ECE {ece:.4f}"


def _shown(rows: list[Any]) -> str:
    return ", ".join(f"{row.metric} {row.value:.4f}" for row in rows)


RUNS = {"read": read, "accuracy": accuracy, "calibration": calibrated, "scikit-learn": peer}


def child(command: str, store: str, small: str) -> None:
    """Time one command."""
    RUNS[command](small)  # imports
    before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    wall, cpu = time.perf_counter(), time.process_time()
    said = RUNS[command](store)
    row = {"said": said, "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    row["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    print(json.dumps(row))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", help="where the store is written; default a temporary folder")
    for name in ("--child", "--store", "--small"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.store, options.small)
        return
    threads = {name: str(options.threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name, samples in (("store", options.samples), ("small", 640)):
            make(Path(folder) / name, samples, options.classes)
        print(f"{options.samples} x {options.classes} float32 logits, {options.threads} threads")
        print(f"{'command':14}{'wall s':>8}{'CPU s':>8}{'peak MB':>9}  numbers")
        for command in COMMANDS:
            line = [sys.executable, __file__, "--child", command]
            line += ["--store", f"{folder}/store", "--small", f"{folder}/small"]
            env = {**os.environ, **threads}
            done = subprocess.run(line, capture_output=True, text=True, check=True, env=env)
            row = json.loads(done.stdout.splitlines()[-1])
            numbers = f"{row['wall']:8.2f}{row['cpu']:8.2f}{row['memory'] / 1e6:9.0f}"
            print(f"{command:14}{numbers}  {row['said']}", flush=True)


if __name__ == "__main__":
    main()
