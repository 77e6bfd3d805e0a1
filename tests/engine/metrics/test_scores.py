"""Scores, accuracies and intervals against hand-made numbers and a plain float64 reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binomtest, norm, t

from cvbench.engine.metrics.accuracy import mean_per_class, multi_label, per_class, top_k, worst_classes
from cvbench.engine.metrics.scores import Scores, join_scores, score_block
from cvbench.engine.metrics.suspect import against_chance, chance_of
from cvbench.engine.statistics.bootstrap import percentile_interval
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.intervals import (
    counted_interval,
    difference,
    mean_of_proportions,
    mean_share,
    mean_signed,
    paired_score_ends,
    skewed_mean,
    wilson,
)
from cvbench.engine.statistics.options import IntervalOptions


def reference(logits: NDArray[np.float64], targets: NDArray[np.int64]) -> dict[str, list[float]]:
    """Every score by the formulas of the field, one sample and one class at a time, in float64."""
    found: dict[str, list[float]] = {
        name: [] for name in ("predicted", "rank", "confidence", "probability", "nll", "brier")
    }
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        top = max(row)
        weights = [math.exp(value - top) for value in row]
        p = [weight / math.fsum(weights) for weight in weights]
        order = sorted(range(len(row)), key=lambda k: (-row[k], k))
        found["predicted"].append(order[0])
        found["confidence"].append(max(p))
        found["rank"].append(order.index(target) if target >= 0 else len(row))
        found["probability"].append(p[target] if target >= 0 else 0.0)
        found["nll"].append(-math.log(p[target]) if target >= 0 else math.inf)
        found["brier"].append(math.fsum((q - (k == target)) ** 2 for k, q in enumerate(p)) + (target < 0))
    return found


def check(scores: Scores, expected: dict[str, list[float]]) -> None:
    # float32 softmax: relative errors of a few 1e-7 per probability, 1e-6 with margin
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(scores, name), values, rtol=2e-6, atol=1e-6, err_msg=name)


def test_scores_of_two_samples_by_hand() -> None:
    scores = score_block(np.log(np.array([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]])), np.array([1, 2]))
    assert scores.predicted.tolist() == [0, 0]
    assert scores.rank.tolist() == [1, 2]  # equal logits: the lower index comes first
    np.testing.assert_allclose(scores.confidence, [0.7, 0.5])
    np.testing.assert_allclose(scores.nll, [-math.log(0.2), -math.log(0.25)])
    np.testing.assert_allclose(scores.brier, [0.49 + 0.64 + 0.01, 0.25 + 0.0625 + 0.5625])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(2, 9), st.booleans())
def test_scores_agree_with_the_reference(seed: int, n: int, classes: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 5, (n, classes))
    logits = np.round(logits / 5) if ties else logits.astype(np.float32).astype(np.float64)
    targets = rng.integers(-1, classes, n)
    check(score_block(logits.astype(np.float32), targets), reference(logits, targets))
    check(score_block(logits, targets), reference(logits, targets))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
def test_a_mask_is_a_selection_of_columns(seed: int, kept: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(7, 30)).astype(np.float32)
    columns = np.sort(rng.permutation(30)[:kept])
    targets = rng.integers(0, kept, 7)
    masked = score_block(logits, targets, columns)
    check(masked, reference(logits[:, columns].astype(np.float64), targets))
    everything = score_block(logits, columns[targets])
    assert (masked.rank <= everything.rank).all(), "fewer classes never rank the true one lower"
    assert (masked.probability >= everything.probability - 1e-7).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_scores_do_not_depend_on_the_order_or_the_blocks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(size=(20, 6)).astype(np.float32), rng.integers(0, 6, 20)
    order = rng.permutation(20)
    whole = score_block(logits, targets)
    parts = join_scores([score_block(logits[order][at], targets[order][at]) for at in (slice(0, 7), slice(7, 20))])
    for name in ("predicted", "rank", "confidence", "nll", "brier"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole[order], name))
    shuffled = rng.permutation(6)  # names of the classes: no score but the name changes
    renamed = score_block(logits[:, shuffled], np.argsort(shuffled)[targets])
    np.testing.assert_array_equal(renamed.rank, whole.rank)
    np.testing.assert_allclose(renamed.nll, whole.nll, rtol=1e-6)


def test_large_logits_do_not_overflow() -> None:
    scores = score_block(np.array([[1e4, 0.0, -1e4]], np.float32), np.array([2]))
    assert scores.nll.tolist() == [2e4]
    assert scores.probability.tolist() == [0.0]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.data())
def test_wilson_is_scipys_and_stays_inside(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    found = wilson(hits, n)
    peer = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert found.low == pytest.approx(peer.low, abs=1e-12)
    assert found.high == pytest.approx(peer.high, abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1
    mirrored = wilson(n - hits, n)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high), abs=1e-12)
    more = wilson(10 * hits, 10 * n)
    assert more.high - more.low < found.high - found.low


def test_nothing_has_no_interval() -> None:
    assert all(math.isnan(v) for v in (wilson(0, 0).value, wilson(0, 0).low, skewed_mean(np.array([])).value))


def test_the_difference_is_newcombes_example() -> None:
    # Newcombe 1998, table II, (a): 56/70 - 48/80 by method 10: 0.0524 to 0.3339
    found = difference(wilson(56, 70), wilson(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_counted_rows_have_the_interval_of_all_rows() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 2, (400, 3))

    def rates(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return sums[:, :2] / sums[:, 2:]

    options = IntervalOptions(resamples=8000)
    counted = counted_interval(rows, rates, options)
    plain = percentile_interval(rows.astype(np.float64), rates, options)
    # the ends are quantiles of 8,000 draws with a spread of about 0.09: their own error is about 0.003
    np.testing.assert_allclose([counted.low, counted.high], [plain.low, plain.high], atol=0.015)


def test_means_leave_undefined_entries_out() -> None:
    found = skewed_mean(np.array([1.0, np.nan, 3.0, 2.0]))
    assert (found.value, found.n) == (2.0, 3)
    # Without skew it is Student's: t with 2 degrees times 1 / sqrt(3).
    half = t.ppf(0.975, 2) / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), rel=1e-12)
    few = skewed_mean(np.array([1.0, 2.0]))
    assert few.value == 1.5
    assert math.isnan(few.low), "no interval: n too small"


def test_a_skewed_mean_has_halls_interval() -> None:
    """By root finding on the transformation itself (Hall 1992, equation 2.4), not on its inverse."""
    values = np.random.default_rng(0).lognormal(size=40)
    skew = ((values - values.mean()) ** 3).mean() / values.std() ** 3
    error = values.std(ddof=1) / math.sqrt(40)

    def transformed(mean: float) -> float:
        s = (values.mean() - mean) / error / math.sqrt(40)
        return float(math.sqrt(40) * (s + skew * s**2 / 3 + skew**2 * s**3 / 27 + skew / (6 * 40)))

    found, level = skewed_mean(values), t.ppf(0.975, 39)
    low = brentq(lambda mean: transformed(mean) - level, values.mean() - 9 * error, values.mean())
    high = brentq(lambda mean: transformed(mean) + level, values.mean(), values.mean() + 20 * error)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    assert found.high - found.value > found.value - found.low


def wilson_at(p: float, n: float, z: float) -> tuple[float, float]:
    """The roots of (p - x)^2 = z^2 x (1 - x) / n."""
    roots = np.sort(np.roots([1 + z * z / n, -2 * p - z * z / n, p * p]).real)
    return float(roots[0]), float(roots[1])


def stratified_size(values: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The effective size by its definition, a class at a time; values of 0 and 1."""
    groups = [values[labels == k] for k in np.unique(labels)]
    mean = float(np.mean([g.mean() for g in groups]))
    plain = [g.var(ddof=1) / len(g) if len(g) > 1 else mean * (1 - mean) for g in groups]
    padded = [(g.sum() + 2 * mean) / (len(g) + 2) for g in groups]
    padded = [q * (1 - q) / len(g) for q, g in zip(padded, groups, strict=True)]
    if mean in (0, 1):
        return float(len(groups) ** 2 / sum(1 / len(g) for g in groups))
    return float(mean * (1 - mean) * len(groups) ** 2 / max(sum(plain), sum(padded)))


@pytest.mark.parametrize(("seed", "p"), [(0, 0.8), (1, 0.97), (2, 1.0), (3, 0.0)])
def test_the_mean_per_class_has_wilsons_interval_at_its_effective_size(seed: int, p: float) -> None:
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 4, 7], (30, 5, 1, 12))
    correct = rng.random(48) < p
    found = mean_per_class(correct, labels)
    size = stratified_size(correct.astype(np.float64), labels)
    assert found.value == pytest.approx(np.mean([correct[labels == k].mean() for k in (0, 1, 4, 7)]), abs=1e-12)
    low, high = wilson_at(found.value, size, norm.ppf(0.975))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-7)
    assert found.low < found.high


def test_all_right_is_not_certain() -> None:
    both = mean_of_proportions(np.array([5, 5]), np.array([5, 5]))
    assert (both.value, both.high) == (1, 1)
    assert both.low == pytest.approx(wilson(10, 10).low, abs=1e-12), "as for ten images"
    sure = mean_per_class(np.ones(370, bool), np.arange(370) % 37)
    assert sure.low == pytest.approx(wilson(370, 370).low, abs=1e-12)


def test_means_of_bounded_values() -> None:
    """Values of 0 and 1 have their own interval but for the two pseudo-images; constants are not certain."""
    ones = np.repeat([1.0, 0.0], [700, 300])
    found, plain = mean_share(ones), wilson(700, 1000)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=1e-4)
    even = mean_share(np.full(30, 0.5))
    assert even.value == 0.5
    assert even.low < 0.5 < even.high
    signed = mean_signed(np.repeat([1.0, 0.0, -1.0], [70, 900, 30]))
    low, high = paired_score_ends(70, 30, 1000, float(norm.ppf(0.975)))
    assert (signed.value, signed.low, signed.high) == pytest.approx((0.04, low, high), abs=2e-4)
    assert signed.p < 0.05
    assert math.isnan(mean_share(np.array([0.5, 0.6])).low), "no interval: n too small"


def test_the_mean_over_sets_weighs_sets_alike() -> None:
    found = mean_of_proportions(np.array([10, 500]), np.array([100, 1000]))
    assert found.value == pytest.approx(0.3)
    sd = 0.5 * math.sqrt(0.1 * 0.9 / 100 + 0.25 / 1000)
    assert (found.low, found.high) == pytest.approx((0.3 - 1.96 * sd, 0.3 + 1.96 * sd), abs=0.002)


def example() -> tuple[Scores, NDArray[np.int64]]:
    """Six samples of 7 classes; ranks 0, 0, 4, 5, 6, 0."""
    labels = np.array([0, 0, 1, 1, 2, 3])
    logits = np.zeros((6, 7))
    for row, (label, rank) in enumerate(zip(labels, (0, 0, 4, 5, 6, 0), strict=True)):
        others = [k for k in range(7) if k != label]
        for place, name in enumerate([*others[:rank], int(label), *others[rank:]]):
            logits[row, name] = -place
    return score_block(logits, labels), labels


def test_accuracies_by_hand() -> None:
    scores, labels = example()
    assert top_k(scores, 1, 7).value == 0.5
    assert top_k(scores, 5, 7).value == pytest.approx(4 / 6)
    assert math.isnan(top_k(scores, 5, 5).value), "top-5 of five classes is no number"
    # classes 0..3 are right in 2 of 2, 0 of 2, 0 of 1, 1 of 1
    found = mean_per_class(scores.correct, labels)
    assert found.value == 0.5
    assert 0 <= found.low <= 0.5 <= found.high <= 1
    each = per_class(scores.correct, labels, 5)
    assert [e.n for e in each] == [2, 2, 1, 1, 0]
    assert [e.value for e in each[:4]] == [1, 0, 0, 1]
    assert math.isnan(each[4].value)


def test_the_worst_classes() -> None:
    labels = np.repeat(np.arange(4), 10)
    correct = np.arange(40) % 10 < np.repeat([9, 2, 5, 2], 10)
    found = worst_classes(correct, labels, 2)
    assert (found.value, found.n) == (0.2, 20)
    assert math.isnan(found.low), "chosen on the same samples: no interval"
    assert math.isnan(worst_classes(correct, labels, 4).value)


def test_samples_that_accept_no_label_do_not_count() -> None:
    found = multi_label(np.array([3, 4, 5, 6]), [(3, 9), (), (1,), (6,)])
    assert found.value == pytest.approx(2 / 3)
    assert found.n == 3


def test_a_renaming_of_the_classes_is_told_from_random_weights() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 100, 4000)
    shuffled = rng.permutation(100)
    predicted = np.where(rng.random(4000) < 0.8, shuffled[labels], rng.integers(0, 100, 4000))
    found = against_chance(predicted, labels, 100)
    assert found.near
    assert found.other_order
    assert found.renamed == pytest.approx(0.8, abs=0.03)
    guessed = against_chance(rng.integers(0, 100, 4000), labels, 100)
    assert guessed.near
    assert not guessed.other_order
    same = against_chance(np.full(4000, 7), labels, 100)
    assert same.near
    assert not same.other_order
    assert same.constant == 1
    assert not against_chance(np.where(rng.random(4000) < 0.1, labels, 5), labels, 100).near


def test_decisions_at_chance() -> None:
    assert chance_of(13, 100, 1 / 8, np.zeros(100, np.int64)).near
    assert not chance_of(60, 100, 1 / 8, np.arange(100)).near


def test_an_estimate_is_plain() -> None:
    assert Estimate(1.0, 0.0, 2.0, 3) == Estimate(1.0, 0.0, 2.0, 3)
