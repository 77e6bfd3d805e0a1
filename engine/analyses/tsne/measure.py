"""t-SNE map of the features of one or more layers (Fig. 8 of the study), and how far it can be believed.

Default: z-score of each feature (a constant one becomes 0), 50 principal components, t-SNE with perplexity 30 (van der
Maaten & Hinton 2008; choices after Kobak & Berens 2019). Distances, areas and gaps on a map carry no claim by
themselves, and t-SNE can make clusters look more apart than they are. Hence the measures: do neighbours stay
neighbours, do classes keep together in the features and on the map, and how much does another start change that.

A whole-matrix analysis: a layer is held as one array. The measures are of a sample of rows among all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.samples import Samples, check_features, stratified_rows
from cvbench.engine.analyses.silhouette.kernel import silhouette_samples
from cvbench.engine.analyses.tsne.averages import left_out_means
from cvbench.engine.analyses.tsne.backends import (
    Embedding,
    MapSettings,
    backend_version,
    check_perplexity,
    choose_backend,
    embed,
)
from cvbench.engine.analyses.tsne.options import TsneOptions
from cvbench.engine.analyses.tsne.result import Mapped, tsne_result
from cvbench.engine.arrays.array import Array, to_device, to_host
from cvbench.engine.arrays.neighbours import distance_order, kept_neighbours
from cvbench.engine.arrays.pca import matrix_moments, principal_axes
from cvbench.engine.statistics.running import INTERVALS

F64 = NDArray[np.float64]

KS = (5, 10, 30)
CLASS_MEASURES = ("purity_features", "purity_map", "accuracy_features", "accuracy_map")
GLOBAL_SAMPLE = 1000


def tsne(
    layers: Sequence[Layer],
    read: Callable[[Layer], Array],
    samples: Samples,
    options: TsneOptions,
    mapped: Callable[[Layer], None] = lambda layer: None,
    device: str = "cpu",
) -> Result:
    """Map and measures of every layer.

    Memory: one layer as `read` gives it, once more in float32, d^2 float64, and what the backend says.

    Args:
        layers: In the result's order.
        read: Layer -> (n, d); called once per layer.
        samples: What the rows are; labels may be -1, or of one class: then the class measures are NaN.
        options: How.
        mapped: Told of every layer that is done.
        device: "cpu" (NumPy) or "cuda" (CuPy): where the measures are taken. cuML always maps on the GPU.

    Returns:
        As `tsne_result` describes it.

    Raises:
        UsageError: Too few samples for the perplexity, too many for the backend, a layer that is no matrix.
        ResourceError: The backend is not there.
        IntegrityError: A layer with values that are not finite.
    """
    rows, backend = plan(samples, options, device)
    labels = samples.labels[rows]
    queries = _queries(labels, options)
    found = []
    for layer in layers:
        features = read(layer)
        check_features(features, samples, layer)
        host = to_host(features)
        x, scores = prepare(host[rows] if len(rows) < len(host) else host, options)
        del features, host
        runs = [embed(scores, backend, settings) for settings in _runs_of(options)]
        found.append(_measured(x, runs, labels, queries, options.seed, device))
        mapped(layer)
    what = Samples(samples.where, samples.positions[rows], labels, samples.classes)
    more = {
        "backend": backend,
        "backend_version": backend_version(backend),
        "samples": len(rows),
        "samples_of": len(samples.labels),
        "measured_samples": len(queries),
        "device": device,
        "intervals": INTERVALS,
    }
    return tsne_result(layers, found, what, labels[queries], {**options.as_dict(), **more}, options)


def _measured(
    x: NDArray[np.float32],
    runs: Sequence[Embedding],
    labels: NDArray[np.int64],
    queries: NDArray[np.int64],
    seed: int,
    device: str,
) -> Mapped:
    """The maps of one layer with their measures, and those of the first without each tenth of the samples."""
    classed = bool((labels >= 0).all()) and 1 < len(np.unique(labels)) < len(labels)
    there, maps = to_device(x, device), [to_device(run.map, device) for run in runs]

    def take(keep: NDArray[np.int64], asked: NDArray[np.int64]) -> dict[str, F64]:
        at = to_device(keep, device)
        return measures(there[at], maps[0][at], asked, labels[keep] if classed else None)

    values = [measures(there, y, queries, labels if classed else None) for y in maps]
    return Mapped(runs, values, left_out_means(take, labels, queries, seed))


def plan(samples: Samples, options: TsneOptions, device: str = "cpu") -> tuple[NDArray[np.int64], str]:
    """The rows to map and the backend; refuses, before any feature is read, what cannot be mapped.

    Raises:
        UsageError: A sample that is too small, too few rows for the perplexity or too many for the backend.
        ResourceError: The backend is not there.
    """
    rows = stratified_rows(samples.labels, options.sample, options.seed)
    backend = choose_backend(options.backend, len(rows), device)
    check_perplexity(options.perplexity, len(rows))
    return rows, backend


def prepare(x: NDArray[Any], options: TsneOptions) -> tuple[NDArray[np.float32], F64]:
    """The features as they are compared, (n, d) float32, and what t-SNE gets, (n, <= components) float64."""
    values = x.astype(np.float32)
    if options.preprocess == "l2":
        length = np.sqrt((values.astype(np.float64) ** 2).sum(axis=1))[:, None]
        values = (values / np.where(length > 0, length, 1)).astype(np.float32)
    moments = matrix_moments(values)
    axes = principal_axes(moments, options.components, standardise=options.preprocess == "standardise")
    scores = np.concatenate([axes.scores(values[at : at + 4096]) for at in range(0, len(values), 4096)])
    values -= moments.mean.astype(np.float32)
    if options.preprocess == "standardise":
        deviation = moments.deviation
        values *= np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0.0).astype(np.float32)
    return values, scores


def measures(x: Array, y: Array, queries: NDArray[np.int64], labels: NDArray[np.int64] | None) -> dict[str, F64]:
    """Name -> (m,) float64 value of each measured row, NaN where undefined; distance_order of `GLOBAL_SAMPLE` at most.

    Args:
        x: (n, d) float32 features as they are compared, NumPy or CuPy.
        y: (n, 2) float64 map, where x is.
        queries: (m,) rows.
        labels: (n,) or None, if there are none or only one class.
    """
    kept = kept_neighbours(x, y, queries, KS, labels)
    names = ("trustworthiness", "continuity", "recall", *CLASS_MEASURES)
    out: dict[str, F64] = {f"{name}_{k}": getattr(kept, name)[:, at] for name in names for at, k in enumerate(KS)}
    out["silhouette_map"] = np.full(len(queries), np.nan)
    if labels is not None:
        out["silhouette_map"] = silhouette_samples(y - y.mean(axis=0), labels, rows=queries)
    out["distance_order"] = distance_order(x, y, queries[:GLOBAL_SAMPLE])  # any prefix of a store is a fair sample
    return out


def _queries(labels: NDArray[np.int64], options: TsneOptions) -> NDArray[np.int64]:
    least = int(np.minimum(np.unique(labels, return_counts=True)[1], 2).sum())
    return stratified_rows(labels, max(options.measured, least), options.seed)


def _runs_of(options: TsneOptions) -> list[MapSettings]:
    first = MapSettings(options.perplexity, options.iterations, options.seed)
    others = range(options.seed + 1, options.seed + options.repeats)
    return [first, *(MapSettings(options.perplexity, options.iterations, seed, "random") for seed in others)]
