"""Intervals of means against independent references: SciPy's, and Hall's equation solved by bisection."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.holm import holm
from cvbench.engine.statistics.mean_interval import Estimated, Moments, mean_interval
from cvbench.engine.statistics.measure import Measure, indicator, share
from cvbench.engine.statistics.verdict import Verdict, verdict
from tests.engine.analyses.test_hsic import F64

PLAIN = Measure("m", "")
RATE = indicator("hit", "")


def of(values: F64, measure: Measure = PLAIN, *, paired: bool = False, floor: float = 1e-6) -> Estimated:
    return mean_interval(Moments.of(values[:, None]).at(0), measure, 0.95, floor, paired=paired)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def hall(values: F64) -> tuple[float, float]:
    """Hall (1992): the means mu for which his transformed statistic is at the quantiles of Student's t."""
    n = len(values)
    a = stats.skew(values, bias=False) * (1 + 3 / n) / math.sqrt(n)

    def statistic(mu: float) -> float:
        w = (values.mean() - mu) / stats.sem(values)
        return float(w + a * w**2 / 3 + a**2 * w**3 / 27 + a / 6)

    far = 1e4 * values.std()

    def mean_at(t: float) -> float:
        return float(
            optimize.brentq(lambda mu: statistic(mu) - t, values.mean() - far, values.mean() + far, xtol=1e-13)
        )

    t = float(stats.t.ppf(0.975, n - 1))
    return mean_at(t), mean_at(-t)


@pytest.mark.parametrize("n", [8, 12, 80])
def test_it_is_the_hull_of_students_and_halls(rng: np.random.Generator, n: int) -> None:
    for values in (np.exp(rng.normal(size=n)), -np.exp(rng.normal(size=n)), rng.normal(size=n) + 3):
        student = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
        skewed = hall(values)
        found = of(values)
        assert found.low == pytest.approx(min(student[0], skewed[0]), rel=1e-9, abs=1e-9)
        assert found.high == pytest.approx(max(student[1], skewed[1]), rel=1e-9, abs=1e-9)
        assert found.low < values.mean() < found.high


@pytest.mark.parametrize("n", [8, 10])
def test_means_of_few_skewed_numbers_are_covered_and_those_of_normal_ones_stay_narrow(n: int) -> None:
    """Nominal 95: by so many draws 92 of the lognormal ones is five errors below what is covered."""
    rng, draws = np.random.default_rng(17), 20_000
    skewed, normal = Moments.of(rng.lognormal(size=(n, draws))), Moments.of(rng.normal(size=(n, draws // 4)))
    found = [mean_interval(skewed.at(at), PLAIN, 0.95, 0.0, paired=False) for at in range(draws)]
    assert np.mean([one.low <= math.exp(0.5) <= one.high for one in found]) > 0.92
    plain = [mean_interval(normal.at(at), PLAIN, 0.95, 0.0, paired=False) for at in range(draws // 4)]
    assert np.mean([one.low <= 0 <= one.high for one in plain]) > 0.945
    student = 2 * stats.t.ppf(0.975, n - 1) * np.sqrt(normal.second / (n - 1) / n)
    assert np.median([one.high - one.low for one in plain]) < 1.35 * np.median(student)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(8, 60), shift=st.floats(-1, 1))
def test_p_is_below_a_twentieth_just_where_0_is_outside(seed: int, n: int, shift: float) -> None:
    values = np.random.default_rng(seed).gamma(0.7, size=n) - 0.7 + shift
    found = of(values)
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
    signs = np.sign(np.where(np.abs(values) < 0.5, 0, values))
    discordant = of(signs, RATE, paired=True)
    assert (discordant.p < 0.05) == (discordant.low > 0 or discordant.high < 0)


@pytest.mark.parametrize(("hits", "n"), [(0, 30), (1, 30), (30, 30), (7, 100), (100, 100)])
def test_a_rate_has_wilsons_interval(hits: int, n: int) -> None:
    values = (np.arange(n) < hits).astype(np.float64)
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    found = of(values, RATE)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.high > found.low


def test_a_share_that_all_images_have_at_its_limit_has_that_of_a_rate() -> None:
    assert of(np.zeros(30), share("s", "")) == of(np.zeros(30), RATE)
    assert of(np.ones(30), share("s", "")).high == 1
    assert math.isnan(of(np.full(30, 0.4), share("s", "")).low)


@pytest.mark.parametrize(("more", "fewer", "n"), [(0, 0, 40), (1, 0, 40), (5, 2, 60), (30, 3, 200)])
def test_rates_of_the_same_images_have_bonett_and_prices(more: int, fewer: int, n: int) -> None:
    values = np.concatenate([np.ones(more), -np.ones(fewer), np.zeros(n - more - fewer)])
    one, two = (more + 1) / (n + 2), (fewer + 1) / (n + 2)  # Bonett & Price 2012, equation 6
    reach = 1.959963984540054 * math.sqrt((one + two - (one - two) ** 2) / (n + 2))
    found = of(values, RATE, paired=True)
    assert (found.low, found.high) == pytest.approx((one - two - reach, one - two + reach), abs=1e-12)


def test_few_or_equal_values_have_none(rng: np.random.Generator) -> None:
    assert np.isnan([of(rng.normal(size=7)).low, of(rng.normal(size=7), RATE).low]).all()
    assert math.isfinite(of(rng.normal(size=8)).low)
    rounded = -1 / 3 + rng.normal(size=50) * 1e-9  # a constant of a definition, in float32
    found = of(rounded)
    assert found.constant
    assert math.isnan(found.low)


def test_ends_are_cut_at_what_a_measure_cannot_leave() -> None:
    values = np.r_[np.zeros(28), 0.1, 0.2]
    assert of(values).low < 0 == of(values, share("s", "")).low
    assert of(values, share("s", "")).high == of(values).high


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 50), seed=st.integers(0, 1000))
def test_joined_moments_are_those_of_all(cut: int, seed: int) -> None:
    values = np.random.default_rng(seed).lognormal(size=(50, 3)) + 100
    values[::3, 1] = np.nan
    values[cut:, 2] = np.nan
    found = Moments.of(values[:cut]).joined(Moments.of(values[cut:]))
    for column in range(3):
        there = values[:, column][np.isfinite(values[:, column])]
        n, mean, deviation, skewness = found.at(column)
        assert n == len(there)
        if n:
            assert mean == pytest.approx(there.mean(), rel=1e-14)
        if n > 2:
            assert deviation == pytest.approx(there.std(ddof=1), rel=1e-10)
            assert skewness == pytest.approx(stats.skew(there, bias=False), rel=1e-8, abs=1e-8)


def test_holm_is_the_step_down_procedure(rng: np.random.Generator) -> None:
    p = rng.uniform(size=12) ** 3
    order = np.argsort(p)
    worst, expected = 0.0, np.empty(12)
    for step, at in enumerate(order):
        worst = max(worst, (12 - step) * p[at])
        expected[at] = min(worst, 1.0)
    np.testing.assert_allclose(holm(p), expected)
    np.testing.assert_allclose(holm(np.insert(p, 3, np.nan))[[0, 4]], expected[[0, 3]])


def test_a_difference_within_rounding_is_none() -> None:
    assert verdict(Estimate(-6e-17, -8.6e-17, -4.0e-17, 100, floor=2.0**-20)) is Verdict.NOT_RESOLVED
    assert verdict(Estimate(3e-3, 2e-3, 4e-3, 100, floor=2.0**-20)) is Verdict.RESOLVED
