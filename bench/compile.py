"""Compiled passes against plain ones: seconds of the first batch, and of each batch after it.

    python bench/compile.py [--model convnext_tiny] [--batch 16] [--rounds 5] [--device cpu] [--precision fp32]

The pass is that of `extract --view pooled` with all blocks and the head. Plain and compiled batches alternate; ratios
are of the medians. CPU seconds are those of this process; on a GPU wall clock alone says something. Prints one JSON
object: for each model the seconds that compiling takes, the ratio of a compiled batch to a plain one, after how many
images compiling has paid, and the largest difference of any value, relative to the largest of its layer. Bound:
differences below 2**-18 in fp32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any

import torch

from cvbench.engine.models.backbones import Backbone, BackboneSpec, Request, load_backbone
from cvbench.engine.models.views import expand_views

BOUND = 2.0**-18


def seconds_of(backbone: Backbone, images: torch.Tensor, requests: list[Request]) -> tuple[float, float]:
    """Wall clock and CPU seconds of one batch."""
    begin = time.perf_counter(), time.process_time()
    backbone.run(images, requests, dtype="float32")
    if images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin[0], time.process_time() - begin[1]


def compare(model: str, batch: int, rounds: int, device: str, precision: str) -> dict[str, Any]:
    """Figures of one model."""
    spec = BackboneSpec(model, "random")
    plain, other = (load_backbone(spec, device=device, precision=precision, compiled=how) for how in (False, True))
    requests = expand_views(["pooled", "head"], plain.layouts(plain.resolve_taps(["blocks"])))
    shape = (batch, 3, *plain.preprocess.geometry.size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(device)
    seconds_of(plain, images, requests)
    first = seconds_of(other, images, requests)
    pairs = [(seconds_of(plain, images, requests), seconds_of(other, images, requests)) for _ in range(rounds)]
    eager, compiled = ([statistics.median(pair[i][j] for pair in pairs) for j in (0, 1)] for i in (0, 1))
    ours, theirs = (one.run(images, requests, dtype="float32") for one in (other, plain))
    apart = max(float((ours[r] - theirs[r]).abs().max() / theirs[r].abs().max()) for r in requests)
    saved = eager[0] - compiled[0]
    return {
        "compile_s": first[0] - compiled[0],
        "images_per_s": batch / eager[0],
        "wall_ratio": compiled[0] / eager[0],
        "cpu_ratio": compiled[1] / eager[1],
        "pays_after_images": None if saved <= 0 else batch * (first[0] - compiled[0]) / saved,
        "largest_difference": apart,
    }


def main() -> int:
    """Measure, print one JSON object, and say by the exit code whether the bound holds."""
    parser = argparse.ArgumentParser(description="compiled against plain passes")
    parser.add_argument("--model", action="append")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    models = given.model or ["convnext_tiny", "vit_small_patch16_224"]
    figures = {model: compare(model, given.batch, given.rounds, given.device, given.precision) for model in models}
    print(json.dumps(figures, indent=2))
    exact = given.precision == "fp32"
    return 0 if not exact or all(one["largest_difference"] <= BOUND for one in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
