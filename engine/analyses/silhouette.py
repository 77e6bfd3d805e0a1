"""Silhouette of the classes in the features of one or more layers (Table 1 of the study), exact at any size.

A whole-matrix analysis: every row meets every other, so a layer is read as one array. To spend less, score a sample of
the rows against *all* rows. Scoring a sample within itself would be biased: each b is a minimum of K noisy means, the
noisier the fewer members a class has. The kernels and formulas are in `cvbench.engine.kernels.silhouette`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.silhouette_result import Scored, silhouette_result
from cvbench.engine.array import Array, namespace
from cvbench.engine.kernels.grouped import blocks
from cvbench.engine.kernels.silhouette import METRICS, silhouette_samples
from cvbench.errors import IntegrityError, UnknownNameError, UsageError


@dataclass(frozen=True)
class SilhouetteOptions:
    """How to score.

    Attributes:
        metrics: Of "euclidean", "cosine", "sqeuclidean".
        standardise: z-score of each feature first; a constant feature becomes 0.
        sample: Rows to score, each class in proportion; None is all.
        resamples, confidence: Of the bootstrap.
        seed: Of the sample and of the bootstrap.
    """

    metrics: tuple[str, ...] = ("euclidean",)
    standardise: bool = True
    sample: int | None = None
    resamples: int = 2000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        for metric in self.metrics:
            if metric not in METRICS:
                raise UnknownNameError.among("metric", metric, METRICS, fix=f"--metric {', '.join(METRICS)}")

    def as_dict(self) -> dict[str, Any]:
        """Every field, as plain JSON."""
        return {**asdict(self), "metrics": list(self.metrics)}


@dataclass(frozen=True, eq=False)
class Samples:
    """The rows of every layer.

    Attributes:
        where: Their data set, for messages.
        positions: (n,) int64 place of each row in the store.
        labels: (n,) int64, -1 for none.
        classes: Class names by label; may be empty.
    """

    where: str
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    classes: tuple[str, ...] = ()


def silhouette(
    layers: Sequence[Layer],
    read: Callable[[Layer], Array],
    samples: Samples,
    options: SilhouetteOptions,
    scored: Callable[[Layer], None] = lambda layer: None,
) -> Result:
    """Silhouette of every layer by every metric.

    Memory: one layer as `read` gives it, and what `silhouette_samples` says.

    Args:
        layers: In the result's order.
        read: Layer -> (n, d); called once per layer, and the array is let go before the next call.
        samples: What the rows are.
        options: How to score.
        scored: Told of every layer that is done.

    Returns:
        As `silhouette_result` describes it.

    Raises:
        UsageError: No label, one class only, no class of two, a sample too small, or a layer that is no matrix.
        IntegrityError: A layer with values that are not finite.
    """
    check_labels(samples, layers)
    rows = stratified_rows(samples.labels, options.sample, options.seed)
    found = np.empty((len(layers), len(options.metrics), len(rows)))
    for index, layer in enumerate(layers):
        x = read(layer)
        _check_features(x, samples, layer)
        for at, metric in enumerate(options.metrics):
            found[index, at] = silhouette_samples(
                x, samples.labels, metric=metric, standardise=options.standardise, rows=rows
            )
        del x
        scored(layer)
    what = Scored(
        found, samples.positions[rows], samples.labels[rows], samples.labels, dict(enumerate(samples.classes))
    )
    return silhouette_result(layers, what, options.as_dict())


def check_labels(samples: Samples, layers: Sequence[Layer]) -> None:
    """Refuse labels for which the silhouette is not defined: it needs 2 <= K <= n - 1 classes.

    Raises:
        UsageError: Names the data set and the layers.
    """
    where = f"{samples.where}: {', '.join(map(str, layers))}"
    missing = int((samples.labels < 0).sum())
    if missing:
        raise UsageError(
            f"{missing} of {len(samples.labels)} samples of {samples.where} have no label (-1)",
            where=where,
            why="the silhouette compares classes, so it needs the label of every sample",
        )
    classes = len(np.unique(samples.labels))
    if classes < 2:
        raise UsageError(
            f"the samples of {samples.where} are of one class only",
            where=where,
            why="the silhouette compares a class with the nearest other one",
            fix="a data set with two classes or more, or a larger --limit when extracting",
        )
    if classes == len(samples.labels):
        raise UsageError(
            f"every sample of {samples.where} is alone in its class",
            where=where,
            fix="extract more samples (a larger --limit)",
        )


def stratified_rows(labels: NDArray[np.int64], sample: int | None, seed: int) -> NDArray[np.int64]:
    """Rows to score, ascending: all, or about `sample` of them, from each class in proportion and at least two.

    Raises:
        UsageError: `sample` is less than two per class (one where a class has one member).
    """
    if sample is None or sample >= len(labels):
        return np.arange(len(labels))
    names, counts = np.unique(labels, return_counts=True)
    least = np.minimum(counts, 2)
    if sample < least.sum():
        raise UsageError(
            f"a sample of {sample} is too small for {len(names)} classes",
            where="--sample",
            why="two of each class are needed for the interval",
            fix=f"--sample {least.sum()} or more",
        )
    wanted = np.clip(np.rint(sample * counts / len(labels)).astype(np.int64), least, counts)
    rng = np.random.default_rng(seed)
    drawn = [
        rng.choice(np.flatnonzero(labels == name), size, replace=False)
        for name, size in zip(names, wanted, strict=True)
    ]
    return np.sort(np.concatenate(drawn))


def _check_features(x: Array, samples: Samples, layer: Layer) -> None:
    if x.ndim != 2 or len(x) != len(samples.labels):
        raise UsageError(
            f"{layer} of {samples.where} has shape {x.shape}, not one row of features per sample",
            where=f"{samples.where}: {layer}",
            fix="--view head or --view pooled",
        )
    xp = namespace(x)
    bad = sum(int((~xp.isfinite(x[rows]).all(axis=1)).sum()) for rows in blocks(len(x), 4096))
    if bad:
        raise IntegrityError(
            f"{layer} of {samples.where} holds values that are not finite, in {bad} of {len(x)} samples",
            where=f"{samples.where}: {layer}",
            fix="extract this layer again with --precision fp32 or bf16",
        )
