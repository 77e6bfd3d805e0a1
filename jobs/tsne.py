"""`cvbench analyze tsne`: maps of whole layers, in this process; their forms as JSON and as rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.tsne import KS, TsneOptions
from cvbench.engine.analyses.tsne import tsne as make
from cvbench.engine.analyses.tsne_backends import backend_version, choose_backend
from cvbench.engine.analyses.tsne_result import measure_rows, point_rows
from cvbench.jobs.analyze import Analysed, Selection, features_identity, keep, result_key, select, stored_result
from cvbench.jobs.figures.tsne import tsne_figure
from cvbench.jobs.matrix import Matrices
from cvbench.jobs.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.jobs.request import absolute
from cvbench.jobs.section import Section, TidyRow
from cvbench.jobs.sections import bootstrap_options, end_layers, selection_options, tidy_row
from cvbench.storage.features import FeatureStore
from cvbench.storage.results import list_results

__all__ = ["SECTION", "TsneOptions", "kept_map", "measure_rows", "point_rows", "tsne", "tsne_json"]

JOB = "analyze tsne"


def tsne(selection: Selection, options: TsneOptions, listen: Listener = silent) -> Analysed:
    """The map and its measures of every selected layer; kept in the store, and found there the next time.

    Memory: the largest layer as it is stored and once more in float32, said in a note before it is read.

    Raises:
        UsageError: A view that is no matrix; too few samples for the perplexity, too many for the backend.
        ResourceError: The backend is not there.
        IntegrityError: A layer with values that are not finite.
    """
    url = absolute(selection.store)
    selected = select(FeatureStore.open(url), replace(selection, store=url))  # an analysis never makes a store
    return map_of(Matrices(FeatureStore.open(url, mode="a"), selected), options, listen)


def map_of(matrices: Matrices, options: TsneOptions, listen: Listener = silent) -> Analysed:
    """As `tsne`, of layers that are open for writing."""
    store, selected = matrices.store, matrices.selected
    n = len(matrices.samples.positions)
    identity = _identity(matrices, options)
    key = result_key(selected, "tsne", identity)
    if key in list_results(store):
        return Analysed(stored_result(store, key), selected, key.path, 0)
    listen(Started(JOB, matrices.where, n * len(selected.layers), len(selected.layers), 0))
    for note in matrices.notes:
        listen(Note(note))

    def mapped(layer: Layer) -> None:
        listen(Advanced(JOB, selected.layers.index(layer), n))

    result = make(selected.layers, matrices.read, matrices.samples, options, mapped)
    listen(Ended(JOB))
    return Analysed(result, selected, keep(store, selected, result, identity), len(selected.units))


def kept_map(matrices: Matrices, seed: int, listen: Listener = silent) -> Result:
    """The map of `cvbench analyze tsne` with its defaults: the one in the store, else one is made in a single run."""
    options = TsneOptions(seed=seed)
    kept = list_results(matrices.store)
    if result_key(matrices.selected, "tsne", _identity(matrices, options)) not in kept:
        options = replace(options, repeats=1)
    return map_of(matrices, options, listen).result


def tsne_json(result: Result) -> dict[str, Any]:
    """The JSON form of `cvbench analyze tsne --format json`, the points left out; undefined numbers are null."""
    layers = []
    for i, layer in enumerate(result.attrs["layers"]):
        own = [row for row in measure_rows(result) if all(row[key] == layer[key] for key in ("backbone", "tap"))]
        measures = [{key: row[key] for key in row if key not in layer} for row in own]
        runs = {key: result.data[key][1][i].tolist() for key in ("kl", "iterations")}
        layers.append({**layer, **runs, "measures": measures})
    return {**result.attrs, "layers": layers}


def _identity(matrices: Matrices, options: TsneOptions) -> dict[str, Any]:
    n = len(matrices.samples.positions)
    backend = choose_backend(options.backend, min(n, options.sample or n))
    chosen = {**options.as_dict(), "backend": backend, "version": backend_version(backend)}
    return {"options": chosen, **features_identity(matrices.store, matrices.selected)}


NAMES = {
    "trustworthiness": "trustworthiness of the map",
    "continuity": "continuity of the map",
    "recall": "kNN recall of the map",
    "purity_features": "kNN purity, features",
    "purity_map": "kNN purity, map",
    "accuracy_features": "kNN accuracy, features",
    "accuracy_map": "kNN accuracy, map",
}
OTHERS = {"silhouette_map": "silhouette of the map", "distance_order": "Spearman correlation of distances, per image"}


def tidy_rows(result: Result, names: tuple[str, ...] = (), layers: list[int] | None = None) -> Iterator[TidyRow]:
    """One row per layer and measure; all measures unless named."""
    data, attrs = result.data, result.attrs
    left_out = attrs.get("samples_in_units", attrs["samples_of"]) - attrs["samples_of"]
    for i in range(len(attrs["layers"])) if layers is None else layers:
        place = attrs["layers"][i]
        for j, name in enumerate(result.coords["measure"]):
            if names and name not in names:
                continue
            stem, _, k = name.rpartition("_")
            text = OTHERS[name] if name in OTHERS else f"{NAMES[stem]}, k = {k}"
            value, low, high = (float(data[f"measures{end}"][1][i, j]) for end in ("", "_low", "_high"))
            undefined = int(data["n_undefined"][1][i, j])
            n = int(data["n"][1][i, j])
            yield tidy_row(result, place["backbone"], text, place["tap"], (value, low, high), n, left_out + undefined)


def headline_rows(result: Result) -> Iterator[TidyRow]:
    """Four measures of the first and the last layer of each backbone."""
    k = KS[1]
    names = (f"trustworthiness_{k}", f"purity_features_{k}", f"purity_map_{k}", "silhouette_map")
    return tidy_rows(result, names, end_layers(result))


def _command(result: Result) -> list[str]:
    attrs, usual = result.attrs, TsneOptions()
    words = ["analyze", "tsne", *selection_options(result), "--view", attrs["view"], "--backend", attrs["backend"]]
    for key in ("perplexity", "iterations", "preprocess", "components", "repeats", "sample", "measured"):
        if attrs[key] != getattr(usual, key):
            words += [f"--{key}", f"{attrs[key]:g}" if isinstance(attrs[key], float) else str(attrs[key])]
    return words + bootstrap_options(result)


SECTION = Section(
    analysis="tsne",
    title="t-SNE maps of the features",
    about=(
        "Each point is an image, placed so that images with near features are near; classes have the same colour for "
        "every backbone. Only neighbourhoods can be read: distances, areas and gaps on the map carry no claim, and "
        "t-SNE can make clusters look more apart than they are. Trustworthiness is 1 if no neighbour on the map is a "
        "stranger in the features; purity is the share of the 10 nearest images of the same class, in the features and "
        "on the map. Intervals are a bootstrap over images, given the map. Sources: van der Maaten and Hinton 2008, "
        "Kobak and Berens 2019, Venna and Kaski 2001."
    ),
    rows=tidy_rows,
    options=_command,
    figure=tsne_figure,
    headline=headline_rows,
)
