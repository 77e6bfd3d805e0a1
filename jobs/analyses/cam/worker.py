"""What one actor does with one unit of heat maps: as an extraction, but each backbone runs forward and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cvbench.jobs.analyses.cam.options import LABEL, PREDICTED
from cvbench.jobs.extraction.memory import SMALLER_BATCH, device_memory
from cvbench.jobs.extraction.worker import ExtractRecipe, ExtractWorker, UnitTask
from cvbench.storage.features import GroupKey

if TYPE_CHECKING:
    import torch

    from cvbench.engine.models.host_copy import HostCopy
    from cvbench.jobs.extraction.decoding.feed import Batch
    from cvbench.jobs.extraction.live import LivePass


def choice_tap(target: str) -> str:
    """Name of the array beside the maps of a target."""
    return f"{target}@class"


@dataclass(frozen=True)
class CamRecipe(ExtractRecipe):
    """Everything an actor needs to make the maps of any unit."""

    method: str = "gradcam"
    choice: str = PREDICTED
    targets: tuple[tuple[str, str], ...] = ()  # backbone, target

    def build(self) -> CamWorker:
        """Load data set and weights, and check that they are what the plan was made for."""
        return CamWorker(self)


class CamWorker(ExtractWorker):
    """Worker that extracts heat maps: each backbone runs forward and back to its target."""

    def __init__(self, recipe: CamRecipe) -> None:
        super().__init__(recipe)
        self._method, self._choice, self._targets = recipe.method, recipe.choice, dict(recipe.targets)

    def forward(self, batch: Batch, task: UnitTask, live: LivePass) -> dict[GroupKey, dict[str, HostCopy]]:
        """The maps of every backbone that has work in this task."""
        from cvbench.engine.analyses.cam.graph import class_map

        outputs: dict[GroupKey, dict[str, HostCopy]] = {}
        for group, taps in task.work:
            backbone, target = self.backbones[group.backbone], self._targets[group.backbone]
            with device_memory(f"a batch of {self.recipe.batch}", group.backbone, SMALLER_BATCH):
                images = self.copies.up(batch.images[backbone.preprocess.geometry])
                found = class_map(backbone, target, self._method, images, self._classes(batch, task, group))
            arrays = {target: found.raw, choice_tap(target): found.choice}
            outputs[group] = self.copies.down({tap: arrays[tap] for tap in taps})
        return outputs

    def _classes(self, batch: Batch, task: UnitTask, group: GroupKey) -> torch.Tensor | None:
        """(batch,) the class of each image, 0 where a batch is filled up; None leaves it to the model."""
        import torch

        if self._choice == PREDICTED:
            return None
        classes = torch.zeros(self.recipe.batch, dtype=torch.int64)
        if self._choice == LABEL:
            first = task.unit.start + batch.offset
            labels = self.store.split(group.dataset, group.split).labels[first : first + batch.size]
            classes[: batch.size] = torch.from_numpy(labels.astype(np.int64))
        else:
            classes.fill_(int(self._choice))
        return classes
