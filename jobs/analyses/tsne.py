"""`cvbench analyze tsne`: maps of whole layers, each run a task, and their measures as rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.tsne.averages import NO_INTERVAL
from cvbench.engine.analyses.tsne.backends import LIMITS, available, backend_version
from cvbench.engine.analyses.tsne.measure import KS, plan
from cvbench.engine.analyses.tsne.measure import tsne as make
from cvbench.engine.analyses.tsne.options import TsneOptions
from cvbench.engine.analyses.tsne.result import point_rows
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.running import INTERVALS
from cvbench.engine.statistics.verdict import FAMILY, Verdict, verdict
from cvbench.jobs.analyses.measure import analysis_device
from cvbench.jobs.analyses.options import TSNE
from cvbench.jobs.analyses.tsne_tasks import IN_PROCESS, maps_on
from cvbench.jobs.figures.charts.tsne import tsne_chart
from cvbench.jobs.figures.tsne import tsne_figure
from cvbench.jobs.reading.matrix import Matrices
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import read
from cvbench.jobs.results.command import command_words, interval_options, selection_of
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.keep import Analysed, keep, result_key, stored_result
from cvbench.jobs.results.measured import class_verdict, end_rows, ends_at, verdict_text
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import CHANCE, DIFFERENCE, REFERENCE, Row, known
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.storage.results.outcomes import ResultKey, list_results

__all__ = ["ENTRY", "TsneOptions", "identity_of", "map_of", "tsne"]

JOB = "analyze tsne"


def tsne(
    selection: Selection,
    options: TsneOptions,
    listen: Listener = silent,
    device: str = "cpu",
    cluster: Cluster = IN_PROCESS,
) -> Analysed:
    """The map and its measures of every selected layer; kept in the store, and found there the next time.

    Memory: the largest layer as it is stored and once more in float32, said in a note before it is read.

    Args:
        selection: The layers.
        options: How to map and to measure.
        listen: Receives progress.
        device: "cpu" (NumPy) or "cuda" (CuPy): where the measures are taken; with "cpu", "auto" is never cuML.
        cluster: Where maps are made: the runs of the layers are tasks of their own.

    Raises:
        UsageError: A view that is no matrix; too few samples for the perplexity, too many for the backend.
        ResourceError: The backend is not there.
        IntegrityError: A layer with values that are not finite.
    """
    return map_of(Matrices.of(read(selection)), options, listen, device, cluster)


def map_of(
    matrices: Matrices,
    options: TsneOptions,
    listen: Listener = silent,
    device: str = "cpu",
    cluster: Cluster = IN_PROCESS,
) -> Analysed:
    """Make the maps of layers that are read already, as `tsne` does."""
    store, selected = matrices.store, matrices.selected
    rows, backend = plan(matrices.samples, options, device)
    identity = identity_of(matrices, options, backend, backend_version(backend), device)
    key = result_key(selected, "tsne", identity)
    if (there := _kept(matrices, options, key, device)) is not None:
        return Analysed(stored_result(store, there), selected, there.path, 0)
    steps = len(selected.layers) * (options.repeats + 1)
    listen(Started(JOB, matrices.where, len(rows) * steps, steps, 0))
    for note in matrices.notes:
        listen(Note(note))
    done = itertools.count()

    def advanced() -> None:
        listen(Advanced(JOB, next(done), len(rows)))

    result = make(
        selected.layers, matrices.read, matrices.samples, options, advanced, device, maps_on(cluster, backend)
    )
    listen(Ended(JOB))
    path = keep(matrices, result, identity)
    return Analysed(stored_result(store, key), selected, path, len(selected.units))


def _kept(matrices: Matrices, options: TsneOptions, key: ResultKey, device: str) -> ResultKey | None:
    """The result if it is there; for "auto" also that of another backend, which an earlier version chose for it."""
    there = {*list_results(matrices.store)}
    if key in there or options.backend != "auto":
        return key if key in there else None
    for name in LIMITS:
        if available(name):
            identity = identity_of(matrices, options, name, backend_version(name), device)
            if (other := result_key(matrices.selected, "tsne", identity)) in there:
                return other
    return None


def identity_of(matrices: Matrices, options: TsneOptions, backend: str, version: str, device: str) -> dict[str, Any]:
    """All that a result of `tsne` depends on, beside the units."""
    chosen = {**options.as_dict(), "intervals": INTERVALS, "family": FAMILY, "backend": backend, "version": version}
    return {"options": chosen, "device": device, **matrices.identity}


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
HEADLINE = (f"purity_features_{KS[1]}", f"trustworthiness_{KS[1]}", f"purity_map_{KS[1]}", "silhouette_map")


def measure_text(name: str) -> tuple[str, str]:
    """Name of a measure for a reader, and its setting.

    >>> measure_text("purity_map_10"), measure_text("silhouette_map")
    (('kNN purity, map', 'k = 10'), ('silhouette of the map', ''))
    """
    stem, _, k = name.rpartition("_")
    return (OTHERS[name], "") if name in OTHERS else (NAMES[stem], f"k = {k}")


def rows(result: Result) -> Iterator[Row]:
    """Every layer and measure, then the differences between the last layers of two backbones."""
    layers, data, lost = result.attrs["layers"], result.data, _left_out(result)
    for i, layer in enumerate(layers):
        for j, name in enumerate(result.coords["measure"]):
            metric, factor = measure_text(name)
            row = Row(backbone=layer["backbone"], layer=layer["tap"], metric=metric, factor=factor)
            counts = {"n": int(data["n"][1][i, j]), "n_failed": lost + int(data["n_undefined"][1][i, j])}
            yield replace(row, **ends_at(result, "measures", (i, j)), **counts)  # type: ignore[arg-type]
    if (level := result.attrs.get("chance_purity")) is not None:
        for of in ("features", "map"):
            yield Row(metric=f"kNN purity, {of}", factor=CHANCE, kind=REFERENCE, value=level)
    for i, pair in enumerate(result.attrs["pairs"]):
        first, second = (layers[at] for at in pair)
        for j, name in enumerate(result.coords["measure"]):
            metric, factor = measure_text(name)
            n = int(data["difference_n"][1][i, j])
            measured = sum(int(data[count][1][pair[0], j]) for count in ("n", "n_undefined"))
            row = Row(
                backbone=first["backbone"],
                layer=first["tap"],
                backbone_b=second["backbone"],
                layer_b=second["tap"],
                metric=metric,
                factor=factor,
                kind=DIFFERENCE,
                **ends_at(result, "difference", (i, j)),  # type: ignore[arg-type]
                n=n,
                n_failed=lost + measured - n,
            )
            yield replace(row, **_verdicts(result, (i, j), row, name))


def _verdicts(result: Result, at: tuple[int, int], row: Row, name: str) -> dict[str, Any]:
    """The verdicts on a difference that a result has kept; one of an earlier version by its interval alone."""
    p, flag, class_flag = (
        known(float(result.data[f"difference_{end}"][1][at])) if f"difference_{end}" in result.data else None
        for end in ("p", "resolved", "class_resolved")
    )
    found = {"p": p, "class_verdict": class_verdict(row, None if class_flag is None else bool(class_flag))}
    low, high = (math.nan if end is None else end for end in (row.low, row.high))
    kept = "difference_resolved" in result.data
    said = verdict_text(flag, row.low) if kept else verdict(Estimate(0.0, low, high, row.n)).value
    if said == Verdict.NO_INTERVAL.value and name.startswith(NO_INTERVAL):
        said = ""  # no number of samples would give one
    return {**found, "verdict": said}


def headline(result: Result, found: Sequence[Row]) -> Iterator[Row]:
    """Differences of four measures, then the measures of the first and the last layer of each backbone."""
    told = {measure_text(name) for name in HEADLINE}
    both = (row for row in found if row.kind == DIFFERENCE), end_rows(found)
    yield from (row for some in both for row in some if (row.metric, row.factor) in told)


def _said(result: Result) -> Iterator[str]:
    attrs = result.attrs
    kept = [attrs[name] for name in ("backend", "backend_version") if name in attrs]
    yield (
        f"{' '.join(kept)}, perplexity {attrs['perplexity']:g}, {attrs['iterations']} iterations, "
        f"{len(result.coords['run'])} runs"
    )
    if attrs.get("chance_purity") is not None:
        yield f"purity by chance: {attrs['chance_purity']:.4f}"


def _left_out(result: Result) -> int:
    attrs = result.attrs
    return int(attrs.get("samples_in_units", attrs["samples_of"]) - attrs["samples_of"])


def _command(result: Result) -> list[str]:
    keys = ("backend", "perplexity", "iterations", "preprocess", "components", "repeats", "sample", "measured")
    drawn = asdict(interval_options(result))
    options = TsneOptions(**{**drawn, **{key: result.attrs[key] for key in keys}})
    return command_words("analyze tsne", TSNE, selection_of(result), options)


def _run(selection: Selection, options: TsneOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    device = analysis_device(on.device, "none", listen)
    cluster = Cluster(address=on.settled().address, actors=on.gpus, threads=on.threads or 1, in_flight=1)
    return [tsne(selection, options, listen, device, cluster)]


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
    question=Question(
        NAMES["purity_map"],
        "On the map of {more} {more_value} of the nearest neighbours are of one class, on that of {less} {less_value}",
        percent=True,
    ),
    unit="samples",
    rows=rows,
    command=_command,
    run=_run,
    headline=headline,
    figure=tsne_figure,
    chart=tsne_chart,
    arrays=("map", "label", "measures_mean", "measures_sd", "kl", "iterations"),
    points=point_rows,
    said=_said,
)
