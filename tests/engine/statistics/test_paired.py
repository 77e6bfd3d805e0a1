"""Two backbones on the same samples: p values against SciPy, and what may be said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom, binomtest, norm
from scipy.stats import t as student

from cvbench.engine.statistics.holm import holm
from cvbench.engine.statistics.intervals import paired_score_ends
from cvbench.engine.statistics.paired import compare, compare_classes, compare_ratios, compare_units, mcnemar


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 400), st.integers(0, 400))
def test_the_exact_p_is_scipys(b: int, c: int) -> None:
    exact, mid = mcnemar(b, c)
    if b + c == 0:
        assert (exact, mid) == (1, 1)
        return
    assert exact == pytest.approx(binomtest(min(b, c), b + c, 0.5).pvalue, rel=1e-9)
    k = min(b, c)
    # Fagerland, Lydersen and Laake 2013: the exact p less the probability of what was seen
    assert mid == pytest.approx(min(1.0, 2 * binom.cdf(k, b + c, 0.5) - binom.pmf(k, b + c, 0.5)), rel=1e-9)
    assert mid <= exact
    assert mcnemar(c, b) == (exact, mid)


def test_large_counts_stay_exact() -> None:
    assert mcnemar(6000, 5700)[0] == pytest.approx(binomtest(5700, 11_700, 0.5).pvalue, rel=1e-9)
    assert mcnemar(50_000, 0)[0] == 0.0


def test_a_comparison_by_hand() -> None:
    a = np.array([1, 1, 1, 1, 0, 0, 1, 1], bool)
    b = np.array([1, 0, 0, 0, 1, 0, 1, 0], bool)
    found = compare(a, b)
    assert (found.only_a, found.only_b) == (4, 1)
    assert found.difference.value == 3 / 8
    assert found.exact == pytest.approx(2 * (1 + 5) / 32)
    assert found.mid_p == pytest.approx((2 * 6 - 5) / 32)
    back = compare(b, a)
    assert back.difference.value == -3 / 8
    assert back.exact == found.exact


def tango(b: float, c: float, n: float, z: float) -> tuple[float, float]:
    """Tango 1998 with the constrained share by maximising its likelihood, a grid-free search in float64."""

    def most_likely(at: float) -> float:
        # The share q of c given a difference of `at`: q + at is the share of b. Its score equation falls in q.
        low, high = max(0.0, -at), (1 - at) / 2

        def slope(q: float) -> float:
            return (b / (q + at) if b else 0.0) + (c / q if c else 0.0) - 2 * (n - b - c) / (1 - 2 * q - at)

        edge = 1e-13
        if slope(low + edge) <= 0:
            return low
        if slope(high - edge) >= 0:
            return high
        return float(brentq(slope, low + edge, high - edge, xtol=1e-15))

    def score(at: float) -> float:
        variance = n * (2 * most_likely(at) + at - at**2)
        return (b - c - n * at) / math.sqrt(variance)

    value = (b - c) / n
    return (
        float(brentq(lambda at: score(at) - z, -1 + 1e-9, value - 1e-9)),
        float(brentq(lambda at: score(at) + z, value + 1e-9, 1 - 1e-9)),
    )


@pytest.mark.parametrize(
    ("b", "c", "n"), [(0, 0, 200), (1, 0, 50), (4, 1, 8), (12, 3, 100), (0, 7, 40), (300, 310, 5000)]
)
def test_the_paired_interval_is_tangos(b: int, c: int, n: int) -> None:
    a = np.arange(n) < b
    other = (np.arange(n) >= b) & (np.arange(n) < b + c)
    found = compare(a, other).difference
    assert (found.low, found.high) == pytest.approx(tango(b, c, n, norm.ppf(0.975)), abs=1e-7)
    assert found.low < found.value < found.high


def test_who_agree_throughout_are_not_known_to_be_equal() -> None:
    none = compare(np.ones(200, bool), np.ones(200, bool)).difference
    z = norm.ppf(0.975)
    assert (none.low, none.high) == pytest.approx((-(z**2) / (200 + z**2), z**2 / (200 + z**2)), abs=1e-9)


def test_an_interval_without_0_does_not_outrun_the_exact_test() -> None:
    """McNemar's exact test rejects only where Tango's interval leaves out 0: a verdict never contradicts it."""
    for both in range(1, 120):
        for c in range(both // 2 + 1):
            if mcnemar(both - c, c)[0] < 0.05:
                assert paired_score_ends(both - c, c, 1000, float(norm.ppf(0.975)))[0] > 0


def test_the_paired_interval_is_narrower_than_that_of_other_samples() -> None:
    rng = np.random.default_rng(0)
    a = rng.random(2000) < 0.7
    b = a.copy()
    b[:40] = ~b[:40]
    found = compare(a, b).difference
    assert found.high - found.low < 0.015
    assert found.low <= found.value <= found.high


def test_mean_per_class_differences_against_a_loop() -> None:
    """The value by its definition; the interval, where it is near normal, against a bootstrap of samples in classes."""
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2, 5], (300, 40, 20, 100))
    a, b = rng.random(460) < 0.8, rng.random(460) < np.array([0.9, 0.5, 0.2, 0, 0, 0.7])[labels]

    def gain(rows: NDArray[np.int64]) -> float:
        k = labels[rows]
        return float(np.mean([(a[rows][k == c].mean() - b[rows][k == c].mean()) for c in np.unique(k)]))

    found = compare_classes(a, b, labels)
    assert found.value == pytest.approx(gain(np.arange(460)), abs=1e-12)
    assert found.n == 460
    starts = (0, 300, 340, 360)
    drawn = [
        gain(np.concatenate([rng.integers(s, s + m, m) for s, m in zip(starts, (300, 40, 20, 100), strict=True)]))
        for _ in range(2000)
    ]
    width = found.high - found.low
    # A bootstrap of 2,000 errs by 4 % of the width, and lacks a factor n / (n - 1) of the variance in small classes.
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist(), abs=0.08 * width)
    back = compare_classes(b, a, labels)
    assert back.value == pytest.approx(-found.value, abs=1e-15)
    same = compare_classes(a, a, labels)
    size = 16 / (1 / 300 + 1 / 40 + 1 / 20 + 1 / 100)
    assert (same.value, same.p) == (0, 1)
    assert (same.low, same.high) == pytest.approx(tango(0, 0, size, norm.ppf(0.975)), abs=1e-7)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]).tolist() == pytest.approx([1.0, 1.0])
    assert holm([]).tolist() == []
    assert holm([0.01, float("nan"), 0.04]).tolist() == pytest.approx([0.02, float("nan"), 0.04], nan_ok=True)


def test_clusters_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(40), 25)
    a = np.repeat(rng.random(40) < 0.7, 25)
    b = np.repeat(rng.random(40) < 0.5, 25)
    alike = compare_units(a, b, cluster.astype(str))
    single = compare(a, b).difference
    assert alike.value == pytest.approx(single.value)
    assert alike.high - alike.low > 3 * (single.high - single.low)


def test_ratios_on_the_same_samples() -> None:
    hit = np.array([1, 1, 1, 0, 0, 0], bool)
    miss = np.array([0, 0, 0, 1, 0, 0], bool)
    found = compare_ratios((hit, miss), (miss, hit))
    assert found.value == pytest.approx(0.75 - 0.25)
    # By hand: the three hits of A (misses of B) move the difference by 1/8 each, the other by -3/8; two pseudo-images
    # by 1/4, so the sum of squares is 3/64 + 9/64 + 2/16 = 5/16, of 4 images and 2: times (4 / 6)^2.
    error = math.sqrt(5 / 16) * 4 / 6
    fourth = 3 / 8**4 + 81 / 8**4 + 2 / 4**4
    df = 3 * (5 / 16) ** 2 / fourth - 1
    half = student.ppf(0.975, min(df, 5)) * error
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), rel=1e-9)
    assert found.p == pytest.approx(2 * student.sf(0.5 / error, min(df, 5)), rel=1e-9)
    same = compare_ratios((hit, miss), (hit, miss))
    assert same.low < 0 < same.high, "who agree throughout are not known to be equal"
    never = np.zeros(6, bool)
    assert np.isnan(compare_ratios((never, never), (hit, miss)).value)
