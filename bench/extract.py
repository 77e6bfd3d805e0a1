"""Extraction against the bare forward pass of the same models on the same batches, and its memory against the samples.

    python bench/extract.py [--images 256] [--rounds 3] [--threads 2] [--pair convnext_base vit_base_patch16_224]

Throughput: `extract --view pooled` (decode, forward, reduce, write, commit; in this process, no Ray) against a loop
that does only the forward passes, on batches decoded beforehand; the same with each live analysis, and with all three.
Alternating rounds; the ratios are of the best rounds, in wall clock and in CPU seconds. The forward pass is the
physical limit. Bounds: 0.90 without, 0.85 (an aim) with all live analyses. Memory: peak resident set of whole processes
at N and 8 N samples, without and with all live analyses. Bound: 1.1.
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

import numpy as np
from PIL import Image

from cvbench.jobs.extraction.options import ExtractOptions

BACKBONES = ("convnext_tiny", "vit_small_patch16_224")
BATCH = 32


def write_images(root: Path, count: int, size: tuple[int, int] = (375, 500)) -> Path:
    """JPEGs of photographic size and smoothness."""
    rng = np.random.default_rng(0)
    (root / "a").mkdir(parents=True)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        coarse.resize(size[::-1], Image.Resampling.BICUBIC).save(root / "a" / f"{number:05d}.jpg", quality=90)
    return root


LIVE: dict[str, tuple[str, ...]] = {"extract": (), "all live": ("cka", "spectra", "similarity")}
LIVE |= {name: (name,) for name in LIVE["all live"]}


def options(
    images: Path,
    store: Path,
    backbones: tuple[str, ...],
    unit: int,
    image_size: int | None,
    analyses: tuple[str, ...] = (),
) -> ExtractOptions:
    return ExtractOptions(
        dataset=f"folder:{images}",
        backbones=backbones,
        store=str(store),
        weights=("random",),
        batch_size=BATCH,
        unit=unit,
        image_size=image_size,
        analyses=analyses,
    )


def throughput(
    images: Path, count: int, rounds: int, threads: int, folder: Path, pair: tuple[str, ...]
) -> dict[str, float]:
    import torch

    from cvbench.engine.models.backbones import load_backbone, resolve_spec
    from cvbench.engine.pictures.decode import decode, fit
    from cvbench.jobs.extraction.extract import prepare
    from cvbench.jobs.registry import find_live
    from cvbench.jobs.running.cluster import Cluster

    torch.set_num_threads(threads)
    cluster = Cluster(address="none", threads=threads)
    backbones = [load_backbone(resolve_spec(name, weights="random")) for name in pair]
    files = sorted((images / "a").iterdir())[:count]
    decoded = [
        torch.stack([torch.from_numpy(fit(decode(f.read_bytes()), b.preprocess.geometry)) for f in files])
        for b in backbones
    ]

    def bare() -> tuple[float, float]:
        begin = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            for start in range(0, count, BATCH):
                for backbone, all_images in zip(backbones, decoded, strict=True):
                    inputs = backbone.preprocess.normalise(all_images[start : start + BATCH])
                    backbone.network(inputs.contiguous(memory_format=torch.channels_last))
        return time.perf_counter() - begin[0], time.process_time() - begin[1]

    def ours(name: str, number: int) -> tuple[float, float]:
        # Loading the weights is not part of the rate: it is the same for one image and for a million.
        store = folder / f"{name}{number}.zarr"
        job = prepare(options(images, store, pair, 128, None, LIVE[name]), cluster, find_live(LIVE[name]))
        worker = job.recipe.build()
        tasks = job.tasks()
        begin = time.perf_counter(), time.process_time()
        for task in tasks:
            worker.run(task)
        return time.perf_counter() - begin[0], time.process_time() - begin[1]

    bare()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ("bare", *LIVE)}
    for number in range(rounds):
        seconds["bare"].append(bare())
        for name in LIVE:
            seconds[name].append(ours(name, number))
    best = {name: [min(values) for values in zip(*pairs, strict=True)] for name, pairs in seconds.items()}
    found = {"bare_images_per_s": count / best["bare"][0]}
    for name in LIVE:
        wall, cpu = (best["bare"][i] / best[name][i] for i in (0, 1))
        found |= {f"{name}: ratio": wall, f"{name}: ratio of CPU seconds": cpu}
    return found


def peak(images: Path, folder: Path, limit: int, live: tuple[str, ...] = ()) -> float:
    """Peak resident MB of one whole extraction of `limit` samples in its own process."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import extract as b; from pathlib import Path;"
        "from dataclasses import replace; from cvbench.jobs.extraction.extract import extract;"
        "from cvbench.jobs.registry import find_live; from cvbench.jobs.running.cluster import Cluster;"
        "pair = ('test_convnext', 'test_vit');"
        "o = b.options(Path(sys.argv[2]), Path(sys.argv[3]), pair, 64, None, tuple(sys.argv[5:]));"
        "extract(replace(o, limit=int(sys.argv[4])), Cluster(address='none'), live=find_live(o.analyses));"
        # Not getrusage: its peak is inherited from the parent through fork.
        "print(next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM')) / 1024)"
    )
    here = str(Path(__file__).parent)
    store = folder / f"m{limit}{len(live)}.zarr"
    arguments = [sys.executable, "-c", code, here, str(images), str(store), str(limit), *live]
    return float(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()[-1])


def main() -> int:
    """Measure, print one JSON object, and say by the exit code whether the bounds hold."""
    parser = argparse.ArgumentParser(description="extract against the bare forward pass")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--pair", nargs="+", default=BACKBONES)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = write_images(folder / "images", given.images)
        figures: dict[str, float] = throughput(
            images, given.images, given.rounds, given.threads, folder, tuple(given.pair)
        )
        many = write_images(folder / "many", 1024, (96, 128))
        small, large = peak(many, folder, 128), peak(many, folder, 1024)
        figures |= {"peak_mb_at_128": small, "peak_mb_at_1024": large, "memory_ratio": large / small}
        small, large = (peak(many, folder, count, LIVE["all live"]) for count in (128, 1024))
        figures |= {"live peak_mb_at_128": small, "live peak_mb_at_1024": large, "live memory_ratio": large / small}
    print(json.dumps({key: round(value, 3) for key, value in figures.items()}, indent=2))
    flat = max(figures["memory_ratio"], figures["live memory_ratio"]) <= 1.1
    return 0 if figures["extract: ratio"] >= 0.90 and flat else 1


if __name__ == "__main__":
    sys.exit(main())
