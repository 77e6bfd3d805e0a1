"""The decomposition of two crossed factors, against definitions in exact and in plain arithmetic."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, t, ttest_1samp

from cvbench.engine.statistics.factorial import two_way
from cvbench.errors import UsageError

F64 = NDArray[np.float64]


def planted(n: int, seed: int, first: float, second: float, together: float) -> F64:
    """(n, 2, 3) values: what an image has in all cells, effects of known size, and noise."""
    rng = np.random.default_rng(seed)
    a = first * np.array([1.0, -1.0])[:, None]
    b = second * np.array([1.0, 0.0, -1.0])[None, :]
    c = together * np.array([[1.0, -2.0, 1.0], [-1.0, 2.0, -1.0]])
    found: F64 = rng.exponential(3, (n, 1, 1)) + a + b + c + rng.normal(0, 1, (n, 2, 3))
    return found


def test_effects_are_the_contrasts_of_cell_means() -> None:
    values = planted(40, 0, 0.3, 0.5, 0.2)
    found = two_way(values)
    exact = [[[Fraction(float(x)) for x in row] for row in image] for image in values]
    cells = [[sum(image[i][j] for image in exact) / 40 for j in range(3)] for i in range(2)]
    grand = sum(map(sum, cells)) / 6
    rows = [sum(row) / 3 for row in cells]
    columns = [sum(row[j] for row in cells) / 2 for j in range(3)]
    # An effect sums fewer than 2**10 terms below 2**6: errors stay beneath 2**-53 * 2**10 * 2**6.
    near = 2.0**-37
    assert [one.value for one in found.first] == pytest.approx([float(x - grand) for x in rows], abs=near)
    assert [one.value for one in found.second] == pytest.approx([float(x - grand) for x in columns], abs=near)
    for i, j in product(range(2), range(3)):
        left = float(cells[i][j] - rows[i] - columns[j] + grand)
        assert found.together[i][j].value == pytest.approx(left, abs=near)


def test_squares_are_the_mean_product_of_different_images() -> None:
    values = planted(12, 1, 0.3, 0.5, 0.2)
    contrasts = values.mean(axis=2) - values.mean(axis=(1, 2))[:, None]
    pairs = [float(contrasts[i] @ contrasts[j]) for i in range(12) for j in range(12) if i != j]
    assert two_way(values).first_spread.squares.value == pytest.approx(3 * float(np.mean(pairs)), rel=1e-9)


def test_planted_effects_are_found_and_what_images_share_cancels() -> None:
    values = planted(400, 2, 0.5, 0.5, 0.0)
    found = two_way(values)
    assert found.first[0].low > 0.3
    assert found.first[0].high < 0.7
    assert found.second[1].low < 0 < found.second[1].high
    shifted = two_way(values + np.random.default_rng(3).normal(0, 100, (400, 1, 1)))
    assert shifted.first[0].high - shifted.first[0].low == pytest.approx(
        found.first[0].high - found.first[0].low, rel=1e-6
    )


def test_intervals_cover_and_squares_have_no_bias() -> None:
    """Of 400 draws at least as many are covered as a binomial of 93 % leaves out once in 10,000."""
    reruns, hits, spreads, nothing = 400, 0, [0, 0, 0], []
    for seed in range(reruns):
        found = two_way(planted(60, seed + 10, 0.2, 0.0, 0.0))
        hits += found.first[0].low <= 0.2 <= found.first[0].high
        nothing.append(found.second_spread.squares.value)
        parts = (found.first_spread, found.second_spread, found.together_spread)
        for at, (part, truth) in enumerate(zip(parts, (6 * 0.2**2, 0.0, 0.0), strict=True)):
            spreads[at] += part.squares.low <= truth <= part.squares.high
            assert part.squares.low <= part.squares.value <= part.squares.high
    for covered in (hits, *spreads):
        assert covered >= binom.ppf(1e-4, reruns, 0.93)
    assert abs(np.mean(nothing)) <= 4 * np.std(nothing) / reruns**0.5


def test_the_interval_of_one_contrast_is_the_square_of_students() -> None:
    values = planted(30, 5, 0.4, 0.0, 0.0)[:, :, :2]
    contrast = values[:, 0].mean(axis=1) - values.mean(axis=(1, 2))  # and its negative: two squares, each twice
    reach = t.ppf(0.975, 29) * contrast.std(ddof=1) / 30**0.5
    found = two_way(values).first_spread.squares
    mean = abs(contrast.mean())
    assert mean > reach, "the law has an effect"
    assert found.low == pytest.approx(4 * (mean - reach) ** 2, rel=1e-9)
    assert found.high == pytest.approx(4 * (mean + reach) ** 2, rel=1e-9)
    assert found.p == pytest.approx(ttest_1samp(contrast, 0).pvalue, rel=1e-9)


def test_what_is_not_crossed_is_refused_and_what_is_undefined_left_out() -> None:
    with pytest.raises(UsageError):
        two_way(np.zeros((5, 1, 3)))
    values = planted(30, 4, 1, 1, 1)
    values[3, 1, 2] = np.nan
    assert two_way(values).first[0].n == 29
    assert np.isnan(two_way(values[:0]).first[0].value)


def test_rounding_is_no_spread() -> None:
    """Cells that add up have no interaction but by the last bits, which vary from image to image."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = rng.random((60, 3))[:, :, None] + 0.3 * rng.random((60, 3))[:, None, :]
        found = two_way(values).together_spread.squares
        assert found.value == pytest.approx(0, abs=1e-30)
        assert np.isnan([found.low, found.high, found.p]).all()
