"""Two backbones on the same samples: p values against SciPy, and what may be said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from cvbench.engine.metrics.intervals import Estimate, Options
from cvbench.engine.metrics.paired import (
    compare,
    compare_classes,
    compare_ratios,
    compare_units,
    holm,
    mcnemar,
    verdict,
)

FAST = Options(resamples=500)


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
    found = compare(a, b, FAST)
    assert (found.only_a, found.only_b) == (4, 1)
    assert found.difference.value == 3 / 8
    assert found.exact == pytest.approx(2 * (1 + 5) / 32)
    assert found.mid_p == pytest.approx((2 * 6 - 5) / 32)
    back = compare(b, a, FAST)
    assert back.difference.value == -3 / 8
    assert back.exact == found.exact


def test_the_paired_interval_is_narrower_than_that_of_other_samples() -> None:
    rng = np.random.default_rng(0)
    a = rng.random(2000) < 0.7
    b = a.copy()
    b[:40] = ~b[:40]
    found = compare(a, b, FAST).difference
    assert found.high - found.low < 0.015
    assert found.low <= found.value <= found.high


def test_mean_per_class_differences_against_a_loop() -> None:
    """The value by its definition; the interval against a bootstrap that draws samples one by one."""
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2, 5], (300, 40, 20, 100))
    a, b = rng.random(460) < 0.8, rng.random(460) < np.array([0.9, 0.5, 0.2, 0, 0, 0.7])[labels]

    def gain(rows: NDArray[np.int64]) -> float:
        k = labels[rows]
        return float(np.mean([(a[rows][k == c].mean() - b[rows][k == c].mean()) for c in np.unique(k)]))

    found = compare_classes(a, b, labels, Options(resamples=4000))
    assert found.value == pytest.approx(gain(np.arange(460)), abs=1e-12)
    assert found.n == 460
    drawn = [gain(rng.integers(0, 460, 460)) for _ in range(2000)]
    width = found.high - found.low
    # Two bootstraps of 2,000 and 4,000 resamples: each end errs by a few percent of the width.
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist(), abs=0.06 * width)
    back = compare_classes(b, a, labels, FAST)
    assert back.value == pytest.approx(-found.value, abs=1e-15)
    same = compare_classes(a, a, labels, FAST)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_a_winner_is_named_only_if_it_holds() -> None:
    up, down, both = (
        Estimate(v, lo, hi, 100) for v, lo, hi in ((0.1, 0.02, 0.2), (-0.1, -0.2, -0.02), (0.1, -0.1, 0.3))
    )
    assert verdict(up, ("A", "B"), 0.01).startswith("A beats B: +10.00 points [+2.00, +20.00]")
    assert verdict(down, ("A", "B"), 0.01).startswith("B beats A: +10.00 points [+2.00, +20.00]")
    assert "not resolved" in verdict(up, ("A", "B"), 0.06), "the test does not reject"
    assert "not resolved" in verdict(both, ("A", "B"), 0.01), "the interval holds 0"
    assert "not resolved" in verdict(both, ("A", "B"))
    assert "beats" in verdict(up, ("A", "B"))


def test_clusters_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(40), 25)
    a = np.repeat(rng.random(40) < 0.7, 25)
    b = np.repeat(rng.random(40) < 0.5, 25)
    alike = compare_units(a, b, cluster.astype(str), FAST)
    single = compare(a, b, FAST).difference
    assert alike.value == pytest.approx(single.value)
    assert alike.high - alike.low > 3 * (single.high - single.low)


def test_ratios_on_the_same_samples() -> None:
    hit = np.array([1, 1, 1, 0, 0, 0], bool)
    miss = np.array([0, 0, 0, 1, 0, 0], bool)
    found = compare_ratios((hit, miss), (miss, hit), Options(resamples=2000))
    assert found.value == pytest.approx(0.75 - 0.25)
    assert found.low <= 0.5 <= found.high
    never = np.zeros(6, bool)
    assert np.isnan(compare_ratios((never, never), (hit, miss), FAST).value)
