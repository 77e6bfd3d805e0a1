"""Features of digits, to be probed."""

from __future__ import annotations

from pathlib import Path

from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.running.cluster import Cluster


def extract_digits(store: Path, *backbones: str) -> None:
    """Keep head features of all three splits of digits, and pooled ones of the test split."""
    for split in ("train", "val", "test"):
        options = ExtractOptions(
            dataset="digits",
            split=split,
            backbones=backbones,
            store=str(store),
            weights=("random",),
            views=("head", "pooled") if split == "test" else ("head",),
            image_size=32,
            unit=128,
        )
        extract(options, Cluster(address="none"))
