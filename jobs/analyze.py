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
from fnmatch import fnmatchcase
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Analysis, Layer, Partial, Result
from cvbench.engine.array import Array, to_device
from cvbench.engine.threads import host_threads
from cvbench.errors import DataUnavailableError, IncompleteError, UnknownNameError, UsageError
from cvbench.jobs.executor import Cluster, choose_device, run_tasks
from cvbench.jobs.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.jobs.request import VIEWS
from cvbench.storage.datasets import key_of_spec, spec_of_key
from cvbench.storage.features import FeatureLayer, FeatureStore, GroupKey, LayerInfo
from cvbench.storage.results import ResultKey, get_partial, load_result, put_partial, save_result
from cvbench.storage.units import Unit

if TYPE_CHECKING:
    import xarray


MADE_WITH = ("cvbench", "numpy", "scipy", "scikit-learn")
"""The versions that a result records: those of what computes it."""


@dataclass(frozen=True)
class Selection:
    """Which layers of a store; None or empty is "all there are".

    Attributes:
        dataset: As the store or as `extract` names it; may stay None if the store holds one.
        backbones: In the order of the result.
        view: "pooled", "maps", "cls" or "head".
        taps: Names or globs.
    """

    store: str
    dataset: str | None = None
    split: str | None = None
    backbones: tuple[str, ...] = ()
    view: str = "pooled"
    taps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selected:
    """The layers found and the units that all of them have."""

    dataset: str
    split: str
    view: str
    layers: tuple[Layer, ...]
    units: tuple[Unit, ...]
    left_out: int  # units that some layer lacks

    @property
    def samples(self) -> int:
        """Samples in the common units."""
        return sum(len(unit) for unit in self.units)

    def group(self, layer: Layer) -> GroupKey:
        """Where the layer lies."""
        return GroupKey(self.dataset, self.split, layer.backbone, self.view)


def select(store: FeatureStore, selection: Selection) -> Selected:
    """Find the layers that `selection` means.

    Raises:
        UnknownNameError: A data set, backbone or tap that the store does not hold, or a view that does not exist.
        UsageError: The data set is not named and the store holds several.
        DataUnavailableError: The view is not in the store, or no unit is committed for all layers.
    """
    infos = store.tree()
    dataset, split = _choose_split(infos, selection)
    infos = [info for info in infos if (info.group.dataset, info.group.split) == (dataset, split)]
    _check_view(store, infos, selection, dataset, split)
    infos = [info for info in infos if info.group.view == selection.view]
    held = list(dict.fromkeys(info.group.backbone for info in infos))
    backbones = [_stored_name(name, held) for name in selection.backbones] or held
    chosen = [i for name in backbones for i in _in_depth_order(store, infos, name) if _wanted(i.tap, selection.taps)]
    if not chosen:
        raise UnknownNameError.among("tap in this store:", ", ".join(selection.taps), [info.tap for info in infos])
    layers = tuple(Layer(info.group.backbone, info.tap) for info in chosen)
    common, union = _committed(store, chosen)
    if not common:
        raise DataUnavailableError(
            f"no unit of {dataset}/{split} is there for all {len(layers)} layers",
            where=selection.store,
            fix=f"cvbench extract --dataset {dataset} --store {selection.store} with these backbones and taps",
        )
    return Selected(dataset, split, selection.view, layers, tuple(common), len(union) - len(common))


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
        """Open the store."""
        return MeasureWorker(self)


class MeasureWorker:
    """Measures units of a store and keeps the partials there."""

    def __init__(self, recipe: MeasureRecipe) -> None:
        self.recipe = recipe
        self.store = FeatureStore.open(recipe.store, mode="a")
        selected = recipe.selected
        # Opened once: a layer lists the ledger when it is opened, and all units of the tasks are committed already.
        self._layers = {layer: self.store.layer(selected.group(layer), layer.tap) for layer in selected.layers}

    def run(self, task: Unit) -> int:
        """Measure one unit; the number of samples that counted."""
        selected = self.recipe.selected
        rows = readable_rows(self._layers.values(), task)

        def read(layer: Layer) -> Array:
            values = self._layers[layer].read_unit(task)
            return to_device(values if len(rows) == len(values) else values[rows], self.recipe.device)

        with host_threads(1 if self.recipe.device == "cuda" else self.recipe.threads):
            partial = self.recipe.analysis.measure(selected.layers, read, rows)
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


def _choose_split(infos: Sequence[LayerInfo], selection: Selection) -> tuple[str, str]:
    held = list(dict.fromkeys((info.group.dataset, info.group.split) for info in infos))
    if not held:
        raise DataUnavailableError(
            "the store holds no features", where=selection.store, fix="cvbench extract --dataset digits --store ..."
        )
    names = sorted({dataset for dataset, _ in held})
    asked = None if selection.dataset is None else key_of_spec(selection.dataset)
    if asked is not None and asked not in names:
        raise UnknownNameError.among(
            "data set in this store:", selection.dataset or "", names, fix=f"the store holds {', '.join(names)}"
        )
    fitting = [key for key in held if asked in (None, key[0]) and selection.split in (None, key[1])]
    if len(fitting) == 1:
        return fitting[0]
    shown = ", ".join("/".join(key) for key in held)
    raise UsageError(
        f"{len(fitting)} data sets of the store fit",
        where=selection.store,
        fix=f"--dataset and --split; it holds {shown}",
    )


def _check_view(
    store: FeatureStore, infos: Sequence[LayerInfo], selection: Selection, dataset: str, split: str
) -> None:
    """Refuse a view that does not exist, or that the store lacks of this split; says which `extract` gives it."""
    held = sorted({info.group.view for info in infos})
    if selection.view in held:
        return
    if selection.view not in (known := (*VIEWS, "cls")):
        raise UnknownNameError.among(
            "view", selection.view, known, fix=f"--view {', '.join(held)} of {dataset}/{split} are in the store"
        )
    made = [store.fingerprint(info.group).get("fingerprint", {}) for info in infos]
    words = [f"--backbone {name}" for name in dict.fromkeys(one["model"] for one in made if "model" in one)]
    words += [f"--image-size {size}" for size in {one.get("image_size") for one in made} if size]
    asked = " ".join([f"--dataset {spec_of_key(dataset)} --split {split}", *words])
    view = "pooled" if selection.view == "cls" else selection.view
    raise DataUnavailableError(
        f"the store holds no view {selection.view!r} of {dataset}/{split}",
        where=selection.store,
        why=f"it holds {', '.join(held)}",
        fix=f"cvbench extract {asked} --store {selection.store} --view {view} adds it (--weights and --taps as before)",
    )


def _stored_name(name: str, held: Sequence[str]) -> str:
    """A backbone by its stored name, or by what `extract` was given (an alias, a model without its tag)."""
    from cvbench.engine.backbones import resolve_spec

    if name in held:
        return name
    try:
        candidates = {resolve_spec(name, weights="random", head=head).key for head in (False, True)}
    except UnknownNameError:
        candidates = set()
    fitting = [key for key in held if key in candidates or key.partition("@")[0] in candidates]
    if len(fitting) == 1:
        return fitting[0]
    raise UnknownNameError.among("backbone in this store:", name, held, fix=f"the store holds {', '.join(held)}")


def _in_depth_order(store: FeatureStore, infos: Sequence[LayerInfo], backbone: str) -> list[LayerInfo]:
    def depth(info: LayerInfo) -> int:
        return int(store.encoding(info.group, info.tap).document["attributes"].get("position", 0))

    return sorted((info for info in infos if info.group.backbone == backbone), key=depth)


def _wanted(tap: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(tap, pattern) for pattern in patterns)


def _committed(store: FeatureStore, infos: Sequence[LayerInfo]) -> tuple[list[Unit], list[Unit]]:
    """The units that every layer has, and those that any has."""
    commits = {group: store.commits(group) for group in {info.group for info in infos}}
    each = [{commit.unit for commit in commits[info.group] if info.tap in commit.taps} for info in infos]
    return sorted(set.intersection(*each)), sorted(set.union(*each))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
