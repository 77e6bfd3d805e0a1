"""Every block of a network, pooled: by cvbench and by torchlens, against the bare forward pass of the same network.

    pip install torchlens==2.36.1
    python bench/torchlens_peer.py [--models convnext_tiny ...] [--batch 32] [--batches 3] [--rounds 3] [--threads 2]

Each figure is of a process of its own, which builds the network (random weights), runs one batch to warm up and then
times the others: CPU seconds of the process, and the peak of its resident memory. Ways alternate; best rounds count.
Bounds: cvbench at most 1.10 times the forward pass where that takes 1 GFLOP an image, and at most 0.4 of torchlens'
memory. What both give is compared: means over positions of the same block outputs. One row of JSON each; exit 1 if the
two disagree.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cvbench.engine.models.backbones import Backbone, describe, load_backbone, resolve_spec
from cvbench.engine.models.views import Request

MODELS = ("convnext_tiny", "vit_small_patch16_224", "resnet50", "regnety_016", "mobilenetv3_large_100")
WAYS = ("forward", "cvbench", "torchlens")
Means = dict[str, torch.Tensor]


def forward(backbone: Backbone, images: torch.Tensor) -> Means:
    """The network alone; keeps nothing."""
    backbone.network(backbone.inputs(images))
    return {}


def cvbench(backbone: Backbone, images: torch.Tensor, taps: list[str]) -> Means:
    """The view `pooled` of every block: (batch, channels) float32."""
    found = backbone.run(images, [Request("pooled", tap) for tap in taps], dtype="float32")
    return {request.tap: values for request, values in found.items()}


def torchlens(backbone: Backbone, images: torch.Tensor, taps: list[str]) -> Means:
    """Block outputs by torchlens, averaged over positions as `pooled` is."""
    import torchlens

    found = torchlens.extract(backbone.network, backbone.inputs(images), {tap: tap for tap in taps})
    return {
        tap: values[:, getattr(backbone.network, "num_prefix_tokens", 0) :].mean(1)
        if values.ndim == 3
        else values.mean((2, 3))
        for tap, values in found.items()
    }


def peak() -> int:
    """Peak resident bytes of this process; not getrusage's, which a child has from its parent."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def measure(model: str, way: str, batch: int, batches: int, threads: int) -> dict[str, Any]:
    """CPU seconds a batch, peak bytes and some values of one way, in this process."""
    torch.set_num_threads(threads)
    backbone = load_backbone(resolve_spec(model, weights="random"))
    taps = backbone.resolve_taps(["blocks"])
    size = backbone.preprocess.geometry.size
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, generator=generator)
    ways: dict[str, Callable[[], Means]] = {
        "forward": partial(forward, backbone, images),
        "cvbench": partial(cvbench, backbone, images, taps),
        "torchlens": partial(torchlens, backbone, images, taps),
    }
    with torch.inference_mode():
        found = ways[way]()
        begin = time.process_time()
        for _ in range(batches):
            ways[way]()
        seconds = (time.process_time() - begin) / batches
    values = {tap: found[tap][0, :8].tolist() for tap in found}
    return {"seconds": seconds, "peak": peak(), "values": values}


def in_a_process(model: str, way: str, batch: int, batches: int, threads: int) -> dict[str, Any]:
    """`measure` in a process of its own."""
    code = "import json, sys; import torchlens_peer as b; a = json.loads(sys.argv[1]); print(json.dumps(b.measure(*a)))"
    words = [sys.executable, "-c", code, json.dumps([model, way, batch, batches, threads])]
    told = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return found


def compared(model: str, rounds: int, *how: int) -> dict[str, Any]:
    """One row: ratios of CPU seconds to the forward pass, peaks, and the largest difference of the values."""
    runs = [{way: in_a_process(model, way, *how) for way in WAYS} for _ in range(rounds)]
    seconds = {way: min(run[way]["seconds"] for run in runs) for way in WAYS}
    peaks = {way: max(run[way]["peak"] for run in runs) for way in WAYS}
    ours, theirs = runs[0]["cvbench"]["values"], runs[0]["torchlens"]["values"]
    assert ours.keys() == theirs.keys()
    errors = [np.abs(np.subtract(ours[tap], theirs[tap])).max() / np.abs(theirs[tap]).max() for tap in ours]
    return {
        "model": model,
        "gflop": round(describe(resolve_spec(model, weights="random"), taps=["blocks"]).work.flops / 1e9, 1),
        "blocks": len(ours),
        "cvbench_over_forward": round(seconds["cvbench"] / seconds["forward"], 3),
        "torchlens_over_forward": round(seconds["torchlens"] / seconds["forward"], 3),
        **{f"{way}_peak_mb": round(peaks[way] / 2**20) for way in WAYS},
        "memory_ratio": round(peaks["cvbench"] / peaks["torchlens"], 3),
        "largest_relative_difference": float(f"{max(errors):.1e}"),
    }


def main() -> int:
    """Print a row for each network, and say by the exit code whether the two agree."""
    parser = argparse.ArgumentParser(description="taps of cvbench and torchlens against the forward pass")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    agree = True
    for model in asked.models:
        row = compared(model, asked.rounds, asked.batch, asked.batches, asked.threads)
        print(json.dumps(row), flush=True)
        agree &= row["largest_relative_difference"] < 1e-4
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
