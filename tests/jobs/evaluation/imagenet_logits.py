"""ImageNet and renditions of it, of which logits are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cvbench.storage.datasets.readers.imagenet_classes import imagenet_columns, imagenet_r_wnids, imagenet_wnids
from tests.jobs.logits_store import noisy_logits, write_logits


def imagenet_store(folder: Path) -> tuple[str, dict[str, Any]]:
    """Clean images of all classes once, and 400 renditions."""
    wnids, renditions = imagenet_wnids(), imagenet_r_wnids()
    clean, shifted = np.arange(1000), np.arange(400) % 200
    columns = imagenet_columns(renditions)
    logits = {
        "clean": noisy_logits(clean, 1000, 4.5),
        "shifted": noisy_logits(columns[shifted], 1000, 3.0, seed=1),
    }
    place = folder / "in.zarr"
    write_logits(place, {"vit": logits["clean"]}, clean, wnids, dataset="imagenet-val", split="val", unit=256)
    kinds = np.array(["art", "toy"])[np.arange(400) % 2]
    url = write_logits(
        place,
        {"vit": logits["shifted"]},
        shifted,
        renditions,
        dataset="imagenet-r",
        split="test",
        unit=256,
        factors={"rendition": kinds},
    )
    return url, logits | {"columns": columns, "kinds": kinds, "labels": shifted}
