"""Single samples of a store: found by id, and their stored rows and input sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.errors import DataUnavailableError, UnknownNameError
from cvbench.jobs.reading.again import extract_again
from cvbench.jobs.reading.rows import readable_rows
from cvbench.jobs.reading.selection import Selected
from cvbench.jobs.reading.views import is_in_part
from cvbench.storage.features import FeatureStore

_NEAR = 20_000  # ids that are searched for near names; more would take seconds


def readable_positions(store: FeatureStore, selected: Selected) -> NDArray[np.int64]:
    """Store positions in the selected units whose sample could be read, ascending."""
    layers = [store.layer(selected.group(layer), layer.tap) for layer in selected.layers]
    parts = [unit.start + readable_rows(layers, unit) for unit in selected.units]
    return np.concatenate(parts)


def class_numbers(store: FeatureStore, selected: Selected) -> NDArray[np.int64]:
    """The class of each readable sample of the selected units, in their order; -1 for none.

    Where the store holds none of the selected layers, as after a live analysis, what could be read is asked of
    whatever it holds of the data set.
    """
    labels = store.split(selected.dataset, selected.split).labels
    if {selected.group(layer) for layer in selected.layers} <= set(store.groups()):
        return labels[readable_positions(store, selected)]
    groups = [group for group in store.groups() if (group.dataset, group.split) == (selected.dataset, selected.split)]
    bad = {sample.row for group in groups for commit in store.commits(group) for sample in commit.bad}
    return labels[[row for unit in selected.units for row in range(unit.start, unit.stop) if row not in bad]]


def find_samples(store: FeatureStore, selected: Selected, ids: Sequence[str]) -> NDArray[np.int64]:
    """The store positions of samples, in the order given, each once.

    Raises:
        UnknownNameError: No such sample; names the nearest.
        DataUnavailableError: The sample is unreadable, or lies beyond what the selected layers cover.
    """
    info = store.split(selected.dataset, selected.split)
    at = {str(name): row for row, name in enumerate(info.ids)}
    there = set(readable_positions(store, selected).tolist())
    rows = []
    for name in dict.fromkeys(ids):
        if name not in at:
            held = [str(info.ids[row]) for row in sorted(there)[:_NEAR]]
            raise UnknownNameError.among(f"sample of {selected.dataset}/{selected.split}:", name, held)
        if at[name] not in there:
            covered = any(unit.start <= at[name] < unit.stop for unit in selected.units)
            place = (selected.dataset, selected.split)
            names = list(dict.fromkeys(layer.backbone for layer in selected.layers))
            wanted: dict[str, Any] = {"maps": at[name] + 1} if is_in_part(selected.view) else {}
            more = extract_again(store, place, backbones=names, view=selected.view, **wanted)
            raise DataUnavailableError(
                f"sample {name!r} has no {selected.view} in this store",
                where=f"{selected.dataset}/{selected.split}",
                why="its image could not be read" if covered else f"they cover {selected.samples} of {info.n} samples",
                fix=None if covered else more,
            )
        rows.append(at[name])
    return np.array(rows, dtype=np.int64)


def read_rows(store: FeatureStore, selected: Selected, layer: Layer, rows: Sequence[int]) -> NDArray[Any]:
    """(n, ...) of a layer at single store positions."""
    stored = store.layer(selected.group(layer), layer.tap)
    return np.concatenate([stored.read(int(row), int(row) + 1) for row in rows])


def last_layers(layers: Sequence[Layer]) -> list[Layer]:
    """The last layer of each backbone."""
    return list({layer.backbone: layer for layer in layers}.values())


def input_sizes(store: FeatureStore, selected: Selected) -> dict[str, tuple[int, int]]:
    """Backbone -> (height, width) in pixels of the images that it was given."""
    sizes = {}
    for layer in last_layers(selected.layers):
        height, width = _geometry(store, selected, layer)["size"]
        sizes[layer.backbone] = (int(height), int(width))
    return sizes


def geometries(store: FeatureStore, selected: Selected) -> dict[str, Any]:
    """Backbone -> the `Geometry` by which its images were resized and cropped."""
    from cvbench.engine.pictures.geometry import Geometry

    found = {}
    for layer in last_layers(selected.layers):
        fields = _geometry(store, selected, layer)
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
        found[layer.backbone] = Geometry(**values)
    return found


def _geometry(store: FeatureStore, selected: Selected, layer: Layer) -> dict[str, Any]:
    fields: dict[str, Any] = store.fingerprint(selected.group(layer))["fingerprint"]["preprocess"]["geometry"]
    return fields
