"""Store against the disk: writing and reading `maps` beside the same bytes raw, and bytes on disk per codec.

    python bench/store.py [--folder DIR] [--rounds 5]

Raw means: the same bytes in files of the same size, one `write` and one `fsync` each; read back with `np.fromfile`,
a unit at a time like the store. Making the empty store (a few small files) is not part of the time. Rounds alternate
between the two; the ratio of the best times is what remains when neighbours load the machine. The limit of both is the
disk (write) and the page cache (read). Values are like activations: normal, channel scales spread log-normally.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.storage.features import ArraySpec, FeatureStore, GroupKey, SplitInfo
from cvbench.storage.features.units import chunk_rows, plan_units

SAMPLE = (14, 14, 512)  # ConvNeXt-Base, stage 2: 200 kB of float16
UNIT, UNITS, BATCH = 256, 2, 32
CODECS = ("none", "zstd", "blosc-zstd", "bitround7+blosc-zstd", "bitround5+blosc-lz4", "bitround5+blosc-zstd")


def activations(rows: int) -> NDArray[np.float16]:
    """(rows, H, W, C) float16."""
    rng = np.random.default_rng(0)
    scales = np.exp(rng.normal(0, 0.7, SAMPLE[-1])).astype(np.float32)
    return (rng.standard_normal((rows, *SAMPLE), dtype=np.float32) * scales).astype(np.float16)


def create(folder: Path, codec: str) -> tuple[FeatureStore, GroupKey]:
    """An empty store for the rows of this benchmark."""
    n = UNIT * UNITS
    store = FeatureStore.open(folder, "a")
    ids = np.array([f"{i:06d}" for i in range(n)])
    store.begin(SplitInfo("bench", "all", n, "0", 0, UNIT, BATCH, (), ids, np.zeros(n, np.int64)))
    group = GroupKey("bench", "all", "convnext", "maps")
    spec = ArraySpec("stages.2", SAMPLE, "float16", ("sample", "row", "column", "channel"))
    store.declare(group, {"made": "bench"}, [spec], codec=codec)
    return store, group


def write_store(store: FeatureStore, group: GroupKey, rows: NDArray[Any]) -> None:
    """Batches in, units committed."""
    for unit in plan_units(len(rows), UNIT):
        with store.writer(group, ["stages.2"], unit) as writer:
            for offset in range(0, len(unit), BATCH):
                start = unit.start + offset
                writer.write("stages.2", offset, rows[start : start + BATCH])
            writer.commit()


def write_raw(folder: Path, rows: NDArray[Any]) -> None:
    """The same bytes, one file per chunk of the store, each with an fsync."""
    folder.mkdir(parents=True)
    size = chunk_rows(UNIT, rows[0].nbytes)
    for start in range(0, len(rows), size):
        with open(folder / f"{start:06d}", "wb", buffering=0) as file:
            view = rows[start : start + size].reshape(-1).view(np.uint8).data
            while len(view):
                view = view[file.write(view) :]
            os.fsync(file.fileno())


def read_store(folder: Path) -> None:
    """Every unit through the ledger, checked."""
    layer = FeatureStore.open(folder).layer(GroupKey("bench", "all", "convnext", "maps"), "stages.2")
    for unit in layer.units:
        layer.read_unit(unit)


def read_raw(folder: Path) -> None:
    """The files of a unit, one array each, held until the unit is complete."""
    paths = sorted(folder.iterdir())
    per_unit = len(paths) // UNITS
    for start in range(0, len(paths), per_unit):
        [np.fromfile(path, np.float16) for path in paths[start : start + per_unit]]


def seconds(call: Callable[[], None]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def size_of(folder: Path) -> int:
    """Bytes of the feature chunks."""
    return sum(path.stat().st_size for path in folder.glob("bench/all/convnext/maps/**/c.*"))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to write; the system's temporary folder by default")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows = activations(UNIT * UNITS)
    gigabytes = rows.nbytes / 1e9
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        base = Path(name)
        times: dict[str, list[float]] = {"write store": [], "write raw": [], "read store": [], "read raw": []}
        write_unit(base / "store", rows[:UNIT], "none")  # imports and first calls are not what is measured
        for _ in range(options.rounds):
            for folder in (base / "store", base / "raw"):
                shutil.rmtree(folder, ignore_errors=True)
            times["write raw"].append(seconds(lambda: write_raw(base / "raw", rows)))
            store, group = create(base / "store", "none")
            times["write store"].append(seconds(partial(write_store, store, group, rows)))
            for _ in range(2):
                times["read raw"].append(seconds(lambda: read_raw(base / "raw")))
                times["read store"].append(seconds(lambda: read_store(base / "store")))
        medians = {name: statistics.median(values) for name, values in times.items()}
        print(f"maps {rows.shape} float16, {rows.nbytes / 1e6:.0f} MB, medians of {options.rounds} alternated rounds")
        for name, value in medians.items():
            print(f"  {name:<12} {gigabytes / value:6.2f} GB/s   {value:6.3f} s   best {min(times[name]):6.3f} s")
        best = {name: min(values) for name, values in times.items()}
        for what, of in (("medians", medians), ("best", best)):
            print(
                f"  {what}: write {of['write store'] / of['write raw']:.2f} x the time of raw (at most 1.5)", end="; "
            )
            print(f"read {of['read raw'] / of['read store']:.2f} of the raw rate (at least 0.7)")
        part = rows[:UNIT]
        print(f"bytes on disk against float16 raw, one unit of {part.nbytes / 1e6:.0f} MB")
        for codec in CODECS:
            folder = base / "codec"
            shutil.rmtree(folder, ignore_errors=True)
            took = seconds(partial(write_unit, folder, part, codec))
            stored = size_of(folder)
            print(
                f"  {codec:<22} {stored / 1e6:7.1f} MB  {part.nbytes / stored:5.2f} x smaller   written in {took:.2f} s"
            )


def write_unit(folder: Path, rows: NDArray[Any], codec: str) -> None:
    """The first unit only."""
    store, group = create(folder, codec)
    unit = plan_units(UNIT * UNITS, UNIT)[0]
    with store.writer(group, ["stages.2"], unit) as writer:
        writer.write("stages.2", 0, rows)
        writer.commit()


if __name__ == "__main__":
    main()
