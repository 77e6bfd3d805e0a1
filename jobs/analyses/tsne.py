"""`cvbench analyze tsne`: maps of whole layers, in this process; their forms as JSON and as rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from cvbench.jobs.results.tidy import command_words, end_layers, interval_options, selection_of, tidy_row

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.tsne.backends import backend_version
from cvbench.engine.analyses.tsne.measure import KS, plan
from cvbench.engine.analyses.tsne.measure import tsne as make
from cvbench.engine.analyses.tsne.options import TsneOptions
from cvbench.engine.analyses.tsne.result import difference_rows, measure_rows, point_rows
from cvbench.engine.statistics.running import INTERVALS
from cvbench.engine.statistics.verdict import FAMILY
from cvbench.jobs.analyses.measure import analysis_device
from cvbench.jobs.analyses.options import TSNE
from cvbench.jobs.figures.tsne import tsne_figure
from cvbench.jobs.reading.matrix import Matrices
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import read
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.keep import Analysed, keep, result_key, stored_result
from cvbench.jobs.results.row import TidyRow
from cvbench.jobs.results.words import CLASSES, over_classes, verdict_of
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.storage.results.outcomes import list_results

__all__ = [
    "ENTRY",
    "TsneOptions",
    "difference_rows",
    "identity_of",
    "map_of",
    "measure_rows",
    "measure_text",
    "point_rows",
    "tsne",
    "tsne_json",
]

JOB = "analyze tsne"


def tsne(selection: Selection, options: TsneOptions, listen: Listener = silent, device: str = "cpu") -> Analysed:
    """The map and its measures of every selected layer; kept in the store, and found there the next time.

    Memory: the largest layer as it is stored and once more in float32, said in a note before it is read.

    Args:
        selection: The layers.
        options: How to map and to measure.
        listen: Receives progress.
        device: "cpu" (NumPy) or "cuda" (CuPy): where the measures are taken; with "cpu", "auto" is never cuML.

    Raises:
        UsageError: A view that is no matrix; too few samples for the perplexity, too many for the backend.
        ResourceError: The backend is not there.
        IntegrityError: A layer with values that are not finite.
    """
    return map_of(Matrices.of(read(selection)), options, listen, device)


def map_of(matrices: Matrices, options: TsneOptions, listen: Listener = silent, device: str = "cpu") -> Analysed:
    """As `tsne`, of layers that are read already."""
    store, selected = matrices.store, matrices.selected
    n = len(matrices.rows)
    _, backend = plan(matrices.samples, options, device)
    identity = identity_of(matrices, options, backend, backend_version(backend), device)
    key = result_key(selected, "tsne", identity)
    if key in list_results(store):
        return Analysed(stored_result(store, key), selected, key.path, 0)
    listen(Started(JOB, matrices.where, n * len(selected.layers), len(selected.layers), 0))
    for note in matrices.notes:
        listen(Note(note))

    def mapped(layer: Layer) -> None:
        listen(Advanced(JOB, selected.layers.index(layer), n))

    result = make(selected.layers, matrices.read, matrices.samples, options, mapped, device)
    listen(Ended(JOB))
    path = keep(matrices, result, identity)
    return Analysed(stored_result(store, key), selected, path, len(selected.units))


def identity_of(matrices: Matrices, options: TsneOptions, backend: str, version: str, device: str) -> dict[str, Any]:
    """All that a result of `tsne` depends on, beside the units."""
    chosen = {**options.as_dict(), "intervals": INTERVALS, "family": FAMILY, "backend": backend, "version": version}
    return {"options": chosen, "device": device, **matrices.identity}


def tsne_json(result: Result) -> dict[str, Any]:
    """The JSON form of `cvbench analyze tsne --format json`, the points left out; undefined numbers are null."""
    layers = []
    for i, layer in enumerate(result.attrs["layers"]):
        own = [row for row in measure_rows(result) if all(row[key] == layer[key] for key in ("backbone", "tap"))]
        measures = [{key: row[key] for key in row if key not in layer} for row in own]
        runs = {key: result.data[key][1][i].tolist() for key in ("kl", "iterations")}
        layers.append({**layer, **runs, "measures": measures})
    return {**result.attrs, "layers": layers, "differences": list(difference_rows(result))}


NAMES = {
    "trustworthiness": "trustworthiness of the map",
    "continuity": "continuity of the map",
    "recall": "kNN recall of the map",
    "purity_features": "kNN purity, features",
    "purity_map": "kNN purity, map",
    "accuracy_features": "kNN accuracy, features",
    "accuracy_map": "kNN accuracy, map",
}
HEADLINE = (f"purity_features_{KS[1]}", f"trustworthiness_{KS[1]}", f"purity_map_{KS[1]}", "silhouette_map")
OTHERS = {"silhouette_map": "silhouette of the map", "distance_order": "Spearman correlation of distances, per image"}


def measure_text(name: str) -> str:
    """What a measure is called.

    >>> measure_text("purity_map_10")
    'kNN purity, map, k = 10'
    """
    stem, _, k = name.rpartition("_")
    return OTHERS[name] if name in OTHERS else f"{NAMES[stem]}, k = {k}"


def tidy_rows(result: Result, names: tuple[str, ...] = (), layers: list[int] | None = None) -> Iterator[TidyRow]:
    """Every layer and measure, all measures unless named; without `layers` also with intervals over classes, and then
    the pairs of backbones.
    """
    left_out, classes = _left_out(result), len(result.attrs["labels"])
    for row in measure_rows(result):
        place = result.attrs["layers"].index({"backbone": row["backbone"], "tap": row["tap"]})
        if (names and row["measure"] not in names) or (layers is not None and place not in layers):
            continue
        text, failed = measure_text(row["measure"]), left_out + row["n_undefined"]
        yield tidy_row(result, row["backbone"], text, row["tap"], _ends(row), row["n"], failed)
        for over in over_classes({**row, "resolved": None}) if layers is None else []:
            yield tidy_row(result, row["backbone"], text + CLASSES, row["tap"], _ends(over), classes, failed)
    if layers is None:
        yield from pair_rows(result, names, classes=True)


def pair_rows(result: Result, names: tuple[str, ...] = (), *, classes: bool = False) -> Iterator[TidyRow]:
    """Paired differences between the last layers of two backbones; with `classes`, also by intervals over classes."""
    for row in difference_rows(result):
        if names and row["measure"] not in names:
            continue
        pair, factor = f"{row['backbone_a']} vs {row['backbone_b']}", f"{row['tap_a']} less {row['tap_b']}"
        text, failed = f"difference of {measure_text(row['measure'])}", row["n_undefined"] + _left_out(result)
        yield tidy_row(result, pair, text + verdict_of(row).mark, factor, _ends(row), row["n"], failed)
        for over in over_classes(row) if classes else []:
            count = len(result.attrs["labels"])
            yield tidy_row(result, pair, text + CLASSES + verdict_of(over).mark, factor, _ends(over), count, failed)


def _ends(row: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    return row["value"], row["low"], row["high"]


def headline_rows(result: Result) -> Iterator[TidyRow]:
    """Differences of four measures, then the measures of the first and the last layer of each backbone."""
    yield from pair_rows(result, HEADLINE)
    yield from tidy_rows(result, HEADLINE, end_layers(result))


def _left_out(result: Result) -> int:
    attrs = result.attrs
    return int(attrs.get("samples_in_units", attrs["samples_of"]) - attrs["samples_of"])


def _command(result: Result) -> list[str]:
    keys = ("backend", "perplexity", "iterations", "preprocess", "components", "repeats", "sample", "measured")
    drawn = asdict(interval_options(result))
    options = TsneOptions(**{**drawn, **{key: result.attrs[key] for key in keys}})
    return command_words("analyze tsne", TSNE, selection_of(result), options)


def _run(selection: Selection, options: TsneOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    """A map is one computation: it is made in this process."""
    device = analysis_device(on.device, "none")
    if on.address != "none":
        listen(Note(f"--address {on.address} is not used: t-SNE runs in this process"))
    return [tsne(selection, options, listen, device)]


ENTRY = Entry(
    name="tsne",
    title="t-SNE maps of the features",
    about=(
        "Each point is an image, placed so that images with near features are near; classes have the same colour for "
        "every backbone. Only neighbourhoods can be read: distances, areas and gaps on the map carry no claim, and "
        "t-SNE can make clusters look more apart than they are. Trustworthiness is 1 if no neighbour on the map is a "
        "stranger in the features; purity is the share of the 10 nearest images of the same class, in the features and "
        "on the map. Intervals are a jackknife over groups of images, given the map, or over whole classes where said; "
        "differences between two backbones are of the same images, judged together (Holm), and not resolved where the "
        "interval contains 0. Sources: van der Maaten and Hinton 2008, Kobak and Berens 2019, Venna and Kaski 2001."
    ),
    rows=tidy_rows,
    command=_command,
    run=_run,
    figure=tsne_figure,
    headline=headline_rows,
)
