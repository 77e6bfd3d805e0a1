"""Similarity between local features: cvbench, the plain torch way, and the speed at which the store gives the maps.

    python bench/similarity.py [--images 64] [--threads 1] [--grids 14x14x768 28x28x256]

All get the same float16 maps and make the mean matrix, raw and centred. `torch` is `F.normalize`, `bmm` and `mean`,
and nothing else; cvbench's row also has the correlogram, the profile, |S|, contrast and correlation length per image.
The last row reads the same maps from an uncompressed store in a fresh folder (from the page cache: the best case).
Times are CPU seconds, the least of --repeats; the difference is the largest of any entry of the mean matrices.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.similarity import Similarity
from cvbench.storage.features import ArraySpec, FeatureStore, GroupKey, SplitInfo, Unit

LAYER = Layer("net", "last")


def features(images: int, shape: tuple[int, ...]) -> NDArray[np.float16]:
    """(images, H, W, C) float16 with a common mean, as deep features have."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((images, *shape), dtype=np.float32) + 0.5).astype(np.float16)


def by_torch(maps: NDArray[np.float16]) -> NDArray[np.float64]:
    """(2, P, P) mean matrices."""
    found = []
    flat = torch.from_numpy(maps).flatten(1, 2).float()
    for centred in (False, True):
        values = flat - flat.mean(dim=1, keepdim=True) if centred else flat
        units = torch.nn.functional.normalize(values, dim=-1)
        found.append(torch.bmm(units, units.transpose(1, 2)).mean(dim=0))
    return torch.stack(found).numpy().astype(np.float64)


def by_cvbench(maps: NDArray[np.float16]) -> NDArray[np.float64]:
    """(2, P(P+1)/2) mean matrices, and all else that the analysis measures."""
    return Similarity().measure_layer(0, LAYER, maps)["matrix/0"] / len(maps)


def stored(folder: Path, maps: NDArray[np.float16]) -> Callable[[], NDArray[Any]]:
    """The maps in a store; a call reads them."""
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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--grids", nargs="+", default=["14x14x768", "28x28x256"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.images} images, {options.threads} threads")
    print(f"{'maps':12}{'tool':12}{'CPU s':>9}{'wall s':>9}{'images/s':>10}{'MB/s':>8}{'CPU ratio':>11}  difference")
    for name in options.grids:
        maps = features(options.images, tuple(int(part) for part in name.split("x")))
        upper = np.triu_indices(maps.shape[1] * maps.shape[2])
        error = np.abs(by_torch(maps)[:, upper[0], upper[1]] - by_cvbench(maps)).max()
        with tempfile.TemporaryDirectory() as folder, threadpool_limits(options.threads):
            tools = {
                "torch": lambda maps=maps: by_torch(maps),
                "cvbench": lambda maps=maps: by_cvbench(maps),
                "read store": stored(Path(folder), maps),
            }
            base = 0.0
            for tool, call in tools.items():
                cpu, wall = seconds(call, options.repeats)
                base = base or cpu
                said = f"  {error:.1e}" if tool == "cvbench" else ""
                rate, speed = options.images / wall, maps.nbytes / wall / 1e6
                print(f"{name:12}{tool:12}{cpu:9.3f}{wall:9.3f}{rate:10.0f}{speed:8.0f}{base / cpu:10.1f}x{said}")


if __name__ == "__main__":
    main()
