"""Whole extractions, timed between the first unit's commit and the last's. Part of bench/gpu.py."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from gpu_measures import Scale, precisions
from PIL import Image

from cvbench.jobs.extraction.decoding import feed
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.registry import find_live
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Advanced, Event
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


def extract_figures(scale: Scale, device: torch.device, until: float) -> dict[str, float | str]:
    """images/s per precision and kind of input; what would begin after `until` (monotonic seconds) is left out."""
    figures: dict[str, float | str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        write_images(Path(scratch) / "images", scale.images)
        for precision in reversed(precisions(device)):
            for name, analyses in (("no decoding", ()), ("jpeg", ()), ("jpeg, all live", LIVE)):
                title = f"{precision}, {name}"
                if time.monotonic() > until:
                    figures[title] = "left out"
                    continue
                options = ExtractOptions(
                    dataset=f"folder:{scratch}/images",
                    backbones=scale.models,
                    store=f"{scratch}/{len(figures)}.zarr",
                    weights=("random",),
                    views=("pooled", "head"),
                    batch_size=scale.batch,
                    unit=scale.unit,
                    precision=precision,
                    image_size=scale.image_size,
                    analyses=analyses,
                )
                cluster = Cluster(address="none", device=device.type)
                if name == "no decoding":
                    with without_decoding():
                        figures[title] = images_per_second(options, cluster)
                else:
                    figures[title] = images_per_second(options, cluster)
    return figures
