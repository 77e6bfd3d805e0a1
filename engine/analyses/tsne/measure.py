"""t-SNE map of the features of one or more layers (Fig. 8 of the study), and how far it can be believed.

Default: z-score of each feature (a constant one becomes 0), 50 principal components, t-SNE with perplexity 30 (van der
Maaten & Hinton 2008; choices after Kobak & Berens 2019). Distances, areas and gaps on a map carry no claim by
themselves, and t-SNE can make clusters look more apart than they are. Hence the measures: do neighbours stay
neighbours, do classes keep together in the features and on the map, and how much does another start change that.

A whole-matrix analysis: a layer is held as one array. The measures are of a sample of rows among all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
SCORES_BYTES = 256 * 2**20
"""Principal components of so many bytes are held at once, so that the maps of several layers are made side by side."""


@dataclass(frozen=True)
class MapTask:
    """One map: of which of the layers at hand, and how."""

    layer: int
    settings: MapSettings


MakeMaps = Callable[[Sequence[F64], str, Sequence[MapTask], Callable[[], None]], Mapping[MapTask, Embedding]]
"""(scores of each layer, backend, tasks, told of every map) -> the map of each task."""


def one_after_another(
    scores: Sequence[F64], backend: str, tasks: Sequence[MapTask], advanced: Callable[[], None]
) -> dict[MapTask, Embedding]:
    """Make the maps in this thread."""
    found = {}
    for task in tasks:
        found[task] = embed(scores[task.layer], backend, task.settings)
        advanced()
    return found


def tsne(
    layers: Sequence[Layer],
    read: Callable[[Layer], Array],
    samples: Samples,
    options: TsneOptions,
    advanced: Callable[[], None] = lambda: None,
    device: str = "cpu",
    make_maps: MakeMaps = one_after_another,
) -> Result:
    """Map and measures of every layer.

    Memory: one layer as `read` gives it, once more in float32, d^2 float64, what the backend says, and the principal
    components of as many layers as `SCORES_BYTES` holds, one at least.

    Args:
        layers: In the result's order.
        read: Layer -> (n, d); called twice per layer: before it is mapped, and to be compared with its maps.
        samples: What the rows are; labels may be -1, or of one class: then the class measures are NaN.
        options: How.
        advanced: Told of every map that is made, and of every layer that is measured.
        device: "cpu" (NumPy) or "cuda" (CuPy): where the measures are taken. cuML always maps on the GPU.
        make_maps: What makes them all; in any order, anywhere.

    Returns:
        As `tsne_result` describes it.

    Raises:
        UsageError: Too few samples for the perplexity, too many for the backend, a layer that is no matrix.
        ResourceError: The backend is not there.
        IntegrityError: A layer with values that are not finite.
    """
    rows, backend = plan(samples, options, device)
    mapped = _MappedRows(read, samples, rows)
    labels = samples.labels[rows]
    queries = _queries(labels, options)
    runs = _runs_of(options)
    at_once = max(1, SCORES_BYTES // (8 * len(rows) * options.components))
    found = []
    for start in range(0, len(layers), at_once):
        some = layers[start : start + at_once]
        prepared = [prepare(mapped.features(layer), options) for layer in some]
        tasks = [MapTask(i, settings) for i in range(len(some)) for settings in runs]
        maps = make_maps([one.scores for one in prepared], backend, tasks, advanced)
        for i, (layer, one) in enumerate(zip(some, prepared, strict=True)):
            mine = [maps[MapTask(i, settings)] for settings in runs]
            found.append(_measured(one.compared(mapped.features(layer)), mine, labels, queries, options.seed, device))
            advanced()
    more = {
        "backend": backend,
        "backend_version": backend_version(backend),
        "samples": len(rows),
        "samples_of": len(samples.labels),
        "measured_samples": len(queries),
        "device": device,
        "intervals": INTERVALS,
    }
    return tsne_result(layers, found, mapped.samples, labels[queries], {**options.as_dict(), **more}, options)


@dataclass(frozen=True, eq=False)
class _MappedRows:
    """The rows that are mapped, among all that a layer has.

    Attributes:
        read: Layer -> (n, d) features of all rows.
        among: What all rows are.
        rows: (m,) int64 numbers of the mapped ones.
    """

    read: Callable[[Layer], Array]
    among: Samples
    rows: NDArray[np.int64]

    @property
    def samples(self) -> Samples:
        """The samples that the mapped rows are of."""
        whole = self.among
        return Samples(whole.where, whole.positions[self.rows], whole.labels[self.rows], whole.classes)

    def features(self, layer: Layer) -> NDArray[Any]:
        """(m, d) on the host, read anew and checked."""
        features = self.read(layer)
        check_features(features, self.among, layer)
        host = to_host(features)
        return host[self.rows] if len(self.rows) < len(host) else host


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


@dataclass(frozen=True, eq=False)
class Prepared:
    """Scores that t-SNE gets of a layer, and moments by which its features are compared.

    Attributes:
        scores: (n, <= components) float64 principal components.
        mean, deviation: (d,) float64 of the features.
    """

    scores: F64
    mean: F64
    deviation: F64
    preprocess: str

    def compared(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """The features as they are compared, (n, d) float32."""
        values = _lengths(x, self.preprocess)
        values -= self.mean.astype(np.float32)
        if self.preprocess == "standardise":
            deviation = self.deviation
            values *= np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0.0).astype(np.float32)
        return values


def prepare(x: NDArray[Any], options: TsneOptions) -> Prepared:
    """Reduce the features of a layer, (n, d), to what t-SNE gets."""
    values = _lengths(x, options.preprocess)
    moments = matrix_moments(values)
    axes = principal_axes(moments, options.components, standardise=options.preprocess == "standardise")
    scores = np.concatenate([axes.scores(values[at : at + 4096]) for at in range(0, len(values), 4096)])
    return Prepared(scores, moments.mean, moments.deviation, options.preprocess)


def _lengths(x: NDArray[Any], preprocess: str) -> NDArray[np.float32]:
    """The features in float32, of unit length if that is asked for; a copy."""
    values = x.astype(np.float32)
    if preprocess == "l2":
        length = np.sqrt((values.astype(np.float64) ** 2).sum(axis=1))[:, None]
        values = (values / np.where(length > 0, length, 1)).astype(np.float32)
    return values


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
