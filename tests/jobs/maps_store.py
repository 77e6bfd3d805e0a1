"""What the tests of analyses of maps share: a store with maps of images on disk, one of them unreadable."""

from __future__ import annotations

import shutil
from pathlib import Path

from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.running.cluster import Cluster
from tests.jobs.images import write_folder

LOOP = Cluster(address="none")


def maps_store(folder: Path, classes: int = 2) -> Path:
    """Maps of 32 images, one unreadable, through both small backbones in units of 8; the last grid is 2x2."""
    write_folder(folder / "pets", 32, classes, broken=(9,))
    extract(options(folder, ("maps",), 64), LOOP)
    return folder / "store.zarr"


def options(folder: Path, views: tuple[str, ...], size: int) -> ExtractOptions:
    return ExtractOptions(
        dataset=f"folder:{folder / 'pets'}",
        backbones=("test_vit", "test_convnext"),
        store=str(folder / "store.zarr"),
        weights=("random",),
        views=views,
        maps=32,
        batch_size=8,
        unit=8,
        image_size=size,
        max_unreadable=0.1,
    )


def copy(made: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(made, tmp_path / "store.zarr"))
