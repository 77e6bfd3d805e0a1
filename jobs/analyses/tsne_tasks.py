"""The maps of `cvbench analyze tsne` as tasks: a run of a layer each, in this process or side by side on Ray.

Each gets the principal components that this process has computed, so that where it runs changes no bit of its map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cvbench.engine.analyses.tsne.backends import F64, FFT_THREADS, Embedding, embed
from cvbench.engine.analyses.tsne.measure import MakeMaps, MapTask
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.executor import run_tasks

IN_PROCESS = Cluster(address="none")


@dataclass(frozen=True, eq=False)
class MapRecipe:
    """Recipe of a worker that makes maps of these layers."""

    scores: Sequence[F64]
    backend: str
    threads: int

    def build(self) -> MapWorker:
        """Nothing is to be loaded."""
        return MapWorker(self)


@dataclass(frozen=True, eq=False)
class MapWorker:
    """Makes maps. Nothing of it changes."""

    recipe: MapRecipe

    def run(self, task: MapTask) -> Embedding:
        """Make one map."""
        recipe = self.recipe
        return embed(recipe.scores[task.layer], recipe.backend, task.settings, recipe.threads)


def maps_on(cluster: Cluster, backend: str) -> MakeMaps:
    """Give what makes maps on a cluster; of cuML on its GPUs."""
    on = replace(cluster, device="cuda" if backend == "cuml" else "cpu")
    threads = FFT_THREADS if on.address == "none" else on.threads

    def make(
        scores: Sequence[F64], backend: str, tasks: Sequence[MapTask], advanced: Callable[[], None]
    ) -> Mapping[MapTask, Embedding]:
        found: dict[MapTask, Embedding] = {}

        def done(task: MapTask, made: Embedding) -> None:
            found[task] = made
            advanced()

        run_tasks(MapRecipe(tuple(scores), backend, threads), tasks, on, done)
        return found

    return make
