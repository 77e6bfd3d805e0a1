"""Images of two classes, and extractions of them by two small networks that know these."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cvbench.engine.statistics.options import IntervalOptions
from cvbench.jobs.analyses.cam.options import CamOptions
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.running.cluster import Cluster

LOOP = Cluster(address="none")
QUICK = CamOptions(intervals=IntervalOptions(resamples=50), examples=2)
SIZE = 96
TARGETS = {"test_vit": "blocks.5.norm1", "test_convnext": "stages.3.blocks.1"}


def options(pets: Path, store: Path, **changes: object) -> ExtractOptions:
    """An extraction of the images of the fixture `pets` by both networks."""
    base = ExtractOptions(
        dataset=f"folder:{pets / 'pets'}",
        backbones=tuple(TARGETS),
        store=str(store),
        weights=tuple(f"{model}={pets / model}.safetensors" for model in TARGETS),
        batch_size=4,
        unit=8,
        image_size=SIZE,
        max_unreadable=0.2,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def vit(pets: Path, store: Path, **changes: object) -> ExtractOptions:
    """As `options`, of one backbone."""
    one = {"backbones": ("test_vit",), "weights": (str(pets / "test_vit.safetensors"),)}
    return options(pets, store, **{**one, **changes})
