"""A data set of a package beside cvbench, whose training is held where it is told to be until its process is ended.

A test may then take as long as it likes to send a signal: no training is over before. Only with `HOLD` in its
environment: at each of its steps, the first time that the checkpoint of it is written, and it writes down every step.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cvbench.jobs.transfer import checkpoint
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.pixels import PixelDataset

HOLD = "CVBENCH_TEST_HOLD"
"""Variable: a folder, and steps, as JSON."""
COUNTS = {"train": 32, "test": 12}


class Held:
    info = DatasetInfo(
        name="held",
        title="Grey noise of two kinds",
        splits=("train", "test"),
        default_split="test",
        counts=COUNTS,
        classes=2,
        licence="CC0",
        homepage="computed",
        tree="no files: the images are computed",
    )

    def locate(self, argument: str, root: Path | None) -> Path | None:
        return Path(__file__)

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        return tuple(COUNTS)

    def open(self, argument: str, root: Path | None, split: str | None) -> PixelDataset:
        name = split or "test"
        count = COUNTS[name]
        labels = np.arange(count) % 2
        noise = np.random.default_rng(count).integers(0, 128, (count, 8, 8))
        pixels = (noise + 127 * labels[:, None, None]).astype(np.uint8)
        ids = tuple(f"{name}/{number:02d}" for number in range(count))
        return PixelDataset("held", name, "held", ("dark", "bright"), ids, labels, pixels, self)


def hold(folder: Path, steps: list[int]) -> None:
    """Have checkpoints write down their steps, and hold this process at some of them."""
    save = checkpoint.save

    def held(path: Path, tensors: Mapping[str, Any], plain: Mapping[str, Any]) -> None:
        save(path, tensors, plain)
        if "step" not in plain:  # the weights
            return
        step = int(plain["step"])
        with (folder / "steps").open("a") as file:
            file.write(f"{step}\n")
        if step in steps and not (folder / f"held-{step}").exists():
            (folder / f"held-{step}").touch()
            while True:
                time.sleep(0.05)

    checkpoint.save = held


if HOLD in os.environ:
    place, at = json.loads(os.environ[HOLD])
    hold(Path(place), at)
READER = Held()
