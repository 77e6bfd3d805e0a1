"""`cvbench analyze silhouette`: a layer as one array, in this process. One or several data sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.silhouette import Samples, SilhouetteOptions
from cvbench.engine.analyses.silhouette import silhouette as score
from cvbench.engine.analyses.silhouette_result import silhouette_json, silhouette_rows
from cvbench.engine.array import Array, to_device
from cvbench.errors import UsageError
from cvbench.jobs.analyze import Analysed, Selected, Selection, features_identity, keep, readable_rows, select
from cvbench.jobs.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.jobs.request import absolute
from cvbench.jobs.sizes import human
from cvbench.storage.features import FeatureLayer, FeatureStore

__all__ = ["SilhouetteOptions", "comparison_notes", "silhouette", "table_json", "table_rows"]


def silhouette(
    selections: Sequence[Selection], options: SilhouetteOptions, device: str = "cpu", listen: Listener = silent
) -> list[Analysed]:
    """The silhouette of the selected layers of each data set; every result is kept in the store.

    Memory: the largest layer as it is stored, said in a note before it is read, and what `silhouette_samples` says.

    Args:
        selections: One per data set, of one store.
        options: How to score.
        device: "cpu" (NumPy) or "cuda" (CuPy).
        listen: Receives progress.

    Raises:
        UsageError: A view that is no matrix; labels, classes or a sample for which it is not defined.
        IntegrityError: A layer with values that are not finite.
    """
    url = absolute(selections[0].store)
    reader = FeatureStore.open(url)  # for reading: an analysis never makes a store
    found = [select(reader, replace(selection, store=url)) for selection in selections]  # all, before any is scored
    store = FeatureStore.open(url, mode="a")
    return [_one(store, selected, options, device, listen) for selected in found]


def table_rows(outcomes: Sequence[Analysed]) -> Iterator[dict[str, Any]]:
    """One flat row per data set, layer and metric."""
    for outcome in outcomes:
        selected = outcome.selected
        for row in silhouette_rows(outcome.result):
            yield {"dataset": selected.dataset, "split": selected.split, "view": selected.view, **row}


def table_json(outcomes: Sequence[Analysed]) -> dict[str, Any]:
    """The JSON form of `cvbench analyze silhouette --format json`."""
    rows = [
        {**names, **row}
        for outcome in outcomes
        for names in ({key: getattr(outcome.selected, key) for key in ("dataset", "split", "view")},)
        for row in silhouette_json(outcome.result)
    ]
    keys = ("sample", "resamples", "confidence", "seed", "interval")
    attrs = outcomes[0].result.attrs
    return {"results": rows, **{key: attrs[key] for key in keys}, "notes": comparison_notes(outcomes)}


def comparison_notes(outcomes: Sequence[Analysed]) -> list[str]:
    """What a reader must know before comparing the rows."""
    notes = [f"{outcome.selected.dataset}: {note}" for outcome in outcomes for note in outcome.result.attrs["notes"]]
    sizes = {outcome.selected.dataset: float(np.median(outcome.result.data["members"][1])) for outcome in outcomes}
    if sizes and max(sizes.values()) > 1.5 * min(sizes.values()):
        shown = ", ".join(f"{name} {size:g}" for name, size in sizes.items())
        notes.append(f"samples per class differ ({shown}, medians): compare layers within a data set, not across")
    return notes


def _one(
    store: FeatureStore, selected: Selected, options: SilhouetteOptions, device: str, listen: Listener
) -> Analysed:
    features = {layer: store.layer(selected.group(layer), layer.tap) for layer in selected.layers}
    _check_matrices(features, selected)
    kept = [(unit, readable_rows(features.values(), unit)) for unit in selected.units]
    positions = np.concatenate([unit.start + rows for unit, rows in kept])
    info = store.split(selected.dataset, selected.split)
    where = f"{selected.dataset}/{selected.split}"
    samples = Samples(where, positions, info.labels[positions], info.classes)
    size = max(layer.shape[1] * layer.dtype.itemsize for layer in features.values()) * len(positions)
    job = "analyze silhouette"
    listen(Started(job, where, len(positions) * len(features), len(features), 0))
    listen(Note(f"{where}: a layer of {len(positions)} samples is held in memory as one array, at most {human(size)}"))
    if selected.left_out:
        listen(Note(f"{selected.left_out} units are left out: not all layers have them"))

    def read(layer: Layer) -> Array:
        values: NDArray[Any] = np.empty((len(positions), *features[layer].shape[1:]), features[layer].dtype)
        at = 0
        for unit, rows in kept:
            values[at : at + len(rows)] = features[layer].read_unit(unit)[rows]
            at += len(rows)
        return to_device(values, device)

    def scored(layer: Layer) -> None:
        listen(Advanced(job, selected.layers.index(layer), len(positions)))

    result = score(selected.layers, read, samples, options, scored)
    listen(Ended(job))
    return Analysed(result, selected, keep(store, selected, result, _identity(store, selected, options, device)), 0)


def _identity(store: FeatureStore, selected: Selected, options: SilhouetteOptions, device: str) -> dict[str, Any]:
    # A GPU sums in another order.
    return {"options": options.as_dict(), "device": device, **features_identity(store, selected)}


def _check_matrices(features: dict[Layer, FeatureLayer], selected: Selected) -> None:
    for layer, stored in features.items():
        if len(stored.shape) != 2:
            raise UsageError(
                f"{layer} of {selected.dataset}/{selected.split} is a map per sample, the silhouette needs a vector",
                where=f"view {selected.view}",
                fix="--view head or --view pooled",
            )
