"""Statistics of a whole matrix that need not fit in memory, on dask arrays: moments, standardisation, principal axes.

`FeatureLayer.dask` gives a layer a chunk per stored object. A chunk becomes its sums (`block_sums`), which are added up
in a fixed order: the result does not depend on who computes it. In memory are a few chunks and O(d^2) sums. Tasks run
on a Ray cluster through Ray's scheduler for dask, or on dask's own threads without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import NOT_FINITE
from cvbench.engine.arrays.pca import Axes, Moments, block_sums, moments, principal_axes
from cvbench.errors import IntegrityError, UsageError
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.session import RaySession

if TYPE_CHECKING:
    import dask.array

F64 = NDArray[np.float64]

MOST_FEATURES = 8192
"""A covariance of this many features is 0.5 GB."""


@contextmanager
def dask_scheduler(cluster: Cluster) -> Iterator[Any]:
    """The argument of `compute(scheduler=...)`: Ray's, connected to the cluster while the context lasts, or "threads".

    Args:
        cluster: With address "none", this process computes.

    Raises:
        ClusterError: Ray cannot be reached.
    """
    if cluster.address == "none":
        yield "threads"
        return
    with RaySession(cluster):
        from ray.util.dask import ray_dask_get

        yield ray_dask_get


def matrix_moments(x: dask.array.Array, scheduler: Any = "threads") -> Moments:
    """Mean and covariance of the rows of `x` (n, d), one pass over it.

    Args:
        x: Chunked along the rows alone; of any float type.
        scheduler: From `dask_scheduler`.

    Raises:
        UsageError: Too many features for a covariance.
        IntegrityError: Values that are not finite.
    """
    n, d = x.shape
    if d > MOST_FEATURES:
        raise UsageError(
            f"a covariance of {d} features does not fit",
            why=f"at most {MOST_FEATURES} are taken",
            fix="--view pooled or --view head",
        )
    shift = np.asarray(x[:1].compute(scheduler=scheduler))[0].astype(np.float64)
    lazy: Any = x  # dask's own types are of its wrappers
    blocks = lazy.map_blocks(_sums, shift, dtype=np.float64, new_axis=1, chunks=((1,) * x.numblocks[0], (d + 1,), (d,)))
    sums = np.asarray(blocks.sum(axis=0).compute(scheduler=scheduler))
    if not np.isfinite(sums).all():
        bad = int((~np.isfinite(np.diag(sums[1:]))).sum())
        raise IntegrityError(
            f"{bad} of {d} features hold values that are not finite",
            fix=NOT_FINITE,
        )
    return moments(n, shift, sums)


def standardised(x: dask.array.Array, found: Moments) -> dask.array.Array:
    """z-scores (n, d) float64, lazily: a constant feature becomes 0."""
    deviation = found.deviation
    factor = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0.0)
    lazy: Any = x
    scaled: dask.array.Array = (lazy.astype(np.float64) - found.mean) * factor
    return scaled


def principal_scores(x: dask.array.Array, k: int, *, standardise: bool, scheduler: Any = "threads") -> tuple[F64, Axes]:
    """Scores (n, <= k) float64 on the first principal axes, in memory, and the axes; two passes over `x`.

    Args:
        x: (n, d), chunked along the rows alone.
        k: Axes wanted.
        standardise: Of the z-scores.
        scheduler: From `dask_scheduler`.
    """
    axes = principal_axes(matrix_moments(x, scheduler), k, standardise=standardise)
    lazy: Any = x
    scores = lazy.map_blocks(axes.scores, dtype=np.float64, chunks=(x.chunks[0], (axes.weights.shape[1],)))
    return np.asarray(scores.compute(scheduler=scheduler)), axes


def _sums(rows: NDArray[np.floating[Any]], shift: F64) -> F64:
    return block_sums(rows, shift)[None]
