"""`--batch-size auto` on a GPU: the largest power of two that all backbones take; found once, then frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cvbench.engine.arrays.cuda import is_out_of_memory
from cvbench.errors import ResourceError
from cvbench.jobs.extraction.live import NONE, LivePass, Watch, watch
from cvbench.jobs.extraction.memory import device_memory
from cvbench.jobs.extraction.worker import WRITES_AHEAD
from cvbench.jobs.results.entry import Live
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.executor import run_tasks

if TYPE_CHECKING:
    import torch

    from cvbench.engine.models.backbones import Backbone, BackboneSpec, Description
    from cvbench.jobs.extraction.options import ExtractOptions

CANDIDATES = (256, 128, 64, 32, 16, 8)
LEAVING = -(-WRITES_AHEAD // 2)
"""Batches whose copies to the host are under way while the next is computed, of twice the size that will run."""


@dataclass(frozen=True)
class CalibrationTask:
    """Batch sizes to try, the largest first, each with the live analyses that will observe a batch of it."""

    batches: tuple[tuple[int, tuple[Watch, ...]], ...]


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

    def run(self, task: CalibrationTask) -> int:
        """The first of the candidates that fits the device.

        Raises:
            ResourceError: None does.
        """
        import torch

        from cvbench.engine.models.backbones import load_backbone

        recipe = self.recipe
        backbones = []
        for spec, taps in recipe.backbones:
            with device_memory("the weights", spec.key, "one --backbone at a time"):
                backbones.append((load_backbone(spec, device=recipe.device, precision=recipe.precision), taps))
        for batch, watched in task.batches:
            try:
                self._try(backbones, batch, watched)
                return batch
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            torch.cuda.empty_cache()  # CuPy's memory too: it takes it from torch
        raise ResourceError(
            f"not even a batch of {task.batches[-1][0]} fits the device",
            fix="fewer --taps without --view maps, --precision fp16, fewer --analyze, or one --backbone at a time",
        )

    def _try(
        self,
        backbones: Sequence[tuple[Backbone, tuple[str, ...]]],
        batch: int,
        watched: Sequence[Watch],
    ) -> None:
        """A batch of zeros through everything that a batch goes through, beside what earlier ones leave behind."""
        import torch

        left = [torch.empty_like(one) for one in self._forward(backbones, batch, watched) for _ in range(LEAVING)]
        self._forward(backbones, batch, watched)
        del left

    def _forward(
        self,
        backbones: Sequence[tuple[Backbone, tuple[str, ...]]],
        batch: int,
        watched: Sequence[Watch],
    ) -> list[torch.Tensor]:
        """Compute a batch; gives what of it goes to the host."""
        import torch

        from cvbench.engine.models.views import expand_views

        recipe = self.recipe
        live = LivePass(watched, 1, recipe.device)
        live.begin(0, batch, ())
        leaving: list[torch.Tensor] = []
        for backbone, taps in backbones:
            requests = expand_views(recipe.views, backbone.layouts(taps))
            size = backbone.preprocess.geometry.size
            images = torch.zeros((batch, 3, *size), dtype=torch.uint8, device=recipe.device)
            name, seen = backbone.spec.key, live.observer(backbone.spec.key)
            found = backbone.run(images, requests, dtype=recipe.dtype, observed=live.taps(name), observe=seen)
            leaving += found.values()
        live.end()
        return leaving


def calibrate_batch(
    described: Sequence[Description], options: ExtractOptions, cluster: Cluster, live: Mapping[str, Live] = NONE
) -> int:
    """Run the calibration where the extraction will run, with what will observe it.

    Twice the size is tried that is returned: half of the memory is left to fragmentation and to what varies.
    """
    recipe = CalibrationRecipe(
        tuple((d.spec, tuple(d.layouts)) for d in described),
        options.views,
        cluster.device,
        options.precision,
        options.dtype,
    )
    task = CalibrationTask(
        tuple(
            (2 * size, tuple(watch(how, described, 2 * size, 2 * size) for how in live.values())) for size in CANDIDATES
        )
    )
    found: list[int] = []
    run_tasks(recipe, [task], cluster, lambda task, batch: found.append(batch))
    return found[0] // 2
