"""Every kernel check and figure on one CUDA machine: no Ray, no network, under ten minutes.

    python bench/gpu.py            # ConvNeXt-Base and ViT-B/16 with random weights, on `cuda`
    python bench/gpu.py --smoke    # the same lines with tiny models on any device: does it run?

Prints one JSON object; exit 1 if a check of `kernels` fails.

    forward   images/s of the bare models and of `Backbone.run` with every block pooled and the head, on the same uint8
              batch that lies on the device (bound 0.90), and how far the precision moves the pooled features from fp32
    kernels   CuPy (NumPy without a GPU) against NumPy in float64
    cka       the unit kernel against its matrix products alone, of the same shapes, on the same device
    extract   the whole job, from JPEG files to commits, in this process
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from gpu_checks import AGREEMENT, kernel_checks
from numpy.typing import NDArray
from PIL import Image

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.cka.measure import MinibatchCka
from cvbench.engine.arrays.array import from_torch, namespace, torch_stream
from cvbench.engine.models.backbones import Backbone, load_backbone
from cvbench.engine.models.precision import forward_mode
from cvbench.engine.models.specs import resolve_spec
from cvbench.engine.models.views import Request
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.registry import find_live
from cvbench.jobs.running.cluster import Cluster


@dataclass(frozen=True)
class Scale:
    """How large the run is: models, images per batch, and for CKA layers, samples, batch and width."""

    models: tuple[str, ...]
    batch: int
    rounds: int
    layers: int
    samples: int
    cka_batch: int
    width: int
    images: int


FULL = Scale(("convnext_base", "vit_base_patch16_224"), 128, 20, 24, 1024, 128, 14 * 14 * 768, 4096)
SMOKE = Scale(("test_convnext", "test_vit"), 8, 2, 3, 64, 16, 500, 64)


def seconds(work: Callable[[], object], rounds: int, device: torch.device) -> float:
    """Median time of `work`, by CUDA events on a GPU; two rounds warm it up."""
    times = []
    for _ in range(rounds + 2):
        if device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize(device)
            begin.record()
            work()
            end.record()
            torch.cuda.synchronize(device)
            times.append(begin.elapsed_time(end) / 1e3)
        else:
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def images_for(backbone: Backbone, count: int) -> torch.Tensor:
    """(count, 3, h, w) uint8 noise on the backbone's device."""
    generator = torch.Generator().manual_seed(0)
    size = backbone.preprocess.geometry.size
    return torch.randint(0, 256, (count, 3, *size), generator=generator, dtype=torch.uint8).to(backbone.device)


def requests_of(backbone: Backbone) -> list[Request]:
    """Every block pooled, and the head."""
    return [*(Request("pooled", tap) for tap in backbone.resolve_taps(["blocks"])), Request("head", "head")]


def precisions(device: torch.device) -> list[str]:
    """The precisions that the device computes in."""
    if device.type != "cuda":
        return ["fp32", "bf16"]
    return ["fp32", "fp16", *(["bf16"] if torch.cuda.get_device_capability(device) >= (8, 0) else [])]


def forward_figures(scale: Scale, device: torch.device) -> dict[str, Any]:
    """Per model and precision: images/s bare and tapped, their ratio, and the rounding against fp32."""
    figures: dict[str, Any] = {}
    for name in scale.models:
        exact: NDArray[np.float64] | None = None
        for precision in precisions(device):
            backbone = load_backbone(resolve_spec(name, weights="random"), device=str(device), precision=precision)
            images, requests = images_for(backbone, scale.batch), requests_of(backbone)
            kinds = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
            bare = timm.create_model(name, pretrained=False).eval().to(device)
            bare = bare.to(memory_format=torch.channels_last)

            def plain(
                bare: Any = bare, backbone: Backbone = backbone, images: Any = images, kind: Any = kinds[precision]
            ) -> None:
                with forward_mode(backbone.device, kind):
                    bare(backbone.preprocess.normalise(images).contiguous(memory_format=torch.channels_last))

            def tapped(backbone: Backbone = backbone, images: Any = images, requests: Any = requests) -> None:
                backbone.run(images, requests)

            rates = [scale.batch / seconds(work, scale.rounds, device) for work in (plain, tapped)]
            last = backbone.run(images, requests, dtype="float32")[requests[-2]].double().cpu().numpy()
            exact = last if exact is None else exact
            figures[f"{name} {precision}"] = {
                "bare_images_s": round(rates[0], 1),
                "tapped_images_s": round(rates[1], 1),
                "ratio": round(rates[1] / rates[0], 3),
                "rounding_last_block": float(np.abs(last - exact).max() / np.abs(exact).max()),
            }
            del bare, backbone
    return figures


def cka_figures(scale: Scale, device: torch.device) -> dict[str, float]:
    """Seconds of one unit of CKA, of its Gram products alone, and the rates of both and of a large product."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn((scale.samples, scale.width), generator=generator).half().to(device)
    layers = [Layer("a", str(index)) for index in range(scale.layers)]
    stored = from_torch(rows)
    xp = namespace(stored)
    single = stored.astype(xp.float32)
    square = xp.ones((4096, 4096), dtype=xp.float32) if device.type == "cuda" else xp.ones((512, 512), dtype=xp.float32)

    def products() -> None:
        for _ in layers:
            for start in range(0, scale.samples, scale.cka_batch):
                part = single[start : start + scale.cka_batch]
                part @ part.T

    with torch_stream(rows):
        analysis = MinibatchCka(batch=scale.cka_batch)
        rounds = min(scale.rounds, 3)
        unit = seconds(
            lambda: analysis.measure(layers, lambda _layer: stored, np.arange(scale.samples)), rounds, device
        )
        alone = seconds(products, rounds, device)
        large = seconds(lambda: square @ square, rounds, device)
    flops = 2.0 * scale.layers * scale.samples * scale.cka_batch * scale.width
    return {
        "unit_s": unit,
        "products_s": alone,
        "share_of_products": alone / unit,
        "unit_tflops": flops / unit / 1e12,
        "products_tflops": flops / alone / 1e12,
        "large_product_tflops": 2.0 * len(square) ** 3 / large / 1e12,
        "read_gb_s": stored.nbytes * scale.layers / unit / 1e9,
    }


def write_images(folder: Path, count: int) -> None:
    """JPEGs of 500 x 375 pixels in two class folders: coarse noise, enlarged, about the size of a photograph's file."""
    rng = np.random.default_rng(0)
    for index in range(count):
        target = folder / f"class{index % 2}"
        target.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (47, 63, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(target / f"{index:06d}.jpg", quality=90)


def extract_figures(scale: Scale, device: torch.device) -> dict[str, float]:
    """The whole job, decode to commit, in this process: images/s per precision, without and with all live analyses."""
    figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        write_images(Path(scratch) / "images", scale.images)
        for precision, live in itertools.product(precisions(device), ((), ("cka", "spectra", "similarity"))):
            name = f"{precision} live" if live else precision
            options = ExtractOptions(
                dataset=f"folder:{scratch}/images",
                backbones=scale.models,
                store=f"{scratch}/{name.replace(' ', '-')}.zarr",
                weights=("random",),
                views=("pooled", "head"),
                batch_size=scale.batch,
                precision=precision,
                image_size=64 if scale is SMOKE else None,  # a grid of one position has no spectrum
                analyses=live,
            )
            start = time.perf_counter()
            report = extract(options, Cluster(address="none", device=device.type), live=find_live(live))
            figures[name] = report.computed / (time.perf_counter() - start)
    return figures


def machine(device: torch.device) -> dict[str, str]:
    """What the figures belong to."""
    found = {"torch": torch.__version__, "timm": timm.__version__, "device": device.type}
    if device.type == "cuda":
        import cupy

        found |= {
            "device": torch.cuda.get_device_name(device),
            "cupy": cupy.__version__,
            "cuda": str(torch.version.cuda),
        }
    return found


def main() -> int:
    """Run everything, print one JSON object, and say by the exit code whether the kernels agree."""
    parser = argparse.ArgumentParser(description="checks and figures on one CUDA machine")
    parser.add_argument("--smoke", action="store_true", help="tiny models, on the CPU if there is no GPU")
    smoke = parser.parse_args().smoke
    if not smoke and not torch.cuda.is_available():
        parser.error("no CUDA device; --smoke runs the same lines on the CPU")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scale = SMOKE if smoke else FULL
    checks = kernel_checks(device)
    figures = {
        "machine": machine(device),
        "kernels": checks,
        "forward": forward_figures(scale, device),
        "cka": cka_figures(scale, device),
        "extract_images_s": extract_figures(scale, device),
    }
    print(json.dumps(figures, indent=1))
    return int(max(checks.values()) > AGREEMENT)


if __name__ == "__main__":
    raise SystemExit(main())
