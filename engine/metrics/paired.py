"""Two backbones on the same samples: which is better, and does the data say so?

McNemar's test (McNemar 1947) looks at the discordant samples only: b that A alone gets right, c that B alone does. If
neither is better, b is Binomial(b + c, 1/2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.metrics.intervals import Estimate, Options, counted_interval, row_interval
from cvbench.engine.metrics.scores import I64


@dataclass(frozen=True)
class Comparison:
    """A against B.

    Attributes:
        only_a, only_b: Samples that one alone gets right.
        difference: Accuracy of A less that of B, with its paired bootstrap interval over samples.
        exact: Two-sided exact p value.
        mid_p: Two-sided mid-p value (Lancaster 1961; Fagerland et al. 2013): less conservative.
    """

    only_a: int
    only_b: int
    difference: Estimate
    exact: float
    mid_p: float


def compare(a: NDArray[np.bool_], b: NDArray[np.bool_], options: Options) -> Comparison:
    """Compare which of the same n samples A and B get right, (n,) bool each, n >= 1."""
    signed = a.astype(np.int8) - b.astype(np.int8)
    only_a, only_b = int((signed > 0).sum()), int((signed < 0).sum())
    n = len(signed)
    found = counted_interval(signed[:, None], lambda sums: sums / n, options)
    value = (only_a - only_b) / n
    estimate = Estimate(value, float(found.low[0]), float(found.high[0]), n)
    return Comparison(only_a, only_b, estimate, *mcnemar(only_a, only_b))


def compare_units(a: NDArray[np.bool_], b: NDArray[np.bool_], units: NDArray[np.str_], options: Options) -> Estimate:
    """Accuracy of A less that of B where samples come in clusters of alike ones; bootstrap over the clusters.

    McNemar's test does not hold for such samples.

    Args:
        a, b: (n,) bool, right or not.
        units: (n,) name of each sample's cluster.
    """
    names, own = np.unique(units, return_inverse=True)
    signed = np.bincount(own, weights=a.astype(np.float64) - b, minlength=len(names))
    table = np.stack([signed, np.bincount(own, minlength=len(names))], axis=1).astype(np.float64)
    found = row_interval(table, lambda sums: sums[:, :1] / sums[:, 1:], options)
    return Estimate(float(signed.sum() / len(a)), float(found.low[0]), float(found.high[0]), len(a))


def compare_classes(a: NDArray[np.bool_], b: NDArray[np.bool_], labels: I64, options: Options) -> Estimate:
    """Mean per-class accuracy of A less that of B on the same n samples; paired bootstrap over samples.

    Classes without a sample are left out; a resample without a sample of some class averages over the others.

    Args:
        a, b: (n,) bool, right or not.
        labels: (n,) int64 >= 0.
    """
    names, own = np.unique(labels, return_inverse=True)
    kinds = 4 * len(names)  # class, A right or wrong, B right or wrong
    counts = np.bincount(4 * own + 2 * a + b, minlength=kinds)

    def statistic(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        table = drawn.reshape(len(drawn), len(names), 4)
        n = table.sum(axis=2)
        there = n > 0
        gain = np.divide(table[:, :, 2] - table[:, :, 1], n, out=np.zeros_like(n), where=there)
        mean: NDArray[np.float64] = gain.sum(axis=1) / there.sum(axis=1)
        return mean

    rng, size = np.random.default_rng(options.seed), 2**22 // kinds + 1
    drawn = [
        statistic(
            rng.multinomial(len(labels), counts / len(labels), size=min(size, options.resamples - start)).astype(
                np.float64
            )
        )
        for start in range(0, options.resamples, size)
    ]
    ends = [(1 - options.confidence) / 2, (1 + options.confidence) / 2]
    low, high = np.quantile(np.concatenate(drawn), ends).tolist()
    return Estimate(float(statistic(counts[None].astype(np.float64))[0]), low, high, len(labels))


def compare_ratios(
    first: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    second: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    options: Options,
) -> Estimate:
    """Difference of two ratios hits / (hits + misses) on the same n samples; paired bootstrap over samples.

    Args:
        first, second: (hit, miss), (n,) bool each; a sample may be neither.
    """
    rows = np.stack([*first, *second], axis=1)

    def statistic(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            ratios = sums[:, ::2] / (sums[:, ::2] + sums[:, 1::2])
        return ratios[:, :1] - ratios[:, 1:]

    value = float(statistic(rows.sum(axis=0, dtype=np.float64)[None])[0, 0])
    found = counted_interval(rows, statistic, options)
    return Estimate(value, float(found.low[0]), float(found.high[0]), len(rows))


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


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979) of the p values of several comparisons made together."""
    m, running = len(values), 0.0
    adjusted = [0.0] * m
    for place, index in enumerate(sorted(range(m), key=lambda i: values[i])):
        running = max(running, min(1.0, (m - place) * values[index]))
        adjusted[index] = running
    return adjusted


def verdict(estimate: Estimate, names: tuple[str, str], p: float | None = None, level: float = 0.05) -> str:
    """What may be said of a difference of A less B: a winner only if the interval leaves out 0.

    Args:
        estimate: The paired difference.
        names: A and B.
        p: The adjusted exact McNemar p, which then must be below `level` too; None where there is no such test.
    """
    a, b = names
    value, low, high = estimate.value, estimate.low, estimate.high
    resolved = low * high > 0 and (p is None or p < level)
    if resolved and value < 0:
        a, b, value, low, high = b, a, -value, -high, -low
    shown = f"{100 * value:+.2f} points [{100 * low:+.2f}, {100 * high:+.2f}]"
    shown += ("" if p is None else f", exact McNemar p = {p:.3g}") + f", {estimate.n:,} samples"
    return f"{a} beats {b}: {shown}" if resolved else f"{a} and {b}: the difference is not resolved ({shown})"
