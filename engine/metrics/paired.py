"""Two backbones on the same samples: which is better, and does the data say so?

McNemar's test (McNemar 1947) looks at the discordant samples only: b that A alone gets right, c that B alone does. If
neither is better, b is Binomial(b + c, 1/2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.metrics.clusters import cluster_difference
from cvbench.engine.metrics.intervals import (
    Difference,
    Estimate,
    Options,
    moved_interval,
    no_difference,
    normal,
    paired_score_ends,
    stratified,
)
from cvbench.engine.metrics.scores import I64


@dataclass(frozen=True)
class Comparison:
    """A against B.

    Attributes:
        only_a, only_b: Samples that one alone gets right.
        difference: Accuracy of A less that of B, with Tango's paired score interval.
        exact: Two-sided exact p value.
        mid_p: Two-sided mid-p value (Lancaster 1961; Fagerland et al. 2013): less conservative.
    """

    only_a: int
    only_b: int
    difference: Estimate
    exact: float
    mid_p: float


def compare(a: NDArray[np.bool_], b: NDArray[np.bool_], options: Options) -> Comparison:
    """Compare which of the same n samples A and B get right, (n,) bool each; NaN for n = 0."""
    only_a, only_b, n = int((a & ~b).sum()), int((b & ~a).sum()), len(a)
    if not n:
        return Comparison(0, 0, no_difference(), *mcnemar(0, 0))
    ends = paired_score_ends(only_a, only_b, n, normal(options.confidence))
    return Comparison(only_a, only_b, Estimate((only_a - only_b) / n, *ends, n), *mcnemar(only_a, only_b))


def compare_units(a: NDArray[np.bool_], b: NDArray[np.bool_], units: NDArray[np.str_], options: Options) -> Difference:
    """Accuracy of A less that of B where samples come in clusters of alike ones; see `cluster_difference`.

    McNemar's test does not hold for such samples.

    Args:
        a, b: (n,) bool, right or not.
        units: (n,) name of each sample's cluster.
    """
    signed = a.astype(np.float64) - b
    return cluster_difference(signed, np.ones((1, len(a)), bool), units, options)


def compare_classes(a: NDArray[np.bool_], b: NDArray[np.bool_], labels: I64, options: Options) -> Difference:
    """Mean per-class accuracy of A less that of B on the same n >= 1 samples.

    Tango's interval at the effective size of a stratified mean, see `stratified`; classes without a sample are left
    out.

    Args:
        a, b: (n,) bool, right or not.
        labels: (n,) int64 >= 0.
    """
    own = np.unique(labels, return_inverse=True)[1]
    return stratified(a.astype(np.float64) - b, own).signed(options.confidence, len(labels))


def compare_ratios(
    first: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    second: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    options: Options,
) -> Difference:
    """Difference of two ratios hits / (hits + misses) on the same n samples, by `moved_interval`.

    Args:
        first, second: (hit, miss), (n,) bool each; a sample may be neither.
    """
    n = len(first[0])
    decided = [int((hit | miss).sum()) for hit, miss in (first, second)]
    if not all(decided):
        return no_difference(n)
    rates = [float(hit.sum() / m) for (hit, _), m in zip((first, second), decided, strict=True)]
    moves = [
        (hit - rate * (hit | miss)) / m for (hit, miss), rate, m in zip((first, second), rates, decided, strict=True)
    ]
    reach = (1 / decided[0] + 1 / decided[1]) / 2
    return moved_interval(rates[0] - rates[1], moves[0] - moves[1], reach, 1 / reach, n, options)


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
    whole = 1 << n
    exact = min(1.0, 2 * below / whole)
    mid = (2 * below - term) / whole
    return exact, min(1.0, mid)


def verdict(estimate: Estimate, names: tuple[str, str], p: float, test: str, level: float = 0.05) -> str:
    """What may be said of a difference of A less B: a winner only if the interval leaves out 0 and the test rejects.

    Args:
        estimate: The paired difference.
        names: A and B.
        p: Of `test`, adjusted for the number of differences that are judged together.
        test: What p is of, in words.
    """
    a, b = names
    value, low, high = estimate.value, estimate.low, estimate.high
    if not np.isfinite([low, high]).all():
        return f"{a} and {b}: no interval: n too small ({100 * value:+.2f} points, {estimate.n:,} samples)"
    resolved = is_resolved(estimate, p, level)
    if resolved and value < 0:
        a, b, value, low, high = b, a, -value, -high, -low
    shown = f"{100 * value:+.2f} points [{100 * low:+.2f}, {100 * high:+.2f}]"
    shown += f", {test} p = {p:.3g}, {estimate.n:,} samples"
    return f"{a} beats {b}: {shown}" if resolved else f"{a} and {b}: the difference is not resolved ({shown})"


def is_resolved(estimate: Estimate, p: float, level: float = 0.05) -> bool:
    """Whether a difference is told from 0: its interval leaves out 0, and its adjusted p value is below `level`."""
    return bool(estimate.low * estimate.high > 0 and p < level)
