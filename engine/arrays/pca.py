"""Principal components of rows that are read a block at a time, by the covariance of the features: exact.

    C = sum_i (x_i - m)(x_i - m)' / n          m: mean; standardised: C_jk / (s_j s_k), s: standard deviations
    C v = l v,  scores (x - m) / s . v         the first k by eigenvalue l, ties and all

The sums of the blocks are plain sums: blocks can be added up anywhere. They are of x - shift, the shift being any row:
near enough to the mean that little cancels, and a constant feature is exactly 0. The sign of v is fixed: its entry of
largest absolute value is positive. Memory: O(d^2 + block d). For d up to a few thousand, whatever n is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean (d,) and covariance (d, d) of n rows, divisor n, both float64. A constant feature has variance 0."""

    n: int
    mean: F64
    covariance: F64

    @property
    def deviation(self) -> F64:
        """(d,) standard deviation, divisor n."""
        return np.asarray(np.sqrt(np.diag(self.covariance).clip(min=0)))


@dataclass(frozen=True, eq=False)
class Axes:
    """Principal axes.

    Attributes:
        mean: (d,) float64.
        weights: (d, k) float64: an axis per column, over the standard deviations if standardised.
        share: (k,) float64 share of the variance along each, descending; they sum to 1 over all axes.
    """

    mean: F64
    weights: F64
    share: F64

    def scores(self, rows: NDArray[np.floating]) -> F64:
        """(b, d) rows of any float type -> (b, k) float64."""
        return np.asarray((rows.astype(np.float64) - self.mean) @ self.weights)


def matrix_moments(x: NDArray[np.floating], block: int = 4096) -> Moments:
    """Compute the moments of a matrix (n, d) in memory, read `block` rows at a time."""
    shift = x[0].astype(np.float64)
    sums = np.zeros((x.shape[1] + 1, x.shape[1]))
    for at in range(0, len(x), block):
        sums += block_sums(x[at : at + block], shift)
    return moments(len(x), shift, sums)


def block_sums(rows: NDArray[np.floating], shift: F64) -> F64:
    """(d + 1, d) float64: the sum of the rows less `shift`, then the sum of their outer products."""
    values = rows.astype(np.float64) - shift
    return np.concatenate([values.sum(axis=0)[None], values.T @ values])


def moments(n: int, shift: F64, sums: F64) -> Moments:
    """From the sum of `block_sums` over all n rows."""
    offset = sums[0] / n
    return Moments(n, shift + offset, sums[1:] / n - np.outer(offset, offset))


def principal_axes(found: Moments, k: int, *, standardise: bool) -> Axes:
    """The first min(k, d) axes, those without variance left out (at least one is kept).

    Args:
        found: Of the rows.
        k: Axes wanted.
        standardise: Of the features over their standard deviation; a constant feature counts as 0.
    """
    scale = np.ones(len(found.mean))
    if standardise:
        deviation = found.deviation
        scale = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0.0)
    values, vectors = np.linalg.eigh(found.covariance * np.outer(scale, scale))
    order = np.argsort(-values, kind="stable")
    total = max(float(values.clip(min=0).sum()), np.finfo(np.float64).tiny)
    kept = order[: max(1, min(k, int((values > 1e-12 * total).sum())))]
    chosen = vectors[:, kept]
    largest = np.abs(chosen).argmax(axis=0)
    chosen = chosen * np.where(chosen[largest, np.arange(len(kept))] < 0, -1.0, 1.0)
    return Axes(found.mean, scale[:, None] * chosen, values[kept].clip(min=0) / total)
