"""A folder of small real images, some of them broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_folder(root: Path, count: int = 40, classes: int = 2, broken: tuple[int, ...] = ()) -> Path:
    """`count` PNGs of odd sizes in `classes` folders; the numbers in `broken` are cut in half."""
    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / f"class-{number % classes}"
        folder.mkdir(parents=True, exist_ok=True)
        height, width = (int(side) for side in rng.integers(40, 90, 2))
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        path = folder / f"{number:03d}.png"
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(path)
        if number in broken:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return root
