"""What one actor does with one unit of a pass: as an extraction, but what is kept are the numbers of the pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cvbench.jobs.analyses.passes.numbers import Numbers, Tapped
from cvbench.jobs.extraction.memory import SMALLER_BATCH, device_memory
from cvbench.jobs.extraction.worker import ExtractRecipe, ExtractWorker, UnitTask
from cvbench.storage.features import GroupKey

if TYPE_CHECKING:
    from cvbench.engine.models.host_copy import HostCopy
    from cvbench.jobs.extraction.decoding.feed import Batch
    from cvbench.jobs.extraction.live import LivePass


@dataclass(frozen=True, kw_only=True)
class PassRecipe(ExtractRecipe):
    """Everything an actor needs to measure any unit."""

    numbers: Numbers
    kept: tuple[tuple[str, tuple[tuple[str, Tapped], ...]], ...]  # backbone, its layers

    def build(self) -> PassWorker:
        """Load data set and weights, and check that they are what the plan was made for."""
        return PassWorker(self)


class PassWorker(ExtractWorker):
    """Worker that measures every image by a pass of its own."""

    def __init__(self, recipe: PassRecipe) -> None:
        super().__init__(recipe)
        self._numbers = recipe.numbers
        self._variants = {name: recipe.numbers.variants(backbone) for name, backbone in self.backbones.items()}
        self._kept = {backbone: dict(layers) for backbone, layers in recipe.kept}

    def forward(self, batch: Batch, task: UnitTask, live: LivePass) -> dict[GroupKey, dict[str, HostCopy]]:
        """The numbers of every backbone that has work in this task."""
        outputs: dict[GroupKey, dict[str, HostCopy]] = {}
        for group, taps in task.work:
            backbone, layers = self.backbones[group.backbone], self._kept[group.backbone]
            variants = self._variants[group.backbone]
            with device_memory(f"a batch of {self.recipe.batch}", group.backbone, SMALLER_BATCH):
                images = self.copies.up(batch.images[backbone.preprocess.geometry])
                found = self._numbers.measure(backbone, variants, images, {tap: layers[tap] for tap in taps})
            outputs[group] = self.copies.down({tap: found[tap] for tap in taps})
        return outputs
