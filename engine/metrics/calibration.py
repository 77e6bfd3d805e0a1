"""Do probabilities mean what they say? Expected calibration error, reliability, NLL, Brier, and one temperature.

ECE (Naeini et al. 2015; Guo et al. 2017): samples fall into M bins of equal width by confidence, bin i taking
lower < confidence <= upper; ECE = sum_i (n_i / N) |mean confidence_i - accuracy_i|. Empty bins add nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.metrics.intervals import Estimate, Options, row_interval, wilson
from cvbench.engine.metrics.scores import I64, Scores

F64 = NDArray[np.float64]
Blocks = Callable[[], Iterable[tuple[NDArray[Any], I64]]]
"""Gives the (logits, targets) of all samples from the start, block by block; called once per step of the fit."""

BINS = 15
COLDEST, HOTTEST = 0.02, 50.0


@dataclass(frozen=True)
class Bin:
    """One bar of a reliability diagram: `n` samples with lower < confidence <= upper; NaN where n is 0."""

    lower: float
    upper: float
    n: int
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True)
class Calibration:
    """How the confidences fit; intervals are bootstraps over samples, Wilson's for `accuracy`.

    Attributes:
        ece: Fraction, not percent. Resamples of a calibrated model have an ECE above 0: the interval is an upper view.
        overconfidence: Mean confidence less accuracy: positive is overconfident.
        nll, brier: Means, see `Scores`; NaN where a true class has no column.
    """

    accuracy: Estimate
    ece: Estimate
    overconfidence: Estimate
    nll: Estimate
    brier: Estimate
    bins: list[Bin]


@dataclass(frozen=True)
class Temperature:
    """The T for which softmax(logits / T) has the least NLL, over n samples.

    Attributes:
        bounded: It ran into an end of the range searched: there is no standard error.
        steps: Passes over the logits.
        log_error: Standard error of log T over samples; NaN if `bounded`.
    """

    value: float
    bounded: bool
    steps: int
    n: int
    log_error: float

    def estimate(self, confidence: float = 0.95) -> Estimate:
        """T with the interval exp(log T -+ z log_error), which is the same for 1 / T and stays positive."""
        factor = math.exp(NormalDist().inv_cdf((1 + confidence) / 2) * self.log_error)
        return Estimate(self.value, self.value / factor, self.value * factor, self.n)


def calibration(scores: Scores, options: Options, bins: int = BINS) -> Calibration:
    """Calibration of the top-1 confidence of n >= 1 samples. Memory: n x (bins + 3) float64, a block of resamples."""
    correct, confidence, n = scores.correct, scores.confidence, len(scores)
    at = _bin_of(confidence, bins)
    known = bool(np.isfinite(scores.nll).all())
    table = np.zeros((n, bins + 3))
    table[np.arange(n), at] = table[:, bins] = confidence - correct
    if known:
        table[:, bins + 1], table[:, bins + 2] = scores.nll, scores.brier

    def statistic(sums: F64) -> F64:
        return np.concatenate([np.abs(sums[:, :bins]).sum(axis=1, keepdims=True), sums[:, bins:]], axis=1) / n

    value = statistic(table.sum(axis=0)[None])[0].tolist()
    found = row_interval(table, statistic, options)
    ends = zip(value, found.low.tolist(), found.high.tolist(), strict=True)
    ece, over, nll, brier = (Estimate(*end, n) for end in ends)
    none = Estimate(float("nan"), float("nan"), float("nan"), n)
    return Calibration(
        accuracy=wilson(int(correct.sum()), n, options.confidence),
        ece=ece,
        overconfidence=over,
        nll=nll if known else none,
        brier=brier if known else none,
        bins=_bins(at, correct, confidence, bins, options.confidence),
    )


def calibration_error(confidence: F64, correct: NDArray[np.bool_], options: Options, bins: int = BINS) -> Estimate:
    """ECE of n samples, of whatever counts as correct; NaN for n = 0. Memory: n x bins float64, a block of resamples.

    Args:
        confidence: (n,) float64 in [0, 1].
        correct: (n,) bool.
    """
    n = len(confidence)
    if n == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    table = np.zeros((n, bins))
    table[np.arange(n), _bin_of(confidence, bins)] = confidence - correct

    def statistic(sums: F64) -> F64:
        ece: F64 = np.abs(sums).sum(axis=1, keepdims=True) / n
        return ece

    found = row_interval(table, statistic, options)
    return Estimate(float(statistic(table.sum(axis=0)[None])[0, 0]), float(found.low[0]), float(found.high[0]), n)


def _bin_of(confidence: F64, bins: int) -> NDArray[np.int64]:
    """(n,) int64: the first edge that is not below the confidence closes its bin."""
    at: NDArray[np.int64] = np.searchsorted(np.linspace(0, 1, bins + 1)[1:], confidence, side="left").astype(np.int64)
    at[at == bins] = bins - 1
    return at


def _bins(at: NDArray[np.int64], correct: NDArray[np.bool_], confidence: F64, bins: int, level: float) -> list[Bin]:
    edges = np.linspace(0, 1, bins + 1).tolist()
    counts = np.bincount(at, minlength=bins).tolist()
    hits = np.bincount(at, weights=correct, minlength=bins).tolist()
    sums = np.bincount(at, weights=confidence, minlength=bins).tolist()
    return [
        Bin(lower, upper, n, total / n if n else float("nan"), wilson(int(right), n, level))
        for lower, upper, n, right, total in zip(edges, edges[1:], counts, hits, sums, strict=False)
    ]


def fit_temperature(blocks: Blocks, tolerance: float = 1e-6) -> Temperature:
    """Fit one temperature by the least NLL (Guo et al. 2017). Memory: one block.

    The NLL is convex in b = 1/T, so its slope E[mean_p z - z_true] has one zero: Newton's method, with bisection where
    a step would leave the bracket.

    The standard error is the sandwich of an M-estimator (Huber 1967), right whether or not a temperature fits: with the
    slopes s_i and the mean curvature c at the optimum, var(b) = var(s_i) / (n c^2), and log T = -log b has its root
    over b (delta method). No resample is fitted.

    Args:
        blocks: (n, k) logits and (n,) targets >= 0 per block.
        tolerance: Relative, of T.
    """
    low, high = 1 / HOTTEST, 1 / COLDEST
    b, steps = 1.0, 0
    while True:
        slope, curvature, squares, n = _slope(blocks, b)
        at = b
        steps += 1
        if slope > 0:
            high = b
        else:
            low = b
        if curvature == 0:  # every probability is 0 or 1 in float: colder would change nothing
            return Temperature(1 / b, True, steps, n, math.nan)
        if slope == 0 or steps >= 100:
            break
        step = b - slope / curvature
        # Beside the ends the slope may never change its sign; bisection then walks to the end.
        new = step if low < step < high else (low * high) ** 0.5
        if abs(new - b) <= tolerance * b or high / low < 1 + tolerance:
            b = new
            break
        b = new
    bounded = min(abs(b * HOTTEST - 1), abs(b * COLDEST - 1)) < 1e-3
    # The sums are of the last step but one, which is within the tolerance.
    error = math.nan if bounded else math.sqrt(max(squares - slope**2, 0.0) / n) / (curvature * at)
    return Temperature(1 / b, bounded, steps, n, error)


def _slope(blocks: Blocks, b: float) -> tuple[float, float, float, int]:
    """First and second derivative of the mean NLL of softmax(b z), mean square of a sample's first, and n.

    A sample's sums are in the precision of its logits, float32 at least: they err by 1e-7 of themselves, each its own
    way.
    """
    slope = curvature = squares = 0.0
    n = 0
    for logits, targets in blocks():
        z = logits.astype(np.promote_types(logits.dtype, np.float32), copy=False)
        z = z - z.max(axis=1, keepdims=True)
        weights = np.exp(b * z)
        total = weights.sum(axis=1).astype(np.float64)
        weighted = weights * z
        mean = weighted.sum(axis=1) / total
        square = np.einsum("ij,ij->i", weighted, z) / total
        own = mean - z[np.arange(len(z)), targets]
        slope += float(own.sum())
        squares += float((own**2).sum())
        curvature += float((square - mean**2).sum())
        n += len(z)
    return slope / n, curvature / n, squares / n, n
