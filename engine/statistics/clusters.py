"""Means over images that come in clusters of alike ones, such as renders of one object: the clusters are the units."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.intervals import FEW_UNITS, Effective, effective

F64 = NDArray[np.float64]


def cluster_share(
    values: F64, parts: NDArray[np.bool_], units: NDArray[np.str_] | NDArray[np.int64], confidence: float = 0.95
) -> Estimate:
    """The plain mean over parts of the mean of values in [0, 1], with Wilson's interval at its effective size.

    The variance is the delete-one-cluster jackknife's (the CR3 kind of Bell & McCaffrey 2002), with Student's t; see
    `effective` for its degrees of freedom. Without an interval where fewer than three clusters have an image.

    Args:
        values: (n,) float64.
        parts: (s, n) bool, which images each part has; parts without an image are left out.
        units: (n,) the cluster of each image.
    """
    found, value, n = _of_clusters(values, parts, units)
    if found is None:
        return Estimate(value, n=n)
    return found.share(confidence, n)


def cluster_difference(
    values: F64, parts: NDArray[np.bool_], units: NDArray[np.str_] | NDArray[np.int64], confidence: float = 0.95
) -> Estimate:
    """Mean of paired differences, values in [-1, 1], with Tango's interval; clusters as in `cluster_share`."""
    found, value, n = _of_clusters(values, parts, units)
    if found is None:
        return Estimate(value, n=n)
    return found.signed(confidence, n)


def _of_clusters(
    values: F64, parts: NDArray[np.bool_], units: NDArray[np.str_] | NDArray[np.int64]
) -> tuple[Effective | None, float, int]:
    """The effective size, None with too few clusters; the mean; how many images."""
    parts = parts[parts.any(axis=1)]
    if not len(parts):
        return None, math.nan, 0
    inside = parts.any(axis=0)
    own = np.unique(units[inside], return_inverse=True)[1]
    values, parts = values[inside], parts[:, inside]
    count = np.stack([np.bincount(own, weights=part) for part in parts], axis=1)  # (clusters, parts)
    sums = np.stack([np.bincount(own, weights=part * values) for part in parts], axis=1)
    n = count.sum(axis=0)
    rates = sums.sum(axis=0) / n
    value = float(rates.mean())
    if len(count) < FEW_UNITS:
        return None, value, int(n.sum())
    # Leaving a cluster out moves the rate of a part by -(sum - rate count) / (n - count).
    rest = np.where(n > count, n - count, n)
    left = -((sums - rates * count) / rest).mean(axis=1)
    moved = (left - left.mean()) * (len(count) - 1) / len(count)
    up, down = ((parts * np.maximum(sign * values, 0)).sum(axis=1) / n for sign in (1, -1))
    size = float(len(n) ** 2 / (1 / n).sum())
    return effective(float(up.mean()), float(down.mean()), moved, size), value, int(n.sum())
