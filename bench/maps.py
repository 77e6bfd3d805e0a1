"""What the benchmarks of analyses of maps share: maps, a store that holds them, and seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.storage.features import ArraySpec, FeatureStore, GroupKey, SplitInfo, Unit

LAYER = Layer("net", "last")


def features(images: int, shape: tuple[int, ...]) -> NDArray[np.float16]:
    """(images, H, W, C) float16 with a common mean, as deep features have."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((images, *shape), dtype=np.float32) + 0.5).astype(np.float16)


def stored(folder: Path, maps: NDArray[np.float16]) -> Callable[[], NDArray[Any]]:
    """The maps in an uncompressed store in a fresh folder; a call reads them (from the page cache: the best case)."""
    n = len(maps)
    store = FeatureStore.open(folder / "bench.zarr", mode="a")
    ids = np.array([f"s{i}" for i in range(n)])
    store.begin(SplitInfo("bench", "all", n, "0", 0, n, 1, (), ids, np.zeros(n, np.int64)))
    group, unit = GroupKey("bench", "all", LAYER.backbone, "maps"), Unit(0, 0, n)
    spec = ArraySpec(LAYER.tap, maps.shape[1:], "float16", ("sample", "row", "column", "channel"))
    store.declare(group, {"made": "bench"}, [spec])
    with store.writer(group, [LAYER.tap], unit) as writer:
        writer.write(LAYER.tap, 0, maps)
        writer.commit(provenance={"cvbench": "0"})
    layer = store.layer(group, LAYER.tap)
    return lambda: layer.read_unit(unit)


def seconds(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Least CPU and wall seconds of one call."""
    call()
    found = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
    return min(cpu for cpu, _ in found), min(wall for _, wall in found)


def table(
    name: str, maps: NDArray[np.float16], tools: dict[str, Callable[[], Any]], repeats: int, said: dict[str, str]
) -> None:
    """Print one row per tool; ratios are to the first one's CPU seconds."""
    base = 0.0
    for tool, call in tools.items():
        cpu, wall = seconds(call, repeats)
        base = base or cpu
        rate, speed = len(maps) / wall, maps.nbytes / wall / 1e6
        print(
            f"{name:12}{tool:14}{cpu:9.3f}{wall:9.3f}{rate:10.0f}{speed:8.0f}{base / cpu:10.1f}x  {said.get(tool, '')}"
        )


HEADER = f"{'maps':12}{'tool':14}{'CPU s':>9}{'wall s':>9}{'images/s':>10}{'MB/s':>8}{'CPU ratio':>11}  difference"
