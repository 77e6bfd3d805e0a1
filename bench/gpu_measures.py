"""Rates of a card, of forward passes and of the kernels of live analyses, and their memory. Part of bench/gpu.py."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.cka.measure import MinibatchCka
from cvbench.engine.analyses.live import LiveAnalysis
from cvbench.engine.analyses.similarity.measure import Similarity
from cvbench.engine.analyses.spectra.measure import Spectra
from cvbench.engine.models.backbones import Backbone, load_backbone
from cvbench.engine.models.precision import PRECISIONS, exact_arithmetic, forward_mode
from cvbench.engine.models.specs import resolve_spec
from cvbench.engine.models.views import Request
from cvbench.jobs.extraction.live import LivePass, Watch


@dataclass(frozen=True)
class Scale:
    """How large a run is.

    Attributes:
        models: timm's names.
        batch: Images per forward pass.
        rounds: Of each measurement.
        images: Of an extraction, in units of `unit`.
        unit: Samples.
        image_size: None is the models' own.
        side: Of the large square product.
        grids: (side, channels) of the layers that kernels are timed on.
    """

    models: tuple[str, ...]
    batch: int
    rounds: int
    images: int
    unit: int
    image_size: int | None
    side: int
    grids: tuple[tuple[int, int], ...]


FULL = Scale(
    ("convnext_base", "vit_base_patch16_224"), 256, 10, 8192, 1024, None, 8192, ((56, 128), (28, 256), (14, 768))
)
DRY = Scale(("test_convnext", "test_vit"), 8, 2, 64, 16, 64, 256, ((30, 8), (8, 16)))


def seconds(work: Callable[[], object], rounds: int, device: torch.device) -> float:
    """Median time of `work`, by CUDA events on a GPU; two rounds warm it up."""
    times: list[float] = []
    for _ in range(rounds + 2):
        if device.type == "cuda":
            event: Any = torch.cuda.Event  # untyped
            begin, end = event(enable_timing=True), event(enable_timing=True)
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


def precisions(device: torch.device) -> list[str]:
    """The precisions that the device computes in, fp32 first."""
    if device.type != "cuda":
        return ["fp32", "bf16"]
    return ["fp32", "fp16", *(["bf16"] if torch.cuda.get_device_capability(device) >= (8, 0) else [])]


def card_figures(scale: Scale, device: torch.device) -> dict[str, float]:
    """TFLOP/s of a large product by type, GB/s of copies (a copy within the device reads and writes)."""
    figures = {}
    for precision in precisions(device):
        square = torch.ones((scale.side, scale.side), dtype=PRECISIONS[precision], device=device)
        with exact_arithmetic(device):
            took = seconds(partial(torch.matmul, square, square), scale.rounds, device)
        figures[f"product_{precision}_tflops"] = 2.0 * scale.side**3 / took / 1e12
    there = torch.ones(scale.side**2, device=device)
    here = torch.ones(scale.side**2, pin_memory=device.type == "cuda")
    other = torch.empty_like(there)
    for name, work, factor in (
        ("copy_within_gb_s", partial(other.copy_, there), 2),
        ("copy_to_gb_s", partial(there.copy_, here, non_blocking=True), 1),
        ("copy_from_gb_s", partial(here.copy_, there, non_blocking=True), 1),
    ):
        figures[name] = factor * there.nbytes / seconds(work, scale.rounds, device) / 1e9
    return figures


def images_for(backbone: Backbone, count: int) -> torch.Tensor:
    """(count, 3, h, w) uint8 noise on the backbone's device."""
    generator = torch.Generator().manual_seed(0)
    size = backbone.preprocess.geometry.size
    return torch.randint(0, 256, (count, 3, *size), generator=generator, dtype=torch.uint8).to(backbone.device)


def requests_of(backbone: Backbone) -> list[Request]:
    """Every block pooled, and the head."""
    return [*(Request("pooled", tap) for tap in backbone.resolve_taps(["blocks"])), Request("head", "head")]


def forward_figures(scale: Scale, device: torch.device) -> dict[str, Any]:
    """Per model and precision: images/s bare and tapped, their ratio, and the rounding against fp32. In the precision
    that suits the card also images/s tapped and compiled, and how long the first batch of that took."""
    figures: dict[str, Any] = {}
    for name in scale.models:
        exact: NDArray[np.float64] | None = None
        for precision in precisions(device):
            backbone = load_backbone(resolve_spec(name, weights="random"), device=str(device), precision=precision)
            images, requests = images_for(backbone, scale.batch), requests_of(backbone)
            bare = timm.create_model(name, pretrained=False).eval().to(device)
            bare = bare.to(memory_format=torch.channels_last)

            def plain(bare: Any = bare, backbone: Backbone = backbone, images: Any = images) -> None:
                with forward_mode(backbone.device, backbone.compute):
                    bare(backbone.preprocess.normalise(images).contiguous(memory_format=torch.channels_last))

            def tapped(backbone: Backbone = backbone, images: Any = images, requests: Any = requests) -> None:
                backbone.run(images, requests)

            rates = [scale.batch / seconds(work, scale.rounds, device) for work in (plain, tapped)]
            last = backbone.run(images, requests, dtype="float32")[requests[-2]].double().cpu().numpy()
            exact = last if exact is None else exact
            figures[f"{name} {precision}"] = {
                "bare_images_s": rates[0],
                "tapped_images_s": rates[1],
                "ratio": rates[1] / rates[0],
                "rounding_last_block": float(np.abs(last - exact).max() / np.abs(exact).max()),
            }
            del bare, backbone
        figures[f"{name} {precision} compiled"] = compiled_figures(name, precision, scale, device)
    return figures


def compiled_figures(name: str, precision: str, scale: Scale, device: torch.device) -> dict[str, float]:
    """images/s of a compiled network with every block pooled, and seconds until its first batch was through."""
    spec = resolve_spec(name, weights="random")
    backbone = load_backbone(spec, device=str(device), precision=precision, compiled=True)
    images, requests = images_for(backbone, scale.batch), requests_of(backbone)
    begin = time.perf_counter()
    backbone.run(images, requests)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    first = time.perf_counter() - begin
    rate = scale.batch / seconds(lambda: backbone.run(images, requests), scale.rounds, device)
    return {"tapped_images_s": rate, "first_batch_s": first}


def live_analyses(scale: Scale) -> dict[str, LiveAnalysis]:
    """Those that are measured live, by name."""
    return {"cka": MinibatchCka(batch=scale.batch), "spectra": Spectra(), "similarity": Similarity()}


def kernel_figures(scale: Scale, device: torch.device, card: dict[str, float]) -> dict[str, dict[str, float]]:
    """Per analysis and layer of one batch in float16: milliseconds, and shares of the rates of `card_figures`.

    `of_copy` is the time in which the maps would be read once, `of_product` that of the least products in float32, both
    over the time taken.
    """
    figures = {}
    for side, channels in scale.grids:
        maps = torch.randn((scale.batch, side, side, channels), device=device).half()
        for name, analysis in live_analyses(scale).items():

            def once(analysis: LiveAnalysis = analysis, maps: torch.Tensor = maps) -> None:
                live = LivePass([Watch(analysis, (Layer("a", "0"),), ())], torch.get_num_threads(), device.type)
                live.begin(0, scale.batch, ())
                live.observer("a")("0", maps)
                live.end()

            took = seconds(once, scale.rounds, device)
            positions = side * side
            products = {"cka": scale.batch**2, "spectra": 0, "similarity": 2 * scale.batch * positions}[name]
            figures[f"{name} {side}x{side}x{channels}"] = {
                "ms": took * 1e3,
                "of_copy": maps.nbytes / took / 1e9 / card["copy_within_gb_s"],
                "of_product": 2.0 * products * positions * channels / took / 1e12 / card["product_fp32_tflops"],
            }
    return figures


def memory_figures(scale: Scale, device: torch.device) -> dict[str, float]:
    """MB at the peak of each analysis of one layer, beside its maps; CuPy's memory is torch's. Nothing on a CPU."""
    if device.type != "cuda":
        return {}
    figures = {}
    for side, channels in scale.grids:
        maps = torch.randn((scale.batch, side, side, channels), device=device).half()
        for name, analysis in live_analyses(scale).items():
            live = LivePass([Watch(analysis, (Layer("a", "0"),), ())], 1, device.type)
            live.begin(0, scale.batch, ())
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            live.observer("a")("0", maps)
            peak = torch.cuda.max_memory_allocated(device) - before
            figures[f"{name} {side}x{side}x{channels}"] = peak / 1e6
            live.end()
    return figures
