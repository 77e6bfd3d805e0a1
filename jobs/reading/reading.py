"""What a job reads of a store: the layers of a selection, their rows, labels and origin, each asked for once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.checks import check_grid, has_extent, with_extent
from cvbench.errors import DataUnavailableError, UnknownNameError
from cvbench.jobs.reading.again import extract_again
from cvbench.jobs.reading.selection import Selected, Selection, select
from cvbench.jobs.reading.views import is_in_part
from cvbench.jobs.running.places import absolute
from cvbench.storage.features import Commit, FeatureLayer, FeatureStore, GroupKey, SplitInfo
from cvbench.storage.features.units import Unit

if TYPE_CHECKING:
    from cvbench.engine.pictures.geometry import Geometry

I64 = NDArray[np.int64]

_NEAR = 20_000  # ids that are searched for near names; more would take seconds


@dataclass(frozen=True, eq=False)
class Reading:
    """A selection of a store as it was when it was read; what is committed later does not change it.

    Attributes:
        store: Opened once, to read from and to keep results in.
        selected: The layers and units.
        known: The commits of the groups that the layers lie in; None: those that are there when they are first asked.
    """

    store: FeatureStore
    selected: Selected
    known: Mapping[GroupKey, Sequence[Commit]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (Reading, (self.store, self.selected))  # who it travels to lists the commits, when a task asks for them

    @cached_property
    def commits(self) -> Mapping[GroupKey, Sequence[Commit]]:
        """Commits of each group that a layer lies in; none of a group that the store lacks."""
        groups = dict.fromkeys(map(self.selected.group, self.selected.layers))
        return self.known or {group: self.store.commits(group) for group in groups}

    @property
    def where(self) -> str:
        """Data set and split, for messages."""
        return f"{self.selected.dataset}/{self.selected.split}"

    @cached_property
    def info(self) -> SplitInfo:
        """The frozen settings and sample table of the split."""
        return self.store.split(self.selected.dataset, self.selected.split)

    @cached_property
    def layers(self) -> dict[Layer, FeatureLayer]:
        """Each layer as it is stored."""
        return {layer: self.layer(layer) for layer in self.selected.layers}

    def layer(self, layer: Layer, tap: str | None = None) -> FeatureLayer:
        """A layer as it is stored, or another tap beside it."""
        group = self.selected.group(layer)
        return self.store.layer(group, tap or layer.tap, self.commits[group])

    def grids(self, wants: str) -> dict[Layer, tuple[int, int]]:
        """(height, width) of each layer's maps.

        Raises:
            UsageError: A layer without spatial extent, which `wants` needs.
        """
        return {layer: check_grid(layer, stored.shape, wants) for layer, stored in self.layers.items()}

    def with_grids(self, wants: str, named: Sequence[str]) -> Reading:
        """The layers that have spatial extent; the others are left out, and a note of the selection says so.

        Args:
            wants: What needs a grid, for the messages.
            named: Names and globs that chose the layers: one that is named whole is not left out.

        Raises:
            UsageError: No layer has spatial extent, or one that is named has none.
        """
        shapes = {layer: stored.shape for layer, stored in self.layers.items()}
        if any(layer.tap in named for layer, shape in shapes.items() if not has_extent(shape)):
            self.grids(wants)
        kept, notes = with_extent(shapes, wants)
        if not notes:
            return self
        selected = replace(self.selected, layers=kept, notes=(*self.selected.notes, *notes))
        return Reading(self.store, selected, self.known)

    def of_last_layers(self) -> Reading:
        """The last layer of each backbone alone, of the units that these have."""
        layers = tuple(last_layers(self.selected.layers))
        each = [_committed(self, layer) for layer in layers]
        units, union = tuple(sorted(set.intersection(*each))), set.union(*each)
        selected = replace(self.selected, layers=layers, units=units, left_out=len(union) - len(units))
        return Reading(self.store, selected, self.known)

    @cached_property
    def kept(self) -> list[tuple[Unit, I64]]:
        """The units, and the rows of each that are readable in every layer."""
        return [(unit, readable_rows(self.layers.values(), unit)) for unit in self.selected.units]

    @cached_property
    def rows(self) -> I64:
        """(n,) int64 store positions that are readable in every layer, ascending."""
        return np.concatenate([unit.start + rows for unit, rows in self.kept])

    @property
    def classes(self) -> I64:
        """(n,) int64 class of each of `rows`; -1 for none."""
        labels: I64 = self.info.labels[self.rows]
        return labels

    @cached_property
    def fingerprints(self) -> dict[str, Mapping[str, Any]]:
        """Path of each group that the layers lie in -> what the store has frozen for it."""
        groups = {group.path: group for group in map(self.selected.group, self.selected.layers)}
        return {path: self.store.fingerprint(group) for path, group in groups.items()}

    @property
    def identity(self) -> dict[str, Any]:
        """Identity of the features: a part of the identity of all that is computed from them."""
        return features_identity(self.selected.layers, self.fingerprints)

    @cached_property
    def geometries(self) -> dict[str, Geometry]:
        """Backbone -> how its images were resized and cropped."""
        from cvbench.engine.pictures.geometry import Geometry

        found = {}
        for name, fields in self._geometries():
            values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
            found[name] = Geometry(**values)
        return found

    @property
    def input_sizes(self) -> dict[str, tuple[int, int]]:
        """Backbone -> (height, width) in pixels of the images that it was given."""
        return {name: (int(fields["size"][0]), int(fields["size"][1])) for name, fields in self._geometries()}

    def _geometries(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for layer in last_layers(self.selected.layers):
            made = self.fingerprints[self.selected.group(layer).path]["fingerprint"]
            yield layer.backbone, made["preprocess"]["geometry"]

    def find(self, ids: Sequence[str]) -> I64:
        """(n,) int64 store positions of samples, in the order given, each once.

        Raises:
            UnknownNameError: No such sample; names the nearest.
            DataUnavailableError: The sample is unreadable, or lies beyond what the layers cover.
        """
        info, selected = self.info, self.selected
        at = {str(name): row for row, name in enumerate(info.ids)}
        there = set(self.rows.tolist())
        for name in ids:
            if name not in at:
                held = [str(info.ids[row]) for row in self.rows[:_NEAR]]
                raise UnknownNameError.among(f"sample of {self.where}:", name, held)
            if at[name] in there:
                continue
            covered = any(unit.start <= at[name] < unit.stop for unit in selected.units)
            names = list(dict.fromkeys(layer.backbone for layer in selected.layers))
            wanted: dict[str, Any] = {"maps": at[name] + 1} if is_in_part(selected.view) else {}
            place = selected.dataset, selected.split
            more = extract_again(self.store, place, backbones=names, view=selected.view, **wanted)
            raise DataUnavailableError(
                f"sample {name!r} has no {selected.view} in this store",
                where=self.where,
                why="its image could not be read" if covered else f"they cover {selected.samples} of {info.n} samples",
                fix=None if covered else more,
            )
        return np.array([at[name] for name in dict.fromkeys(ids)], dtype=np.int64)

    def take(self, layer: Layer, rows: Sequence[int], tap: str | None = None) -> NDArray[Any]:
        """(n, ...) of a layer, or of another tap beside it, at single store positions."""
        stored = self.layer(layer, tap)
        return np.concatenate([stored.read(int(row), int(row) + 1) for row in rows])


def open_store(url: str) -> FeatureStore:
    """A store to read from and to keep results in; it must exist."""
    return FeatureStore.open(absolute(url), mode="r+")


def read(selection: Selection, store: FeatureStore | None = None, *, imported: bool = False) -> Reading:
    """Resolve `selection` in a store.

    Args:
        selection: Which layers.
        store: Where, if it is open already; None: opened by the name that the selection gives.
        imported: Take imported class predictions too, which are no features.

    Raises:
        CvbenchError: As `select`.
    """
    place = store or open_store(selection.store)
    selected, commits = select(place, selection, imported=imported)
    return Reading(place, selected, commits)


def readable_rows(layers: Iterable[FeatureLayer], unit: Unit) -> I64:
    """Rows of the unit whose sample could be read, the same for every layer."""
    keep = np.ones(len(unit), dtype=bool)
    for layer in layers:
        keep[[sample.row - unit.start for sample in layer.commit(unit).bad]] = False
    return np.flatnonzero(keep)


def features_identity(layers: Sequence[Layer], fingerprints: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Identity of features: the layers, and what was frozen for their groups, by path."""
    return {"layers": [[layer.backbone, layer.tap] for layer in layers], "fingerprints": dict(fingerprints)}


def last_layers(layers: Sequence[Layer]) -> list[Layer]:
    """The last layer of each backbone."""
    return list({layer.backbone: layer for layer in layers}.values())


def _committed(reading: Reading, layer: Layer) -> set[Unit]:
    group = reading.selected.group(layer)
    return {commit.unit for commit in reading.commits[group] if layer.tap in commit.taps}


def class_numbers(reading: Reading) -> I64:
    """(n,) int64 class of each readable sample of the units, in their order; -1 for none.

    Where the store does not hold every unit of every layer, as after a live analysis, what could be read is asked of
    whatever it holds of the data set.
    """
    selected, store = reading.selected, reading.store
    if all(set(selected.units) <= _committed(reading, layer) for layer in selected.layers):
        return reading.classes
    groups = [group for group in store.groups() if (group.dataset, group.split) == (selected.dataset, selected.split)]
    bad = {sample.row for group in groups for commit in store.commits(group) for sample in commit.bad}
    rows = [row for unit in selected.units for row in range(unit.start, unit.stop) if row not in bad]
    labels: I64 = reading.info.labels[rows]
    return labels
