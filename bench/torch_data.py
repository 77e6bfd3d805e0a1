"""How fast stored layers come out as batches of torch, beside a plain read: `python bench/torch_data.py`.

A layer of random float16 is written, read whole with `Layer.to_numpy`, and read in batches with `torch_dataset`. Both
verify every object's digest. Printed are MB/s of each, best of the rounds, and their ratio.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import cvbench
from cvbench.storage.features import ArraySpec, FeatureStore, GroupKey, SplitInfo
from cvbench.storage.features.units import plan_units


def write(path: Path, samples: int, shape: tuple[int, ...], unit: int) -> int:
    """A store of one layer; its bytes."""
    store = FeatureStore.open(path, mode="a")
    rng = np.random.default_rng(0)
    ids = np.array([f"{i:07d}" for i in range(samples)], dtype=np.str_)
    labels = rng.integers(0, 10, samples)
    info = SplitInfo("bench", "test", samples, "0" * 64, 0, unit, 32, tuple(map(str, range(10))), ids, labels, {})
    info = store.begin(info)
    group = GroupKey("bench", "test", "net", "maps" if len(shape) > 1 else "pooled")
    dims = ("sample", "row", "column", "channel") if len(shape) > 1 else ("sample", "channel")
    store.declare(group, {"made": "bench"}, [ArraySpec("layer", shape, "float16", dims)])
    for one in plan_units(samples, unit):
        with store.writer(group, ["layer"], one) as writer:
            writer.write("layer", 0, rng.normal(size=(len(one), *shape)).astype(np.float16))
            writer.commit()
    return samples * int(np.prod(shape)) * 2


def main() -> None:
    """Write, read both ways, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=256)
    given = parser.parse_args()
    for name, samples, shape, unit in (("maps", 2048, (14, 14, 384), 256), ("pooled", 200_000, (768,), 8192)):
        with tempfile.TemporaryDirectory() as folder:
            size = write(Path(folder) / "s.zarr", samples, shape, unit) / 1e6
            plain, batched = [], []
            for _ in range(given.rounds):
                layer = cvbench.open_store(Path(folder) / "s.zarr").layer("bench/test", "net", "layer", view=name)
                start = time.perf_counter()
                layer.to_numpy()
                plain.append(size / (time.perf_counter() - start))
                data = cvbench.torch_dataset(Path(folder) / "s.zarr", "layer", view=name, batch_size=given.batch)
                start = time.perf_counter()
                count = sum(len(batch["row"]) for batch in data)
                batched.append(size / (time.perf_counter() - start))
                assert count == samples
            best = max(plain), max(batched)
            rates = f"read {best[0]:6.0f} MB/s  batches {best[1]:6.0f} MB/s  {best[1] / best[0]:.2f}"
            print(f"{name:7} {size:6.0f} MB  {rates}")


if __name__ == "__main__":
    main()
