"""`--batch-size auto` on a GPU: the largest power of two that all backbones take; found once, then frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cvbench.errors import ResourceError
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.executor import run_tasks

if TYPE_CHECKING:
    from cvbench.engine.models.backbones import BackboneSpec, Description
    from cvbench.jobs.extraction.options import ExtractOptions

CANDIDATES = (256, 128, 64, 32, 16, 8)


@dataclass(frozen=True)
class CalibrationRecipe:
    """Loads the backbones on one actor."""

    backbones: tuple[tuple[BackboneSpec, tuple[str, ...]], ...]  # with the taps of each
    views: tuple[str, ...]
    device: str
    precision: str
    dtype: str

    def build(self) -> CalibrationWorker:
        """A worker with nothing loaded yet."""
        return CalibrationWorker(self)


class CalibrationWorker:
    """Tries batch sizes."""

    def __init__(self, recipe: CalibrationRecipe) -> None:
        self.recipe = recipe

    def run(self, task: tuple[int, ...]) -> int:
        """The first of the candidates `task` that fits the device.

        Raises:
            ResourceError: None does.
        """
        import torch

        from cvbench.engine.models.backbones import load_backbone
        from cvbench.engine.models.views import expand_views

        recipe = self.recipe
        backbones = [
            (load_backbone(spec, device=recipe.device, precision=recipe.precision), taps)
            for spec, taps in recipe.backbones
        ]
        for batch in task:
            try:
                for backbone, taps in backbones:
                    requests = expand_views(recipe.views, backbone.layouts(taps))
                    size = backbone.preprocess.geometry.size
                    images = torch.zeros((batch, 3, *size), dtype=torch.uint8, device=recipe.device)
                    backbone.run(images, requests, dtype=recipe.dtype)
                return batch
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
        raise ResourceError(
            f"not even a batch of {task[-1]} fits the device",
            fix="fewer --taps without --view maps, --precision fp16, or one --backbone at a time",
        )


def calibrate_batch(described: Sequence[Description], options: ExtractOptions, cluster: Cluster) -> int:
    """Run the calibration where the extraction will run.

    Twice the size is tried that is returned: half of the memory is left to the batch in flight and to fragmentation.
    """
    recipe = CalibrationRecipe(
        tuple((d.spec, tuple(d.layouts)) for d in described),
        options.views,
        cluster.device,
        options.precision,
        options.dtype,
    )
    found: list[int] = []
    doubled = tuple(2 * size for size in CANDIDATES)
    run_tasks(recipe, [doubled], cluster, lambda task, batch: found.append(batch))
    return found[0] // 2
