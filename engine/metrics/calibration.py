"""Do probabilities mean what they say? Expected calibration error, reliability, NLL, Brier, and one temperature.

ECE (Naeini et al. 2015; Guo et al. 2017): samples fall into M bins of equal width by confidence, bin i taking
lower < confidence <= upper; ECE = sum_i (n_i / N) |mean confidence_i - accuracy_i|. Empty bins add nothing.

That plain value is too large, by what chance adds in each bin: of a calibrated model it is never 0 (Bröcker 2012; Kumar
et al. 2019). So beside it stands an estimate without that bias, with an interval, and a test of calibration; their
truth is the same sum over the population, sum_i P(bin i) |E[confidence | bin i] - P(correct | bin i)|.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.metrics.scores import I64, Scores
from cvbench.engine.statistics.estimate import Estimate, normal, tails
from cvbench.engine.statistics.intervals import mean_share, mean_signed, skewed_mean, wilson
from cvbench.engine.statistics.options import IntervalOptions

F64 = NDArray[np.float64]
Blocks = Callable[[], Iterable[tuple[NDArray[Any], I64]]]
"""Gives the (logits, targets) of all samples from the start, block by block; called once per step of the fit."""

BINS = 15
DRAWS = 1000
"""Data sets drawn for the interval of a calibration error at most."""
FEW = 20
_HALVINGS = 6
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
class CalibrationError:
    """The expected calibration error; fractions, not percent.

    Attributes:
        plain: The definition above, biased upwards; without an interval, which would hold another number.
        debiased: The median-unbiased estimate with its interval, 0 or more; see `calibration_error`.
        p: Of a calibrated model, how often its plain ECE would be as large: consistency resampling (Bröcker & Smith
            2007). NaN for no sample.
    """

    plain: Estimate
    debiased: Estimate
    p: float


@dataclass(frozen=True)
class Calibration:
    """Fit of the confidences to the accuracy.

    Attributes:
        accuracy: With Wilson's interval.
        ece: The expected calibration error.
        overconfidence: Mean confidence less accuracy: positive is overconfident. See `mean_signed`.
        nll: Mean, see `Scores` and `skewed_mean`; NaN where a true class has no column.
        brier: Mean, see `Scores` and `mean_share`; NaN likewise.
    """

    accuracy: Estimate
    ece: CalibrationError
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
        factor = math.exp(normal(confidence) * self.log_error)
        return Estimate(self.value, self.value / factor, self.value * factor, self.n)


def calibration(scores: Scores, options: IntervalOptions, bins: int = BINS) -> Calibration:
    """Calibration of the top-1 confidence of n >= 1 samples."""
    correct, confidence, n = scores.correct, scores.confidence, len(scores)
    known = bool(np.isfinite(scores.nll).all())
    half = mean_share(scores.brier / 2, options.confidence)  # a sample's score is in 0..2
    return Calibration(
        accuracy=wilson(int(correct.sum()), n, options.confidence),
        ece=calibration_error(confidence, correct, options, bins),
        overconfidence=mean_signed(confidence - correct, options.confidence),
        nll=skewed_mean(scores.nll, options.confidence) if known else Estimate(n=n),
        brier=Estimate(2 * half.value, 2 * half.low, 2 * half.high, n) if known else Estimate(n=n),
        bins=_bins(_bin_of(confidence, bins), correct, confidence, bins, options.confidence),
    )


def calibration_error(
    confidence: F64, correct: NDArray[np.bool_], options: IntervalOptions, bins: int = BINS
) -> CalibrationError:
    """ECE of n samples, of whatever counts as correct; NaN for n = 0.

    The debiased estimate and its interval invert one test (a test-inversion bootstrap, Carpenter 1999). For a supposed
    error e, data sets are drawn whose gaps in the bins are those that were seen, scaled to sum to e: as many samples in
    each bin, correct ones binomial, and a normal deviate for the chance in the bins' counts. The interval holds every e
    for which the plain ECE that was seen is not among the 2.5 % of smallest or largest drawn; the estimate is the e for
    which it is their median. For the lower end the gaps are drawn together into the bins that have most of them: chance
    then adds more in the others, and the end is on the safe side. Where the true gap is in one small bin, a part of the
    bias is left in the estimate. No interval for fewer than `FEW` samples. Memory: `DRAWS` * bins * 24 bytes.

    Args:
        confidence: (n,) float64 in [0, 1].
        correct: (n,) bool.
    """
    n = len(confidence)
    if n == 0:
        return CalibrationError(Estimate(), Estimate(), math.nan)
    at = _bin_of(confidence, bins)
    counts = np.bincount(at, minlength=bins)
    used = counts > 0
    world = _World(
        counts[used] / n,
        np.bincount(at, weights=confidence, minlength=bins)[used] / counts[used],
        np.bincount(at, weights=correct, minlength=bins)[used] / counts[used],
        n,
        options,
    )
    lower, upper = tails(options.confidence)
    value = world.inverted(world.spread, 0.5)
    if n < FEW:
        return CalibrationError(world.plain, Estimate(value, n=n), world.p)
    low = min(value, world.inverted(world.narrow, upper))
    # Where even a calibrated model hardly ever has so small a plain ECE, that is the upper end: it is biased upwards.
    high = max(value, world.inverted(world.spread, lower)) or world.seen
    return CalibrationError(world.plain, Estimate(value, low, high, n), world.p)


class _World:
    """Data sets like the one seen, but for a calibration error of choice."""

    def __init__(self, share: F64, confidence: F64, accuracy: F64, n: int, options: IntervalOptions) -> None:
        """Take the bins that have a sample: share of the samples, mean confidence, accuracy."""
        self.share, self.confidence, self.n, self.options = share, confidence, n, options
        gap = confidence - accuracy
        part = share * np.abs(gap)
        rng = np.random.default_rng(options.seed)
        self.counts = np.rint(share * n).astype(np.int64)
        self.noise = rng.standard_normal(min(options.resamples, DRAWS)) / math.sqrt(n)
        self.seen = float(part.sum())
        """The plain ECE."""
        self.spread = gap / self.seen if self.seen > 0 else np.ones(len(gap))
        """Gaps that sum to an error of 1, in the proportions seen."""
        cubes = (part / part.max()) ** 3 if self.seen > 0 else share
        self.narrow = np.sign(self.spread) * cubes / share / cubes.sum()
        """The same, drawn together into the bins that contribute most."""

    def drawn(self, gaps: F64) -> tuple[float, F64]:
        """The true error with these gaps, and the plain ECE of every data set drawn; the same seed each time."""
        right = np.clip(self.confidence - gaps, 0, 1)
        size = (len(self.noise), len(right))
        hits = np.random.default_rng(self.options.seed).binomial(self.counts, right, size=size)
        plain = np.abs(self.counts * self.confidence - hits).sum(axis=1) / self.n
        wide = np.abs(self.confidence - right)
        error = float(self.share @ wide)
        # Other counts of the bins would give their gaps other weights: the variance of a gap over samples.
        spread = math.sqrt(max(float(self.share @ wide**2) - error**2, 0.0))
        return error, plain + spread * self.noise

    def below(self, gaps: F64) -> tuple[float, float]:
        """The true error, and the share of data sets whose plain ECE is below the one seen, ties by half."""
        error, plain = self.drawn(gaps)
        tied = np.abs(plain - self.seen) <= 1e-12
        return error, float(((plain < self.seen) & ~tied).mean() + tied.mean() / 2)

    def inverted(self, direction: F64, level: float) -> float:
        """The error for which a share of `level` of the data sets is below: the larger the error, the smaller."""
        low, high = (0.0, self.below(0 * direction)[1]), (0.0, 0.0)
        if low[1] <= level:
            return 0.0
        at, scale = 0.0, max(2 * self.seen, 1 / self.n)
        while (high := self.below(scale * direction))[1] > level:
            if scale >= 2:  # every gap is as wide as it can be
                return high[0]
            low, at, scale = high, scale, 2 * scale
        for _ in range(_HALVINGS):
            middle = (at + scale) / 2
            found = self.below(middle * direction)
            if found[1] > level:
                low, at = found, middle
            else:
                high, scale = found, middle
        return low[0] + (high[0] - low[0]) * (low[1] - level) / (low[1] - high[1])

    @property
    def plain(self) -> Estimate:
        """The plain ECE as it is said: without an interval."""
        return Estimate(self.seen, n=self.n)

    @property
    def p(self) -> float:
        """The p-value of perfect calibration: how often the plain ECE would be as large as the one seen."""
        plain = self.drawn(0 * self.spread)[1]
        # The data set seen counts as one more draw, so that p is never 0 (Davison & Hinkley 1997, section 4.2).
        return float((1 + (plain >= self.seen - 1e-12).sum()) / (1 + len(plain)))


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
