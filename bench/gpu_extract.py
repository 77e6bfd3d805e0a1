"""Whole extractions, timed between the first unit's commit and the last's. Part of bench/gpu.py."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_measures import Scale, precisions
from PIL import Image

from cvbench.engine.models.backbones import describe, resolve_spec
from cvbench.engine.models.host_copy import Copies
from cvbench.jobs.extraction.decoding import feed
from cvbench.jobs.extraction.decoding.choice import settled
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.registry import find_live
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Advanced, Event
from cvbench.storage.datasets import open_dataset
from cvbench.storage.features.units import Unit

LIVE = ("cka", "spectra", "similarity")


def write_images(folder: Path, count: int) -> None:
    """JPEGs of 500 x 375 pixels in two class folders: coarse noise, enlarged, about the size of a photograph's file."""
    rng = np.random.default_rng(0)
    for index in range(count):
        target = folder / f"class{index % 2}"
        target.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (47, 63, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(target / f"{index:06d}.jpg", quality=90)


class StillFeed(feed.Feed):
    """Decodes the first batch of the run and gives it again and again: an extraction without decoding."""

    def start(self, unit: Unit) -> Iterator[feed.Batch]:  # type: ignore[override]  # closed and iterated alike
        """Batches of the unit, all of the same images."""
        if not hasattr(self, "_first"):
            self._first = next(super().start(unit))
        for offset in range(0, len(unit), self._batch):
            yield feed.Batch(offset, min(self._batch, len(unit) - offset), self._first.images, [])


@contextmanager
def without_decoding() -> Iterator[None]:
    """Within it workers of this process have a `StillFeed`."""
    plain, feed.Feed = feed.Feed, StillFeed  # type: ignore[misc]
    try:
        yield
    finally:
        feed.Feed = plain  # type: ignore[misc]


def images_per_second(options: ExtractOptions, cluster: Cluster) -> float:
    """Of all units but the first, from its commit to the last one's: loading and first kernels are no throughput."""
    ends: list[tuple[float, int]] = []

    def listen(event: Event) -> None:
        if isinstance(event, Advanced):
            ends.append((time.perf_counter(), event.samples))

    extract(options, cluster, listen, find_live(options.analyses))
    (start, _), *rest = ends
    return sum(samples for _, samples in rest) / (rest[-1][0] - start)


@dataclass(frozen=True)
class Kind:
    """One extraction of those that are timed; the first ones matter most."""

    name: str
    precision: str
    decodes: bool = True
    analyses: tuple[str, ...] = ()
    compiled: bool = False


def kinds(device: torch.device) -> list[Kind]:
    """All that suits the card, eager before compiled; of fp32, which it would not take, the plainest."""
    *_, best = precisions(device)
    return [
        Kind(f"{best}, no decoding", best, decodes=False),
        Kind(f"{best}, jpeg", best),
        Kind(f"{best}, jpeg, all live", best, analyses=LIVE),
        Kind(f"{best}, compiled, no decoding", best, decodes=False, compiled=True),
        Kind(f"{best}, compiled, jpeg", best, compiled=True),
        Kind("fp32, no decoding", "fp32", decodes=False),
    ]


def extract_figures(scale: Scale, device: torch.device, until: float) -> dict[str, float | str]:
    """images/s per kind, and of decoding alone; what would begin after `until` (monotonic seconds) is left out."""
    figures: dict[str, float | str] = {}
    cluster = Cluster(address="none", device=device.type)
    with tempfile.TemporaryDirectory() as scratch:
        images = Path(scratch) / "images"
        write_images(images, scale.images)
        figures["decoding alone"] = decoded_per_second(images, scale, cluster)
        for kind in kinds(device):
            if time.monotonic() > until:
                figures[kind.name] = "left out"
                continue
            options = ExtractOptions(
                dataset=f"folder:{images}",
                backbones=scale.models,
                store=f"{scratch}/{len(figures)}.zarr",
                weights=("random",),
                views=("pooled", "head"),
                batch_size=scale.batch,
                unit=scale.unit,
                precision=kind.precision,
                image_size=scale.image_size,
                analyses=kind.analyses,
                compile=kind.compiled,
            )
            with nullcontext() if kind.decodes else without_decoding():
                figures[kind.name] = images_per_second(options, cluster)
    return figures


def decoded_per_second(images: Path, scale: Scale, cluster: Cluster) -> float:
    """Images/s of the feed that an actor would have, with nobody but this thread to take its batches."""
    dataset = open_dataset(f"folder:{images}")
    specs = [resolve_spec(name, weights="random", image_size=scale.image_size) for name in scale.models]
    geometries = list(dict.fromkeys(describe(spec, taps=()).preprocess.geometry for spec in specs))
    order = np.arange(len(dataset), dtype=np.int64)
    decoding = settled("auto", cluster)
    reading = feed.Feed(dataset, order, geometries, batch=scale.batch, copies=Copies(cluster.device), decoding=decoding)
    batches = iter(reading.start(Unit(0, 0, len(dataset))))
    first = next(batches)  # processes have started
    begin = time.perf_counter()
    count = sum(batch.size for batch in batches)
    took = time.perf_counter() - begin
    reading.close()
    assert count + first.size == len(dataset)
    return count / took


def goals(figures: dict[str, Any]) -> dict[str, float]:
    """What docs/scale.md aims at, as far as it was measured: extraction over the slower of forward and decoding (0.95),
    live analyses over none (0.85), both from JPEG files."""
    found = figures["extract"]
    measured = {name: rate for name, rate in found.items() if isinstance(rate, float)}
    shares: dict[str, float] = {}
    for name, rate in measured.items():
        precision, _, kind = name.partition(", ")
        plain = f"{precision}, {'compiled, ' if 'compiled' in kind else ''}no decoding"
        if kind.endswith("jpeg") and plain in measured:
            limit = min(measured[plain], measured["decoding alone"])
            shares[f"{name}: of the slower of forward and decoding"] = rate / limit
        if kind.endswith("all live") and f"{precision}, jpeg" in measured:
            shares[f"{name}: of none live"] = rate / measured[f"{precision}, jpeg"]
    return shares
