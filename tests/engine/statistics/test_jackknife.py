"""Intervals of the jackknife over skewed units: against Hall's equation solved by bisection, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats

from cvbench.engine.statistics.jackknife import jackknife_interval

F64 = NDArray[np.float64]


def without_each(values: F64) -> F64:
    """(g, k) means of (g, k) values without each row."""
    return np.asarray((values.sum(axis=0) - values) / (len(values) - 1))


@pytest.mark.parametrize("sign", [1, -1])
def test_ends_of_a_mean_are_the_hull_of_students_and_halls(sign: int) -> None:
    values = sign * np.random.default_rng(4).lognormal(size=9)
    error, a = stats.sem(values), stats.skew(values, bias=False) / 3

    def hall(mean: float) -> float:  # Hall 1992, equation 2.2
        w = (values.mean() - mean) / error
        return float(w + a * w**2 / 3 + a**2 * w**3 / 27 + a / 6)

    t, far = float(stats.t.ppf(0.975, 8)), 1e4
    ends = [optimize.brentq(lambda m, x=x: hall(m) - x, -far, far, xtol=1e-13) for x in (t, -t)]
    student = values.mean() - t * error, values.mean() + t * error
    found = jackknife_interval(values.mean(keepdims=True), without_each(values[:, None]), skewed=True)
    assert found.low[0] == pytest.approx(min(student[0], ends[0]), rel=1e-9)
    assert found.high[0] == pytest.approx(max(student[1], ends[1]), rel=1e-9)
    plain = jackknife_interval(values.mean(keepdims=True), without_each(values[:, None]))
    assert (plain.low[0], plain.high[0]) == pytest.approx(student, rel=1e-12)


def test_two_units_or_equal_ones_have_no_skewness() -> None:
    values = np.array([[1.0, 2.0, math.nan], [4.0, 2.0, 1.0]])
    both = [jackknife_interval(values.mean(axis=0), without_each(values), skewed=skewed) for skewed in (False, True)]
    np.testing.assert_array_equal(both[0].low, both[1].low)
    equal = jackknife_interval(np.array([2.0]), np.full((5, 1), 2.0), skewed=True)
    assert (equal.low[0], equal.high[0]) == (2.0, 2.0)


def test_cka_of_heavy_tailed_features_is_covered_in_eight_batches() -> None:
    """Four layers of t with 5 degrees, 64 samples: Student's t alone covers 90 % of the mean over pairs, nominal 95."""
    rng, draws, batch, noise = np.random.default_rng(1), 4000, 8, 0.6

    def drawn() -> F64:
        return rng.standard_t(5, size=(draws, 8, batch, 2))

    shared = drawn()
    grams = np.stack([_u_centred(shared + noise * drawn()).reshape(draws, 8, -1) for _ in range(4)], axis=2)
    hsic = grams @ np.swapaxes(grams, 2, 3)  # (draws, batches, layers, layers), but for a constant
    truth = 1 / (1 + noise**2) ** 2
    total = hsic.sum(axis=1)
    left_out = np.stack([_mean_across(total - hsic[:, at]) for at in range(8)])
    found = jackknife_interval(_mean_across(total), left_out, scale="atanh", skewed=True)
    assert ((found.low <= truth) & (truth <= found.high)).mean() > 0.92


def _u_centred(x: F64) -> F64:
    """Székely & Rizzo 2014, eq. 2.3, of the Gram matrices of (..., b, p)."""
    k, b = x @ np.swapaxes(x, -1, -2), x.shape[-2]
    off = 1 - np.eye(b)
    k = k * off
    rows = k.sum(axis=-1) / (b - 2)
    whole = k.sum(axis=(-1, -2)) / ((b - 1) * (b - 2))
    return np.asarray((k - rows[..., :, None] - rows[..., None, :] + whole[..., None, None]) * off)


def _mean_across(hsic: F64) -> F64:
    """(...) mean CKA of the first two layers with the last two."""
    own = np.sqrt(np.diagonal(hsic, axis1=-2, axis2=-1))
    return np.asarray((hsic / own[..., :, None] / own[..., None, :])[..., :2, 2:].mean(axis=(-1, -2)))
