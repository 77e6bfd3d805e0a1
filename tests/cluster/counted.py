"""A network that writes down each batch as it begins to compute it: `--backbone tests.cluster.counted:network`.

So it can be counted, whatever is killed, how often a unit was computed; a log of the driver dies with the driver.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from cvbench.engine.models.own_models import OwnModel
from tests.plugins.backbone import Tiny

FILE = "CVBENCH_TEST_COUNTED"
"""Variable that names the file; it is set on every node."""


class Counted(Tiny):
    """Appends a line for each forward pass: process, images, digest of the pixels."""

    def forward(self, images: Tensor) -> Tensor:
        digest = hashlib.sha256(images.numpy(force=True).tobytes()).hexdigest()
        line = f"{os.getpid()} {len(images)} {digest}\n"
        file = os.open(os.environ[FILE], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, line.encode())  # one write: whole, or the process was killed before it
        finally:
            os.close(file)
        return super().forward(images)


def network() -> OwnModel:
    """The network; small, with the same weights everywhere."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Counted()
    return OwnModel(made, size=(32, 32), grid=(4, 4), prefix=2, stages=("encoder.0", "encoder.1"))


def passes(file: Path, batch: int) -> Counter[str]:
    """How often each batch of so many images was begun to be computed."""
    lines = file.read_text().splitlines() if file.is_file() else []
    return Counter(digest for _, size, digest in map(str.split, lines) if int(size) == batch)


def counted_words(data: Path, store: Path, address: str, batch: int) -> list[str]:
    """An extraction of it whose units have one batch each."""
    sizes = f"--view pooled --view maps --maps all --batch-size {batch} --unit {batch}"
    return [
        *("extract", "--dataset", f"folder:{data}", "--store", str(store), "--address", address),
        *("--backbone", "tests.cluster.counted:network", *sizes.split()),
    ]
