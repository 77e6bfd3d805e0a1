"""Cheap companions of the silhouette, Euclidean and of all samples: layers are ranked without distances of pairs.

Intervals are the jackknife of the silhouette itself: the same groups of samples are left out, the centroids and all
that depends on them made anew. Indices that are ratios of spreads have their ends made on the log scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.arrays.centroids import (
    CentroidDistances,
    calinski_harabasz,
    class_means,
    davies_bouldin,
    simplified_silhouette,
)
from cvbench.engine.statistics.jackknife import Scale
from cvbench.engine.statistics.within_class import Replicates

F64 = NDArray[np.float64]

COMPANIONS = {
    "simplified": "simplified silhouette",
    "davies_bouldin": "Davies-Bouldin index (less is better)",
    "calinski_harabasz": "Calinski-Harabasz index",
}
"""Name -> what it is called. Formulas: `cvbench.engine.arrays.centroids`."""

SCALES: dict[str, Scale] = {"simplified": "plain", "davies_bouldin": "log", "calinski_harabasz": "log"}


def companion_table(found: Sequence[CentroidDistances]) -> F64:
    """(1 + g, 3) float64 numbers in the order of `COMPANIONS`: of all samples, then without each group."""
    return np.array([_numbers(each) for each in found])


def _numbers(found: CentroidDistances) -> tuple[float, float, float]:
    weights = found.counts / found.counts.sum()
    simplified = float(weights @ class_means(simplified_silhouette(found), found))
    return simplified, davies_bouldin(found), calinski_harabasz(found)


def companion_data(tables: F64, pairs: Sequence[tuple[int, int]], replicates: Replicates) -> Any:
    """Arrays of a result: each of `COMPANIONS`, _low and _high (layer,), and difference_ of each, with _p (pair,).

    Args:
        tables: (1 + g, layer, 3), see `companion_table`.
        pairs: Numbers of layers.
        replicates: How intervals are made.
    """
    data: dict[str, tuple[tuple[str, ...], F64]] = {}
    firsts, seconds = ([pair[end] for pair in pairs] for end in (0, 1))
    for j, (name, scale) in enumerate(SCALES.items()):
        table = tables[:, :, j]
        data |= replicates.named(name, ("layer",), table, scale)
        if pairs:
            data |= replicates.named(name, ("pair",), table[:, firsts] - table[:, seconds], difference=True)
    return data
