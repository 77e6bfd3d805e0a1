"""Two backbones on the same samples: which is better, and does the data say so?

McNemar's test (McNemar 1947) looks at the discordant samples only: b that A alone gets right, c that B alone does. If
neither is better, b is Binomial(b + c, 1/2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.statistics.clusters import cluster_difference
from cvbench.engine.statistics.estimate import Estimate, normal
from cvbench.engine.statistics.intervals import moved_interval, paired_score_ends, stratified

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Comparison:
    """A against B.

    Attributes:
        only_a, only_b: Samples that one alone gets right.
        difference: Accuracy of A less that of B, with Tango's paired score interval and the exact p.
        exact: Two-sided exact p value.
        mid_p: Two-sided mid-p value (Lancaster 1961; Fagerland et al. 2013): less conservative.
    """

    only_a: int
    only_b: int
    difference: Estimate
    exact: float
    mid_p: float


def compare(a: NDArray[np.bool_], b: NDArray[np.bool_], confidence: float = 0.95) -> Comparison:
    """Compare which of the same n samples A and B get right, (n,) bool each; NaN for n = 0."""
    only_a, only_b, n = int((a & ~b).sum()), int((b & ~a).sum()), len(a)
    exact, mid_p = mcnemar(only_a, only_b)
    if not n:
        return Comparison(0, 0, Estimate(), exact, mid_p)
    ends = paired_score_ends(only_a, only_b, n, normal(confidence))
    return Comparison(only_a, only_b, Estimate((only_a - only_b) / n, *ends, n, exact), exact, mid_p)


def compare_units(
    a: NDArray[np.bool_], b: NDArray[np.bool_], units: NDArray[np.str_], confidence: float = 0.95
) -> Estimate:
    """Accuracy of A less that of B where samples come in clusters of alike ones; see `cluster_difference`.

    McNemar's test does not hold for such samples.

    Args:
        a, b: (n,) bool, right or not.
        units: (n,) name of each sample's cluster.
    """
    signed = a.astype(np.float64) - b
    return cluster_difference(signed, np.ones((1, len(a)), bool), units, confidence)


def compare_classes(a: NDArray[np.bool_], b: NDArray[np.bool_], labels: I64, confidence: float = 0.95) -> Estimate:
    """Mean per-class accuracy of A less that of B on the same n >= 1 samples.

    Tango's interval at the effective size of a stratified mean, see `stratified`; classes without a sample are left
    out.

    Args:
        a, b: (n,) bool, right or not.
        labels: (n,) int64 >= 0.
    """
    own = np.unique(labels, return_inverse=True)[1]
    return stratified(a.astype(np.float64) - b, own).signed(confidence, len(labels))


def compare_ratios(
    first: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    second: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    confidence: float = 0.95,
) -> Estimate:
    """Difference of two ratios hits / (hits + misses) on the same n samples, by `moved_interval`.

    Args:
        first, second: (hit, miss), (n,) bool each; a sample may be neither.
    """
    n = len(first[0])
    decided = [int((hit | miss).sum()) for hit, miss in (first, second)]
    if not all(decided):
        return Estimate(n=n)
    rates = [float(hit.sum() / m) for (hit, _), m in zip((first, second), decided, strict=True)]
    moves = [
        (hit - rate * (hit | miss)) / m for (hit, miss), rate, m in zip((first, second), rates, decided, strict=True)
    ]
    reach = (1 / decided[0] + 1 / decided[1]) / 2
    return moved_interval(rates[0] - rates[1], moves[0] - moves[1], reach, 1 / reach, n, confidence)


def mcnemar(only_a: int, only_b: int) -> tuple[float, float]:
    """(exact, mid-p) two-sided p values of b and c discordant samples; 1 and 1 if there are none.

    Binomial sums in whole numbers: exact to the last digit of a float for any count.
    """
    n, k = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return 1.0, 1.0
    term = below = 1  # C(n, 0)
    for i in range(1, k + 1):
        term = term * (n - i + 1) // i
        below += term
    outcomes = 1 << n  # of n fair coins, all equally likely
    exact = min(1.0, 2 * below / outcomes)
    mid = (2 * below - term) / outcomes
    return exact, min(1.0, mid)
