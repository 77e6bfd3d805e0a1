"""The interval against a plain loop, against theory, and its corner cases."""

from __future__ import annotations

import numpy as np
import pytest

from cvbench.engine.statistics.bootstrap import F64, percentile_interval, resample_weights
from cvbench.engine.statistics.options import IntervalOptions


def test_every_resample_draws_n_units() -> None:
    weights = np.concatenate(list(resample_weights(7, 100, seed=1, block=33)))
    assert weights.shape == (100, 7)
    assert weights.dtype == np.float64
    np.testing.assert_array_equal(weights.sum(axis=1), 7)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.4)


def test_it_is_the_percentile_of_a_plain_loop() -> None:
    values = np.random.default_rng(0).normal(size=(40, 2))
    found = percentile_interval(values, lambda sums: sums[:, :1] / sums[:, 1:], IntervalOptions(resamples=500, seed=3))
    ratios = []
    for block in resample_weights(40, 500, seed=3):
        for weight in block:
            drawn = np.repeat(values, weight.astype(int), axis=0)
            ratios.append(drawn[:, 0].sum() / drawn[:, 1].sum())
    np.testing.assert_allclose([found.low[0], found.high[0]], np.percentile(ratios, [2.5, 97.5]), rtol=1e-9)


def test_it_covers_a_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for trial in range(200):
        sample = rng.normal(size=(60, 1))
        found = percentile_interval(sample, lambda sums: sums / 60, IntervalOptions(resamples=400, seed=trial))
        hits += bool(found.low[0] <= 0 <= found.high[0])
    assert (
        178 <= hits <= 198
    )  # binomial(200, 0.95) within 3.5 standard deviations, less the percentile method's deficit


def test_the_same_seed_gives_the_same_interval_and_another_does_not() -> None:
    values = np.random.default_rng(0).normal(size=(30, 3))
    seeded = [IntervalOptions(resamples=50, seed=seed) for seed in (1, 1, 2)]
    one, same, other = (percentile_interval(values, lambda sums: sums, options) for options in seeded)
    np.testing.assert_array_equal(one.low, same.low)
    assert (one.low != other.low).any()


def test_a_model_does_not_differ_from_itself() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=(30, 1)), 2, axis=1)
    found = percentile_interval(values, lambda sums: sums[:, :1] - sums[:, 1:], IntervalOptions(resamples=200))
    assert (found.low[0], found.high[0]) == (0.0, 0.0)


def test_undefined_resamples_are_left_out_and_counted() -> None:
    def statistic(sums: F64) -> F64:
        some = np.where(sums[:, :1] > 3, sums[:, :1], np.nan)
        return np.column_stack([sums[:, :1], some, np.full(len(sums), np.nan)])

    found = percentile_interval(np.arange(4.0)[:, None], statistic, IntervalOptions(resamples=300))
    assert found.undefined[0] == 0
    assert 0 < found.undefined[1] < 300
    assert found.undefined[2] == 300
    assert np.isfinite(found.low[:2]).all()
    assert found.low[1] > 3
    assert np.isnan(found.low[2])


@pytest.mark.parametrize("n", [1, 2])
def test_few_units_still_give_numbers(n: int) -> None:
    found = percentile_interval(np.arange(1.0, n + 1)[:, None], lambda sums: sums / n, IntervalOptions(resamples=100))
    assert 1 <= found.low[0] <= found.high[0] <= n
