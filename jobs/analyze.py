"""`cvbench analyze`: measure the committed units of a store, keep their partials, summarise them in unit order.

Nothing here knows what an analysis computes. A partial is stored under a digest of everything that it depends on: it is
computed once, by any actor, and the result is the same bit for bit however many there were or however often it resumed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Analysis, Layer, Partial, Result, Rows
from cvbench.engine.array import Array, to_device
from cvbench.engine.threads import host_threads
from cvbench.errors import DataUnavailableError, IncompleteError
from cvbench.jobs.executor import Cluster, choose_device, run_tasks
from cvbench.jobs.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.jobs.selection import Selected
from cvbench.storage.features import FeatureLayer, FeatureStore
from cvbench.storage.results import ResultKey, get_partial, load_result, put_partial, save_result
from cvbench.storage.units import Unit

if TYPE_CHECKING:
    import xarray


MADE_WITH = ("cvbench", "numpy", "scipy", "scikit-learn")
"""The versions that a result records: those of what computes it."""


@dataclass(frozen=True)
class Analysed:
    """A result, what it is of, and where it is kept in the store."""

    result: Result
    selected: Selected
    path: str
    measured: int  # units that were measured now; the others' partials were there


def analyze(
    analysis: Analysis,
    store: FeatureStore,
    selected: Selected,
    cluster: Cluster,
    listen: Listener = silent,
) -> Analysed:
    """Run an analysis over the selected layers of a store and keep its result there.

    Args:
        analysis: What to measure and how to summarise it.
        store: Opened for writing.
        selected: From `select`.
        cluster: Where units are measured.
        listen: Receives progress.
    """
    key, measured = measure_units(analysis, store, selected, cluster, listen, MeasureRecipe)
    result, path = keep_summary(store, analysis, selected, key)
    return Analysed(result, selected, path, measured)


def measure_units(
    analysis: Analysis,
    store: FeatureStore,
    selected: Selected,
    cluster: Cluster,
    listen: Listener,
    recipe_of: Callable[[str, Selected, Analysis, ResultKey, int, str], MeasureRecipe],
) -> tuple[ResultKey, int]:
    """Measure every unit that has no partial yet.

    Args:
        recipe_of: `MeasureRecipe`, or what makes one that tells the analysis more of a unit.

    Returns:
        Where the partials lie, and how many units were measured.
    """
    split = selected.dataset, selected.split
    key = partials_key(split, selected.layers, fingerprints_of(store, selected), analysis, cluster.device)
    recipe = recipe_of(store.url, selected, analysis, key, cluster.threads, cluster.device)
    todo = [unit for unit in selected.units if get_partial(store, key, unit.index) is None]
    skipped = selected.samples - sum(len(unit) for unit in todo)
    listen(
        Started(
            f"analyze {analysis.name}", f"{selected.dataset}/{selected.split}", selected.samples, len(todo), skipped
        )
    )
    if todo:
        store.objects.sweep()  # what killed writers left
    if selected.left_out:
        listen(Note(f"{selected.left_out} units are left out: not all layers have them"))

    def done(unit: Unit, samples: int) -> None:
        listen(Advanced(f"analyze {analysis.name}", unit.index, len(unit)))

    run_tasks(recipe, todo, cluster, done)
    listen(Ended(f"analyze {analysis.name}"))
    return key, len(todo)


def keep_summary(store: FeatureStore, analysis: Analysis, selected: Selected, key: ResultKey) -> tuple[Result, str]:
    """The result of all partials under `key`, in unit order, kept in the store; and the path of its group.

    Raises:
        IncompleteError: A unit has no partial.
    """
    result = analysis.summarise(selected.layers, partials_of(store, key, selected.units))
    return result, keep(store, selected, result, [key.name, dict(analysis.summary_dict())])


def keep(store: FeatureStore, selected: Selected, result: Result, identity: object) -> str:
    """Save `result` in the store under a digest of what it depends on; the path of its group."""
    key = result_key(selected, result.name, identity)
    save_result(store, key, labelled(result, selected))
    return key.path


def result_key(selected: Selected, name: str, identity: object) -> ResultKey:
    """Where the result of an analysis lies that depends on `identity` and on the selected units."""
    units = [(unit.start, unit.stop) for unit in selected.units]
    return ResultKey(selected.dataset, selected.split, name, _digest({"identity": identity, "units": units}))


def labelled(result: Result, selected: Selected) -> xarray.Dataset:
    """The result with names: coordinates, and what it was made from as attributes."""
    import xarray

    attrs = {
        **result.attrs,
        "dataset": selected.dataset,
        "split": selected.split,
        "view": selected.view,
        "samples_in_units": selected.samples,
        "versions": ", ".join(f"{name} {version(name)}" for name in MADE_WITH),
    }
    return xarray.Dataset(
        {name: (dims, values) for name, (dims, values) in result.data.items()}, coords=result.coords, attrs=attrs
    )


def stored_result(store: FeatureStore, key: ResultKey) -> Result:
    """A result that `keep` has kept; its attributes also name `dataset`, `split`, `view` and `run`, its path.

    Raises:
        DataUnavailableError: There is none under this key.
        IntegrityError: It is damaged.
    """
    found = load_result(store, key)
    if found is None:
        raise DataUnavailableError("the store holds no such result", where=key.path)
    return Result(
        name=key.analysis,
        coords={str(name): values.values.tolist() for name, values in found.coords.items()},
        data={str(name): (tuple(map(str, v.dims)), v.values) for name, v in found.data_vars.items()},
        attrs={**found.attrs, "run": key.path},
    )


def analysis_device(device: str, address: str) -> str:
    """As `choose_device`, but "auto" is a GPU only where CuPy can drive it.

    Raises:
        ResourceError: "cuda" is asked for, and CuPy or the card is missing.
    """
    if device == "auto" and importlib.util.find_spec("cupy") is None:
        return "cpu"
    return choose_device(device, address)


def features_identity(store: FeatureStore, selected: Selected) -> dict[str, Any]:
    """Which features, and how they were made: part of the identity of all that is computed from them."""
    return _identity(selected.layers, fingerprints_of(store, selected))


def fingerprints_of(store: FeatureStore, selected: Selected) -> dict[str, Mapping[str, Any]]:
    """Path of each group that the layers lie in -> what the store has frozen for it."""
    groups = {group.path: group for group in map(selected.group, selected.layers)}
    return {path: dict(store.fingerprint(group)) for path, group in groups.items()}


def partials_key(
    split: tuple[str, str],
    layers: Sequence[Layer],
    fingerprints: Mapping[str, Mapping[str, Any]],
    analysis: Analysis,
    device: str,
) -> ResultKey:
    """Where partials lie: split, analysis, and a digest of the parameters and of the features' fingerprints."""
    identity = {
        "analysis": analysis.name,
        "device": device,  # a GPU sums in another order
        "parameters": dict(analysis.as_dict()),
        **_identity(layers, fingerprints),
    }
    return ResultKey(*split, analysis.name, _digest(identity))


def _identity(layers: Sequence[Layer], fingerprints: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {"layers": [[layer.backbone, layer.tap] for layer in layers], "fingerprints": dict(fingerprints)}


@dataclass(frozen=True)
class MeasureRecipe:
    """What an actor needs to measure units; plain values, so that it travels."""

    store: str
    selected: Selected
    analysis: Analysis
    key: ResultKey
    threads: int  # of the kernels on the host
    device: str  # "cpu" (NumPy) or "cuda" (CuPy)

    def build(self) -> MeasureWorker:
        """Open the store, and each layer once: a layer lists the ledger when it is opened, and all units of the tasks
        are committed already."""
        store, selected = FeatureStore.open(self.store, mode="a"), self.selected
        layers = {layer: store.layer(selected.group(layer), layer.tap) for layer in selected.layers}
        return MeasureWorker(self, store, MappingProxyType(layers))

    def measure(self, unit: Unit, read: Callable[[Layer], Array], rows: Rows) -> Partial:
        """The partial of one unit, whose readable samples stand at `rows`."""
        return self.analysis.measure(self.selected.layers, read, rows)


@dataclass(frozen=True)
class MeasureWorker:
    """Measures units of a store and keeps the partials there. Nothing of it changes: two threads share it."""

    recipe: MeasureRecipe
    store: FeatureStore
    layers: Mapping[Layer, FeatureLayer]

    def run(self, task: Unit) -> int:
        """Measure one unit; the number of samples that counted."""
        rows = readable_rows(self.layers.values(), task)

        def read(layer: Layer) -> Array:
            values = self.layers[layer].read_unit(task)
            return to_device(values if len(rows) == len(values) else values[rows], self.recipe.device)

        with host_threads(1 if self.recipe.device == "cuda" else self.recipe.threads):
            partial = self.recipe.measure(task, read, rows)
        put_partial(self.store, self.recipe.key, task.index, partial)
        return len(rows)


def readable_rows(layers: Iterable[FeatureLayer], unit: Unit) -> NDArray[np.int64]:
    """Rows of the unit whose sample could be read, the same for every layer."""
    keep = np.ones(len(unit), dtype=bool)
    for layer in layers:
        keep[[sample.row - unit.start for sample in layer.commit(unit).bad]] = False
    return np.flatnonzero(keep)


def partials_of(store: FeatureStore, key: ResultKey, units: Sequence[Unit]) -> Iterator[Partial]:
    """The partials of these units, in their order.

    Raises:
        IncompleteError: A unit has none.
    """
    for unit in units:
        partial = get_partial(store, key, unit.index)
        if partial is None:
            raise IncompleteError(f"unit {unit.index} has no partial", where=key.name, fix="run the same command again")
        yield partial


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
