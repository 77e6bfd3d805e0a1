"""Cheap companions of the silhouette, Euclidean and of all samples: layers are ranked without distances of pairs.

Intervals are a bootstrap of the distances of samples to their centroid within each class, given the centroids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.silhouette_means import interval_ends, resampled_means
from cvbench.engine.kernels.centroids import (
    CentroidDistances,
    calinski_harabasz,
    davies_bouldin,
    simplified_silhouette,
)

F64 = NDArray[np.float64]

COMPANIONS = {
    "simplified": "simplified silhouette",
    "davies_bouldin": "Davies-Bouldin index (less is better)",
    "calinski_harabasz": "Calinski-Harabasz index",
}
"""Name -> what it is called. Formulas: `cvbench.engine.kernels.centroids`."""


@dataclass(frozen=True, eq=False)
class Companion:
    """Of one layer, in the order of `COMPANIONS`: value (3,) and drawn (resamples, 3), both float64."""

    value: F64
    drawn: F64


def companion_of(found: CentroidDistances, resamples: int, seed: int) -> Companion:
    """The three numbers and their resamples.

    Memory: resamples * K * 24 bytes.
    """
    columns = np.stack([simplified_silhouette(found), found.own, found.own**2], axis=1)
    count = len(found.counts)
    table = np.empty((1 + resamples, count, 3))  # the samples as they are, then the resamples
    for at, (mean, means) in enumerate(resampled_means(columns, found.classes, count, resamples, seed)):
        table[0, at], table[1:, at] = mean, means
    weights = found.counts / found.counts.sum()
    numbers = np.stack(
        [
            (table[..., 0] * weights).sum(axis=1),
            davies_bouldin(table[..., 1], found.apart),
            calinski_harabasz(table[..., 2], found.counts, found.between),
        ],
        axis=1,
    )
    return Companion(numbers[0], numbers[1:])


def companion_data(companions: Sequence[Companion], pairs: Sequence[tuple[int, int]], confidence: float) -> Any:
    """Arrays of a result: each of `COMPANIONS`, _low and _high (layer,), and difference_ of each (pair,)."""
    ends = interval_ends(confidence)
    values = np.stack([each.value for each in companions])
    data: dict[str, tuple[tuple[str, ...], F64]] = {}

    def put(dim: str, prefix: str, value: F64, low: F64, high: F64) -> None:
        for j, name in enumerate(COMPANIONS):
            for end, table in (("", value), ("_low", low), ("_high", high)):
                data[f"{prefix}{name}{end}"] = ((dim,), table[:, j])

    bounds = np.stack([np.quantile(each.drawn, ends, axis=0) for each in companions], axis=1)
    put("layer", "", values, bounds[0], bounds[1])
    if pairs:
        gaps = [np.quantile(companions[a].drawn - companions[b].drawn, ends, axis=0) for a, b in pairs]
        bounds = np.stack(gaps, axis=1)
        put("pair", "difference_", np.stack([values[a] - values[b] for a, b in pairs]), bounds[0], bounds[1])
    return data
