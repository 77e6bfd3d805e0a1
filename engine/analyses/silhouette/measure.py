"""Silhouette of the classes in the features of one or more layers (Table 1 of the study), exact at any size.

A whole-matrix analysis: every row meets every other, so a layer is read as one array. To spend less, score a sample of
the rows against *all* rows. Scoring a sample within itself would be biased: each b is a minimum of K noisy means, the
noisier the fewer members a class has. The kernels and formulas are in `cvbench.engine.analyses.silhouette.kernel`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.samples import Samples, check_features, stratified_rows
from cvbench.engine.analyses.silhouette.companions import companion_table
from cvbench.engine.analyses.silhouette.kernel import silhouette_samples
from cvbench.engine.analyses.silhouette.options import SPACES, SilhouetteOptions
from cvbench.engine.analyses.silhouette.result import Scored, silhouette_result
from cvbench.engine.arrays.array import Array
from cvbench.engine.arrays.centroids import centroid_distances
from cvbench.engine.statistics.within_class import ClassMeans, Replicates
from cvbench.errors import UsageError


def silhouette(
    layers: Sequence[Layer],
    read: Callable[[Layer], Array],
    samples: Samples,
    options: SilhouetteOptions,
    scored: Callable[[Layer], None] = lambda layer: None,
) -> Result:
    """Silhouette of every layer by every metric, and its companions, which are of all samples.

    Intervals take the scale of standardised features as it is, and principal axes. On a t-SNE map there are none within
    classes: other samples would be laid out on another map, which decides more than which samples are left out.

    Memory: one layer as `read` gives it, what `silhouette_samples` and `centroid_distances` say, and of every layer the
    silhouettes of the scored rows.

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
    replicates = Replicates(samples.labels, rows, options.confidence, options.seed, fixed=options.space == "tsne")
    found, means, companions = np.empty((len(layers), len(options.metrics), len(rows))), [], []
    how: dict[str, Any] = {"standardise": options.space == "standardised", "parts": replicates.parts}
    for index, layer in enumerate(layers):
        x = read(layer)
        check_features(x, samples, layer)
        for at, metric in enumerate(options.metrics):
            s = np.atleast_2d(silhouette_samples(x, samples.labels, metric=metric, rows=rows, **how))
            found[index, at] = s[0]
            means.append(ClassMeans.of(s, replicates))
        companions.append(companion_table(centroid_distances(x, samples.labels, **how)))
        del x
        scored(layer)
    names = dict(enumerate(samples.classes))
    what = Scored(found, ClassMeans.joined(means), np.stack(companions, axis=1), samples.positions[rows], names)
    return silhouette_result(
        layers, what, replicates, {**options.as_dict(), "space_label": SPACES[options.space]}, options
    )


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
