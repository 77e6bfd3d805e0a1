"""Calibration against a loop over bins in float64, and the temperature against SciPy's minimiser."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from cvbench.engine.metrics.calibration import HOTTEST, Temperature, calibration, calibration_error, fit_temperature
from cvbench.engine.metrics.scores import Scores, score_block
from cvbench.engine.statistics.options import IntervalOptions

FAST = IntervalOptions(resamples=200)


def scores_of(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> Scores:
    """Scores with these confidences; what calibration does not read of them is made up."""
    n = len(confidence)
    rank = np.where(correct, 0, 1).astype(np.int64)
    nothing = np.full(n, 0.5)
    return Scores(np.zeros(n, np.int64), rank, confidence, nothing, nothing, nothing)


def reference_ece(confidence: list[float], correct: list[bool], bins: int) -> float:
    """The definition: bin i holds lower < confidence <= upper."""
    edges = np.linspace(0, 1, bins + 1).tolist()
    total = 0.0
    for lower, upper in itertools.pairwise(edges):
        inside = [i for i, c in enumerate(confidence) if lower < c <= upper]
        if inside:
            gap = math.fsum(confidence[i] for i in inside) / len(inside) - sum(correct[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(gap)
    return total


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0.001, 1.0), st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
def test_ece_is_the_loop_over_bins(pairs: list[tuple[float, bool]], bins: int) -> None:
    confidence, correct = np.array([c for c, _ in pairs]), np.array([hit for _, hit in pairs])
    found = calibration(scores_of(confidence, correct), IntervalOptions(resamples=20), bins)
    assert found.ece.plain.value == pytest.approx(reference_ece(confidence.tolist(), correct.tolist(), bins), abs=1e-12)
    assert found.overconfidence.value == pytest.approx(confidence.mean() - correct.mean(), abs=1e-12)
    assert sum(one.n for one in found.bins) == len(pairs)
    assert abs(found.overconfidence.value) <= found.ece.plain.value + 1e-12
    assert math.isnan(found.ece.plain.low), "another number's interval is not its own"


def test_an_edge_belongs_to_the_bin_that_it_closes() -> None:
    edges = np.linspace(0, 1, 16)[1:]
    found = calibration(scores_of(edges, np.ones(15, bool)), FAST)
    assert [one.n for one in found.bins] == [1] * 15


def test_a_bin_by_hand() -> None:
    confidence = np.array([0.95, 0.97, 0.99, 0.35])
    found = calibration(scores_of(confidence, np.array([True, True, False, False])), FAST)
    last, fifth = found.bins[14], found.bins[5]
    assert (last.n, fifth.n) == (3, 1)
    assert [last.accuracy.value, last.confidence] == pytest.approx([2 / 3, 0.97])
    assert [fifth.lower, fifth.upper] == pytest.approx([5 / 15, 6 / 15])
    assert found.ece.plain.value == pytest.approx(0.75 * (0.97 - 2 / 3) + 0.25 * 0.35)
    assert math.isnan(found.bins[0].confidence)
    assert found.accuracy.value == 0.5


def test_a_calibrated_model_has_a_small_error_and_its_interval_says_so() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1, 20_000)
    found = calibration(scores_of(confidence, rng.random(20_000) < confidence), FAST)
    assert 0 < found.ece.plain.value < 0.015
    assert found.overconfidence.low <= 0 <= found.overconfidence.high
    debiased = found.ece.debiased
    assert debiased.low == 0, "0 is not ruled out"
    assert debiased.value < found.ece.plain.value
    assert debiased.high < 0.015
    assert found.ece.p > 0.05


def test_the_debiased_error_is_the_median_of_its_own_draws() -> None:
    """By simulation of its own: what the estimate and the ends say, with other draws and a loop over the bins."""
    rng = np.random.default_rng(5)
    confidence = rng.uniform(0.2, 1, 600)
    correct = rng.random(600) < confidence - 0.08
    found = calibration_error(confidence, correct, IntervalOptions(resamples=1000))
    at = np.ceil(confidence * 15).astype(int)
    kept = [at == i for i in np.unique(at)]
    n = np.array([k.sum() for k in kept])
    sure, right = (np.array([v[k].mean() for k in kept]) for v in (confidence, correct.astype(float)))
    gap, seen = sure - right, found.plain.value

    def below(error: float) -> float:
        gaps = error * gap / seen
        hits = rng.binomial(n, sure - gaps, (20_000, len(n)))
        noise = math.sqrt(max((n / 600 * gaps**2).sum() - error**2, 0) / 600) * rng.standard_normal(20_000)
        return float((np.abs(n * sure - hits).sum(axis=1) / 600 + noise < seen).mean())

    # 1,000 draws know a share of 0.5 within 0.016 and one of 0.025 within 0.005 (one sigma).
    assert below(found.debiased.value) == pytest.approx(0.5, abs=0.07)
    assert below(found.debiased.high) == pytest.approx(0.025, abs=0.02)
    assert below(0.0) > 1 - found.p - 0.02
    assert found.debiased.low <= found.debiased.value < seen
    assert found.p < 0.05


def test_few_samples_have_no_interval_of_their_calibration_error() -> None:
    few = calibration_error(np.full(19, 0.9), np.arange(19) > 2, FAST)
    assert math.isfinite(few.debiased.value)
    assert math.isnan(few.debiased.low)
    enough = calibration_error(np.full(20, 0.9), np.arange(20) > 2, FAST)
    assert enough.debiased.low <= enough.debiased.value <= enough.debiased.high
    nothing = calibration_error(np.array([]), np.array([], bool), FAST)
    assert math.isnan(nothing.plain.value)
    sure = calibration_error(np.ones(100), np.ones(100, bool), FAST)
    assert (sure.plain.value, sure.debiased.value, sure.debiased.low) == (0, 0, 0)
    assert 0.01 < sure.debiased.high < 0.1, "a hundred right answers do not show that it is never wrong"
    wrong = calibration_error(np.ones(100), np.zeros(100, bool), FAST)
    assert 0.9 < wrong.debiased.low <= wrong.debiased.value <= 1


def test_a_class_without_a_column_has_no_likelihood() -> None:
    scores = score_block(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([0, -1]))
    found = calibration(scores, FAST)
    assert math.isnan(found.nll.value)
    assert math.isnan(found.brier.value)
    assert found.accuracy.value == 0.5


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_temperature_is_the_minimum_of_the_nll(scale: float) -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(600, 7))
    labels = np.array([rng.choice(7, p=np.exp(row)) for row in log_softmax(logits, axis=1)])
    z = (scale * logits).astype(np.float32)

    def nll(t: float) -> float:
        return float(-log_softmax(z.astype(np.float64) / t, axis=1)[np.arange(600), labels].mean())

    peer = minimize_scalar(nll, bounds=(0.02, 50), method="bounded", options={"xatol": 1e-9})
    found = fit_temperature(lambda: ((z[i : i + 128], labels[i : i + 128]) for i in range(0, 600, 128)))
    assert found.value == pytest.approx(peer.x, rel=1e-4)  # float32 weights: the slope's zero moves by about 1e-6
    assert found.value == pytest.approx(scale, rel=0.2)
    assert not found.bounded
    assert found.steps < 12


def fitted(z: NDArray[Any], labels: NDArray[np.int64]) -> Temperature:
    return fit_temperature(lambda: ((z[i : i + 128], labels[i : i + 128]) for i in range(0, len(z), 128)))


def drawn(seed: int, n: int, scale: float = 2.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits whose right temperature is `scale`."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, 5))
    gumbel = rng.gumbel(size=logits.shape)
    return scale * logits, (logits + gumbel).argmax(axis=1)


def test_the_error_of_a_temperature_is_the_sandwich() -> None:
    """From numerical derivatives of each sample's NLL, in float64."""
    z, labels = drawn(0, 900)
    found = fitted(z, labels)
    b, h = 1 / found.value, 1e-4
    below, here, above = (-log_softmax(z * at, axis=1)[np.arange(900), labels] for at in (b - h, b, b + h))
    slopes, curvature = (above - below) / (2 * h), ((above - 2 * here + below) / h**2).mean()
    # The central differences err by h^2 of the third derivative, and by rounding over h^2.
    assert found.log_error == pytest.approx(slopes.std() / 900**0.5 / curvature / b, rel=1e-4)
    estimate = found.estimate()
    assert estimate.n == 900
    assert estimate.low == pytest.approx(found.value * math.exp(-1.959964 * found.log_error), rel=1e-6)
    assert estimate.high == pytest.approx(found.value * math.exp(1.959964 * found.log_error), rel=1e-6)


def test_the_error_of_a_temperature_is_that_of_a_bootstrap() -> None:
    """Also where no temperature is right: a tenth of the labels is random."""
    z, labels = drawn(1, 1500)
    labels[::10] = np.random.default_rng(2).integers(0, 5, 150)
    found = fitted(z, labels)
    rng = np.random.default_rng(3)
    again = [math.log(fitted(z[rows], labels[rows]).value) for rows in rng.integers(0, 1500, (200, 1500))]
    # 200 resamples give a standard deviation within 5 % (one sigma).
    assert found.log_error == pytest.approx(np.std(again), rel=0.15)


def test_the_interval_of_a_temperature_covers_the_true_one() -> None:
    estimates = [fitted(*drawn(seed, 300)).estimate() for seed in range(10, 310)]
    covered = np.mean([estimate.low <= 2 <= estimate.high for estimate in estimates])
    # 95 % of 300 sets, give or take 1.3 % (one sigma).
    assert 0.91 <= covered <= 0.985


def test_a_temperature_without_a_minimum_says_so() -> None:
    z = np.eye(3, dtype=np.float32)[[0, 1, 2]]
    right = fit_temperature(lambda: [(z, np.array([0, 1, 2]))])
    assert right.bounded, "all are right: the colder the better"
    assert right.value < 0.1
    assert math.isnan(right.log_error)
    assert math.isnan(right.estimate().low)
    wrong = fit_temperature(lambda: [(z, np.array([1, 2, 0]))])
    assert wrong.bounded
    assert wrong.value == pytest.approx(HOTTEST, rel=1e-3)
