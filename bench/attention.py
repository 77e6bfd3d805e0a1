"""Attention of every head of a ViT beside the forward pass that it is taken from.

    python bench/attention.py [--model vit_base_patch16_224 ...] [--images 8] [--repeats 5] [--threads 1]

CPU seconds of one pass of the network alone, of the same pass with the numbers of all its attention layers, of that
pass where all products are in float64 and the network attends itself (as for large logits), and of the float64 products
of queries and keys alone; one after the other in every repeat, the least of each. Random weights. Bound: the numbers
cost at most 10 % of the pass.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch

from cvbench.engine.analyses.attention import together
from cvbench.engine.analyses.attention.capture import Heads, attention_layers, measure_attention
from cvbench.engine.models.backbones import Backbone, BackboneSpec, load_backbone
from cvbench.engine.models.precision import forward_mode

MODELS = ("vit_base_patch16_224", "vit_small_patch16_224", "vit_base_patch14_reg4_dinov2")
BOUND = 0.10


def seconds(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Least CPU seconds of each call; they take turns."""
    found = dict.fromkeys(calls, float("inf"))
    for _ in range(repeats + 1):  # the first is a warm-up, and counts as the others do
        for name, call in calls.items():
            begin = time.process_time()
            call()
            found[name] = min(found[name], time.process_time() - begin)
    return found


def products(layers: dict[str, Heads], images: int, width: int) -> Callable[[], Any]:
    """Products of queries and keys of every layer in float64, a head of an image at a time."""
    drawn = []
    for one in layers.values():
        shape = (images * one.heads, one.tokens.count, width // one.heads)
        drawn.append((torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)))

    def call() -> None:
        for query, key in drawn:
            for q, k in zip(query, key, strict=True):
                _ = q @ k.T

    return call


def measured(backbone: Backbone, images: int, repeats: int) -> dict[str, float]:
    """Seconds of the pass, of the pass with attention, and of the products."""
    size = backbone.preprocess.geometry.size
    batch = torch.randint(0, 256, (images, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    layers, _ = attention_layers(backbone)
    taps = {tap: one.heads for tap, one in layers.items()}
    width = backbone.layouts(backbone.tap_names())[next(iter(layers))].channels

    def forward() -> None:
        with forward_mode(backbone.device, backbone.compute):
            backbone.network(backbone.inputs(batch))

    def in_float64() -> None:
        with patch.object(together, "LOGITS", 0.0):
            measure_attention(backbone, batch, taps)

    calls = {
        "forward": forward,
        "attention": lambda: measure_attention(backbone, batch, taps),
        "in float64": in_float64,
        "products": products(layers, images, width),
    }
    return seconds(calls, repeats)


def main() -> int:
    """Measure, and print a row for each model; 1 if one is beyond the bound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    beyond = False
    print(f"{'model':32}{'forward s':>11}{'with attention':>16}{'above':>8}{'in float64':>12}{'products alone':>16}")
    for model in given.model or MODELS:
        found = measured(load_backbone(BackboneSpec(model, "random")), given.images, given.repeats)
        above, wide, floor = (found[name] / found["forward"] for name in ("attention", "in float64", "products"))
        print(f"{model:32}{found['forward']:11.3f}{found['attention']:16.3f}", end="")
        print(f"{above - 1:8.1%}{wide - 1:12.1%}{floor:16.1%}", flush=True)
        beyond |= above - 1 > BOUND
    return int(beyond)


if __name__ == "__main__":
    sys.exit(main())
