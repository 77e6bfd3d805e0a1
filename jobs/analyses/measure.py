"""`cvbench analyze`: measure the committed units of a store, keep their partials, summarise them in unit order.

Nothing here knows what an analysis computes. A partial is stored under a digest of everything that it depends on: it is
computed once, by any actor, and the result is the same bit for bit however many there were or however often it resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from cvbench.engine.analyses.base import Analysis, Layer, Partial, Rows
from cvbench.engine.arrays.array import Array, device_stream, to_device
from cvbench.engine.arrays.cuda import require_usable, usable, usable_by_others
from cvbench.engine.arrays.threads import host_threads
from cvbench.jobs.extraction.live import kept_live
from cvbench.jobs.extraction.memory import device_memory
from cvbench.jobs.reading.reading import Reading, open_store, read, readable_rows
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.reading.views import MAPS
from cvbench.jobs.results.keep import Analysed, keep_summary, partials_key
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.device import choose
from cvbench.jobs.running.executor import run_tasks
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.jobs.running.record import recorded
from cvbench.jobs.running.seen import check_seen
from cvbench.storage.features import FeatureLayer
from cvbench.storage.features.units import Unit
from cvbench.storage.results.outcomes import ResultKey, list_partials, put_partial


def analyze(analysis: Analysis, reading: Reading, cluster: Cluster, listen: Listener = silent) -> Analysed:
    """Run an analysis over the selected layers of a store and keep its result there.

    Args:
        analysis: What to measure and how to summarise it.
        reading: What of.
        cluster: Where units are measured.
        listen: Receives progress.
    """
    key, measured = measure_units(analysis, reading, cluster, listen, MeasureRecipe)
    result, path = keep_summary(reading, analysis, key)
    return Analysed(result, reading.selected, path, measured)


def analyze_maps(analysis: Analysis, selection: Selection, on: Hardware, listen: Listener = silent) -> Analysed:
    """An analysis of the selection's stored maps; where there are none, what `extract --analyze` has kept of it.

    Raises:
        UnknownNameError, DataUnavailableError: As `select`.
    """
    store, selection = open_store(selection.store), replace(selection, view=MAPS)
    if (kept := kept_live(store, analysis.name, selection)) is not None:
        return kept
    return analyze(analysis, read(selection, store), measuring(on, listen), listen)


def measure_units(
    analysis: Analysis,
    reading: Reading,
    cluster: Cluster,
    listen: Listener,
    recipe_of: Callable[[Reading, Analysis, ResultKey, int, str], MeasureRecipe],
) -> tuple[ResultKey, int]:
    """Measure every unit that has no partial yet.

    Args:
        recipe_of: `MeasureRecipe`, or what makes one that tells the analysis more of a unit.

    Returns:
        Where the partials lie, and how many units were measured.
    """
    selected = reading.selected
    split = selected.dataset, selected.split
    key = partials_key(split, selected.layers, reading.fingerprints, analysis, cluster.device)
    recipe = recipe_of(reading, analysis, key, cluster.threads, cluster.device)
    there = set(list_partials(reading.store, key))
    todo = [unit for unit in selected.units if unit.index not in there]
    skipped = selected.samples - sum(len(unit) for unit in todo)
    job = f"analyze {analysis.name}"
    with recorded(reading.store.objects, cluster, listen) as tell:
        tell(Started(job, reading.where, selected.samples, len(todo), skipped))
        if todo:
            reading.store.objects.sweep()  # what killed writers left
        for note in selected.notes:
            tell(Note(note))
        if selected.left_out:
            tell(Note(f"{selected.left_out} units are left out: not all layers have them"))
        run_tasks(recipe, todo, cluster, lambda unit, samples: tell(Advanced(job, unit.index, len(unit))), tell)
        tell(Ended(job))
    return key, len(todo)


def measuring(on: Hardware, listen: Listener = silent) -> Cluster:
    """The cluster that a command asks for, on a device that can measure.

    Raises:
        ResourceError, UnknownNameError: As `analysis_device`.
    """
    on = on.settled()
    cluster = replace(on, device=analysis_device(on.device, on.address, listen)).cluster()
    return replace(cluster, in_flight=1) if cluster.device == "cuda" else cluster  # a unit's layer at a time on a card


def analysis_device(device: str, address: str, listen: Listener = silent) -> str:
    """Choose the device as `device.choose`, but "auto" is a GPU only where CuPy can drive it: a note says if not.

    On a cluster that is joined each actor finds out for itself.

    Raises:
        ResourceError: "cuda" is asked for, and CuPy or the card is missing, or it cannot use the card.
    """
    chosen = choose(device, address).device
    if chosen == "cpu" or address not in ("none", "local"):
        return chosen
    if device == "cuda":
        require_usable(by_others=address == "local")
        return chosen
    if why := usable() if address == "none" else usable_by_others():
        listen(Note(f"measured on the CPU: {why}"))
        return "cpu"
    return chosen


SMALLER = "--device cpu, or a new store with a smaller --unit"


@dataclass(frozen=True)
class MeasureRecipe:
    """Recipe of a worker that measures units. It travels: a reading is pickled by the place of its store."""

    reading: Reading
    analysis: Analysis
    key: ResultKey
    threads: int  # of the kernels on the host
    device: str  # "cpu" (NumPy) or "cuda" (CuPy)

    def build(self) -> MeasureWorker:
        """Take each layer once: all units of the tasks are committed already.

        Raises:
            ClusterError: This node does not see the driver's store.
        """
        selected = self.reading.selected
        check_seen(self.reading.store, selected.dataset, selected.split)
        return MeasureWorker(self, MappingProxyType(self.reading.layers))

    def measure(self, unit: Unit, read: Callable[[Layer], Array], rows: Rows) -> Partial:
        """The partial of one unit, whose readable samples stand at `rows`."""
        return self.analysis.measure(self.reading.selected.layers, read, rows)


@dataclass(frozen=True)
class MeasureWorker:
    """Measures units of a store and keeps the partials there. Nothing of it changes: two threads share it."""

    recipe: MeasureRecipe
    layers: Mapping[Layer, FeatureLayer]

    def run(self, task: Unit) -> int:
        """Measure one unit; the number of samples that counted."""
        rows = readable_rows(self.layers.values(), task)

        def read(layer: Layer) -> Array:
            values = self.layers[layer].read_unit(task)
            return to_device(values if len(rows) == len(values) else values[rows], self.recipe.device)

        threads = 1 if self.recipe.device == "cuda" else self.recipe.threads
        with (
            device_memory(
                f"the {len(rows)} samples of a unit", str(task), "--device cpu, or a store of smaller --unit"
            ),
            device_stream(self.recipe.device),
            host_threads(threads),
        ):
            partial = self.recipe.measure(task, read, rows)
        put_partial(self.recipe.reading.store, self.recipe.key, task.index, partial)
        return len(rows)
