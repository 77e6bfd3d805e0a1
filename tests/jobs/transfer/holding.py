"""Fine-tunings that are held at a step until they are ended: see `held`."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.forks import Forked, Start
from tests.jobs.transfer.held import HOLD
from tests.plugins.package import install
from tests.waiting import looks

DEADLINE = 150  # seconds for one command
TOTAL = 16
"""Steps of the training: four epochs of four batches."""
WORDS = (
    *("transfer", "finetune", "--dataset", "held", "--backbone", "test_vit", "--weights", "random"),
    *("--image-size", "32", "--batch-size", "8", "--epochs", "4", "--checkpoint-seconds", "0", "--threads", "1"),
)


class Training:
    """Commands that train the same, each held at the next of some steps.

    Args:
        folder: Of all that is written; the weights go to `out` in it.
        steps: Where to hold.
    """

    def __init__(self, start: Start, folder: Path, *steps: int) -> None:
        self.out, self._start, self._folder = folder / "out", start, folder
        source = Path(__file__).with_name("held.py").read_text()
        points = "[cvbench.datasets]\nheld = held_training:READER\n"
        site = install(folder / "site", "held-training", {"held_training.py": source}, points)
        path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._more = {HOLD: json.dumps([str(folder), steps]), "PYTHONPATH": path}

    def begin(self, address: str) -> Forked:
        """Start the command; the same again goes on."""
        return self._start([*WORDS, "--address", address, "--device", "cpu", "--out", str(self.out)], self._more)

    def wait_for(self, step: int, process: Forked) -> None:
        """Wait until it is held there."""
        for _ in looks(DEADLINE):
            if (self._folder / f"held-{step}").exists():
                return
            assert process.poll() is None, process.communicate()[1]

    def steps(self) -> list[int]:
        """The steps of all checkpoints that were written, by any command, in their order."""
        return [int(line) for line in (self._folder / "steps").read_text().split()]

    def weights(self) -> bytes:
        """What the training has come to."""
        return (self.out / "test_vit@32-held.safetensors").read_bytes()
