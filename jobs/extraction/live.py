"""`cvbench extract --analyze ...`: analyses of whole maps that are never stored, measured while each layer is computed.

The partials are those of `cvbench analyze` over the view `maps`, under the same key: whichever comes first, the other
finds them. A unit without its partial is run again, even if its features are committed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from cvbench.engine.analyses.base import Layer, Partial, Result, Rows
from cvbench.engine.analyses.checks import with_extent
from cvbench.engine.analyses.live import DeviceUnit, LiveAnalysis, LiveUnit
from cvbench.engine.arrays.threads import host_threads
from cvbench.errors import UsageError
from cvbench.jobs.reading.images import stored_key
from cvbench.jobs.reading.reading import Reading, class_numbers
from cvbench.jobs.reading.selection import Selected, Selection, is_wanted
from cvbench.jobs.reading.views import MAPS
from cvbench.jobs.results.entry import Live, LiveSetting
from cvbench.jobs.results.keep import Analysed, keep_summary, partials_key, stored_result
from cvbench.storage.features import GroupKey
from cvbench.storage.features.units import Unit, plan_units
from cvbench.storage.results.outcomes import ResultKey, list_partials, list_results, put_partial

if TYPE_CHECKING:
    from torch import Tensor

    from cvbench.engine.arrays.fetch import Fetch
    from cvbench.engine.models.backbones import Description
    from cvbench.storage.features import FeatureStore

NONE: Mapping[str, Live] = MappingProxyType({})


@dataclass(frozen=True)
class Watch:
    """One analysis, the tapped layers that it is of, and notes on those left out; plain values, so that it travels."""

    analysis: LiveAnalysis
    layers: tuple[Layer, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class LiveTask(Watch):
    """A watch over a whole split, and where its partials go."""

    key: ResultKey
    of_classes: bool = False  # the summary has the class of each sample


def check_live(names: Sequence[str], live: Mapping[str, Live]) -> None:
    """Refuse names that come without the analyses that they mean.

    Raises:
        UsageError: See `jobs.registry.find_live`.
    """
    if missing := [name for name in names if name not in live]:
        raise UsageError(
            f"live analyses are named, and not given: {', '.join(missing)}",
            fix="extract(options, cluster, live=find_live(options.analyses))",
        )


def live_tasks(
    live: Mapping[str, Live],
    described: Sequence[Description],
    fingerprints: Mapping[str, Mapping[str, Any]],
    split: tuple[str, str],
    sizes: tuple[int, int],
    device: str,
) -> tuple[LiveTask, ...]:
    """Tasks of the analyses that are measured live.

    Args:
        live: Name -> how, see `check_live`.
        described: The backbones with the taps asked for.
        fingerprints: Path of each backbone's group of maps -> what the store would freeze for it.
        split: Data set and split.
        sizes: Images per forward pass, and samples covered in all.
        device: "cpu" or "cuda".

    Raises:
        UsageError: As `watch`.
    """
    tasks = []
    for how in live.values():
        one = watch(how, described, *sizes)
        paths = {GroupKey(*split, layer.backbone, MAPS).path for layer in one.layers}
        own = {path: fingerprint for path, fingerprint in fingerprints.items() if path in paths}
        key = partials_key(split, one.layers, own, one.analysis, device)
        tasks.append(LiveTask(one.analysis, one.layers, one.notes, key, how.of_classes))
    return tuple(tasks)


def watch(how: Live, described: Sequence[Description], batch: int, samples: int) -> Watch:
    """An analysis before an extraction begins, of the layers that it can measure.

    A layer without a grid is left out even if a tap names it: taps also choose what is stored, and what the other
    analyses are of.

    Args:
        how: To make it.
        described: The backbones with the taps asked for.
        batch: Images per forward pass.
        samples: Covered in all.

    Raises:
        UsageError: No layer has spatial extent, and the analysis needs it; or batches are too small for CKA.
    """
    ordered = sorted(described, key=lambda d: d.spec.key)  # as `analyze` finds them
    shapes = {
        Layer(d.spec.key, tap): (1, at.height, at.width, at.channels) for d in ordered for tap, at in d.layouts.items()
    }
    layers, notes = with_extent(shapes, how.wants) if how.wants else (tuple(shapes), ())
    kept = {layer: shapes[layer] for layer in layers}
    names = {layer.backbone for layer in layers}
    inputs = {d.spec.key: d.preprocess.geometry.size for d in ordered if d.spec.key in names}
    return Watch(how.make(LiveSetting(kept, inputs, batch, samples)), layers, notes)


def commit_live(store: FeatureStore, unit: Unit, tasks: Sequence[LiveTask], observed: LivePass) -> None:
    """Keep the partials of a unit."""
    for task, partial in zip(tasks, observed.partials(), strict=True):
        put_partial(store, task.key, unit.index, partial)


def live_pending(store: FeatureStore, tasks: Sequence[LiveTask], units: Sequence[Unit]) -> dict[Unit, tuple[str, ...]]:
    """For each unit that lacks any partial, the analyses that it lacks."""
    there = {task.analysis.name: set(list_partials(store, task.key)) for task in tasks}
    lacking = {unit: tuple(name for name, held in there.items() if unit.index not in held) for unit in units}
    return {unit: names for unit, names in lacking.items() if names}


def summarise_live(store: FeatureStore, tasks: Sequence[LiveTask], units: Sequence[Unit]) -> list[Analysed]:
    """The results of all tasks over these units, kept in the store as `analyze` keeps them."""
    found = []
    for task in tasks:
        selected = Selected(task.key.dataset, task.key.split, MAPS, task.layers, tuple(units), 0, task.notes)
        reading, analysis = Reading(store, selected), task.analysis
        if task.of_classes:
            analysis = replace(analysis, classes=class_numbers(reading))  # type: ignore[type-var]
        result, path = keep_summary(reading, analysis, task.key)
        found.append(Analysed(result, selected, path, 0))
    return found


def kept_live(
    store: FeatureStore,
    name: str,
    selection: Selection,
    fits: Callable[[Result], bool] = lambda result: True,
    *,
    beside_maps: bool = False,
    notes: Callable[[Mapping[str, Any]], Sequence[str]] = lambda attrs: (),
) -> Analysed | None:
    """The result that `extract --analyze` has kept, where the store holds no maps that could be measured again.

    With several, that of the newest intervals, and of these of the most samples. Its bootstrap is its own, whatever is
    asked for now; a note says so. One that has layers which the selection's taps leave out is not taken.

    Args:
        store: For reading.
        name: Of the analysis.
        selection: Its data set, split, backbones and taps choose; None or empty fits all.
        fits: Whether a result is one that may be taken.
        beside_maps: Look where the store holds maps, too: those may be of fewer samples.
        notes: What is to be said of a result with these attributes.
    """
    results = list_results(store)
    names = {key.dataset for key in results}
    asked = None if selection.dataset is None else stored_key(store, selection.dataset, names)
    groups = [] if beside_maps else store.groups()
    with_maps = {(group.dataset, group.split) for group in groups if group.view == MAPS}
    found: list[tuple[int, int, Analysed]] = []
    for key in results:
        place = key.dataset, key.split
        meant = key.analysis == name and asked in (None, key.dataset) and selection.split in (None, key.split)
        if not meant or place in with_maps:
            continue
        result = stored_result(store, key)
        layers = tuple(Layer(layer["backbone"], layer["tap"]) for layer in result.attrs.get("layers", ()))
        names = {layer.backbone for layer in layers}
        wanted = {known for one in selection.backbones for known in names if one in (known, known.partition("@")[0])}
        if result.attrs.get("view") != MAPS or (selection.backbones and wanted != names):
            continue
        if not fits(result) or not all(is_wanted(layer.tap, selection.taps) for layer in layers):
            continue
        info, covered = store.split(*place), result.attrs["samples_in_units"]
        selected = Selected(*place, MAPS, layers, tuple(plan_units(info.n, info.unit, covered)), 0)
        said = [*result.attrs.get("notes", ()), "measured by `extract --analyze`, of maps that are not stored"]
        attrs = {**result.attrs, "notes": [*said, *notes(result.attrs)]}
        kept = Analysed(replace(result, attrs=attrs), selected, key.path, 0)
        found.append((result.attrs.get("intervals", 0), covered, kept))
    return max(found, key=lambda one: one[:2])[2] if found else None


class LivePass:
    """The live analyses of one unit, in one actor: told of each batch and layer as it is computed.

    On a device their numbers stay there until a batch has ended, and go to the host while the next one runs.
    """

    def __init__(self, watched: Sequence[Watch], threads: int, device: str) -> None:
        self._threads, self._device = threads, device
        self._units: list[LiveUnit] = [one.analysis.live(one.layers) for one in watched]
        self._places: dict[Layer, list[tuple[LiveUnit, int]]] = {}  # who is told of a layer, and as which number
        for unit, one in zip(self._units, watched, strict=True):
            for number, layer in enumerate(one.layers):
                self._places.setdefault(layer, []).append((unit, number))
        self._inside: Rows = np.arange(0)
        self._size = 0
        self._chosen: Tensor | None = None  # of `_inside`, where the maps are, if rows are left out
        self._on_the_way: tuple[Fetch, list[int]] | None = None

    def begin(self, offset: int, size: int, bad: Sequence[int]) -> None:
        """The next batch of the unit.

        Args:
            offset: Row of its first sample within the unit.
            size: Its samples; what follows in the tensors is padding.
            bad: Rows within the batch that could not be read.
        """
        self._size, self._chosen = size, None
        self._inside = np.setdiff1d(np.arange(size), np.array(bad, dtype=np.int64))
        for unit in self._units:
            unit.begin(offset + self._inside)

    def taps(self, backbone: str) -> list[str]:
        """Taps to observe of a backbone."""
        return [layer.tap for layer in self._places if layer.backbone == backbone]

    def observer(self, backbone: str) -> Callable[[str, Tensor], None]:
        """The function that `Backbone.run` calls with each layer's maps."""
        from cvbench.engine.arrays.array import from_torch, torch_stream

        def observe(tap: str, maps: Tensor) -> None:
            with ExitStack() as stack:
                stack.enter_context(torch_stream(maps))
                stack.enter_context(host_threads(1 if maps.is_cuda else self._threads))
                values = from_torch(self._readable(maps))
                for unit, number in self._places[Layer(backbone, tap)]:
                    unit.add(number, values)

        return observe

    def _readable(self, maps: Tensor) -> Tensor:
        """The rows that could be read; on the host in float32, which is exact, and torch converts faster than NumPy."""
        import torch

        values = maps[: self._size]
        if not maps.is_cuda:
            values = values.float()
        if len(self._inside) == self._size:
            return values
        if self._chosen is None:
            self._chosen = torch.from_numpy(self._inside).to(maps.device)
        return values[self._chosen]

    def end(self) -> None:
        """The batch is computed: its numbers begin their way to the host, and those of the one before have arrived.

        Raises:
            IntegrityError: A layer of the batch before has values that are not finite.
        """
        if not self._units or self._device == "cpu":
            return
        from cvbench.engine.arrays.array import device_stream
        from cvbench.engine.arrays.fetch import Fetch

        with device_stream(self._device):
            taken = [unit.take() if isinstance(unit, DeviceUnit) else [] for unit in self._units]
            arrays = [array for numbers in taken for array in numbers]
            started = (Fetch(arrays), [len(numbers) for numbers in taken]) if arrays else None
        self._settle()
        self._on_the_way = started

    def partials(self) -> list[Partial]:
        """One of each analysis, of all batches."""
        self._settle()
        return [unit.partial() for unit in self._units]

    def _settle(self) -> None:
        """Hand out what is on its way, once it is there."""
        if self._on_the_way is None:
            return
        (fetch, counts), self._on_the_way = self._on_the_way, None
        numbers = iter(fetch.arrays())
        for unit, count in zip(self._units, counts, strict=True):
            if isinstance(unit, DeviceUnit):
                unit.give([*itertools.islice(numbers, count)])
