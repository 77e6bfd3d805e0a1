"""Means in one pass: the values, cuts that do not matter, classes that are resampled, families that are judged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvbench.engine.statistics.bootstrap import percentile_interval
from cvbench.engine.statistics.measure import Column, Measure
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.running import Means, RunningMeans, judged_columns, thin_notes
from cvbench.errors import IntegrityError
from tests.engine.analyses.test_hsic import F64
from tests.seeds import seeded


def numbers(count: int) -> list[Column]:
    return [Column(Measure(f"m{at}", "")) for at in range(count)]


def means_of(values: F64, cuts: tuple[int, ...] = (), *, resamples: int = 200, seed: int = 0) -> Means:
    running = RunningMeans(numbers(values.shape[1]), IntervalOptions(resamples=resamples, seed=seed))
    for part in np.split(values, cuts):
        running.add(part)
    return running.means()


@pytest.fixture
def rng() -> np.random.Generator:
    return seeded(3)


def test_the_interval_is_near_that_of_a_bootstrap_of_many_images(rng: np.random.Generator) -> None:
    values = rng.gamma(2.0, size=(400, 3)) * [1, 10, 0.01]
    found = means_of(values)
    other = percentile_interval(values, lambda sums: sums / 400, IntervalOptions(resamples=4000))
    np.testing.assert_allclose(found.value, values.mean(axis=0), rtol=1e-12)
    # The other is an estimate from 4000 resamples, without a correction for skewness: the ends agree to a tenth.
    width = other.high - other.low
    assert (np.abs(found.low - other.low) < 0.1 * width).all()
    assert (np.abs(found.high - other.high) < 0.1 * width).all()


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 700), max_size=6).map(sorted))
def test_where_the_images_are_cut_does_not_matter(cuts: list[int]) -> None:
    values = np.random.default_rng(4).normal(size=(700, 2))
    values[::7, 1] = np.nan
    whole, split = means_of(values), means_of(values, tuple(cuts))
    for name in ("value", "low", "high", "undefined", "p", "floor"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(split, name))


def test_undefined_values_are_left_out_and_counted(rng: np.random.Generator) -> None:
    values = rng.normal(size=(50, 3))
    values[:5, 1] = np.nan
    values[:, 2] = np.inf
    found = means_of(values)
    assert found.undefined.tolist() == [0, 5, 50]
    assert found.value[1] == pytest.approx(values[5:, 1].mean())
    assert np.isnan([found.value[2], found.low[2], found.high[2]]).all()


def test_one_image_has_no_interval_and_a_difference_of_nothing_is_nothing() -> None:
    one = means_of(np.ones((1, 1)))
    assert one.value == [1]
    assert np.isnan(one.low).all()
    same = means_of(np.zeros((40, 1)))
    assert same.value == [0]
    assert np.isnan([same.low, same.high]).all()
    assert judged_columns(same, np.array([0]))["resolved"] == [0]


def test_an_interval_needs_images_that_define_the_number(rng: np.random.Generator) -> None:
    values = rng.normal(size=(50, 2))
    values[1:, 1] = np.nan
    found = means_of(values)
    assert found.value[1] == values[0, 1]
    assert np.isnan([found.low[1], found.high[1]]).all()


class TestClasses:
    def test_the_interval_is_that_of_resampled_classes(self, rng: np.random.Generator) -> None:
        sizes = rng.integers(2, 30, size=60)
        classes = np.repeat(np.arange(60), sizes)
        order = rng.permutation(len(classes))
        classes = classes[order] * 7 + 3  # any numbers, in any order
        values = rng.normal(size=(len(classes), 2)) * 0.1 + rng.normal(size=60)[(classes - 3) // 7, None]
        values[::9, 1] = np.nan
        running = RunningMeans(numbers(2), IntervalOptions(resamples=3000, seed=0), classes)
        for part in np.split(values, [5, 300]):
            running.add(part)
        found = running.means()
        members = [values[classes == name] for name in np.unique(classes)]
        drawn = [np.concatenate([members[k] for k in rng.integers(0, 60, 60)]) for _ in range(3000)]
        low, high = np.quantile([np.nanmean(table, axis=0) for table in drawn], (0.025, 0.975), axis=0)
        # Both are estimates from 3000 resamples: the ends agree to a tenth of the width.
        np.testing.assert_allclose(found.class_low, low, atol=0.1 * (high - low).min())
        np.testing.assert_allclose(found.class_high, high, atol=0.1 * (high - low).min())
        assert (found.class_high - found.class_low > 2 * (found.high - found.low)).all()  # images of a class are alike

    @settings(max_examples=10, deadline=None)
    @given(cuts=st.lists(st.integers(0, 400), max_size=5).map(sorted))
    def test_where_the_images_are_cut_does_not_matter(self, cuts: list[int]) -> None:
        values = np.random.default_rng(4).normal(size=(400, 2))
        found = []
        for at in ([], cuts):
            running = RunningMeans(numbers(2), IntervalOptions(resamples=50, seed=0), np.arange(400) % 40)
            for part in np.split(values, at):
                running.add(part)
            found.append(running.means())
        np.testing.assert_array_equal(found[0].class_low, found[1].class_low)

    def test_few_classes_have_none(self, rng: np.random.Generator) -> None:
        values = rng.normal(size=(120, 2))
        values[np.arange(120) % 40 < 12, 1] = np.nan  # 28 classes are left
        for classes, known in ((np.arange(120) % 40, [True, False]), (np.arange(120) % 29, [False, False])):
            running = RunningMeans(numbers(2), IntervalOptions(resamples=50, seed=0), classes)
            running.add(values)
            assert np.isfinite(running.means().class_low).tolist() == known

    def test_classes_of_other_images_are_refused(self) -> None:
        running = RunningMeans(numbers(1), IntervalOptions(resamples=5, seed=0), np.arange(80) % 40)
        running.add(np.zeros((79, 1)))
        with pytest.raises(IntegrityError, match="classes of 80 images were given, and there are 79"):
            running.means()
        with pytest.raises(IntegrityError, match="more images than classes"):
            running.add(np.zeros((2, 1)))


def test_numbers_that_few_images_define_are_named(rng: np.random.Generator) -> None:
    values = rng.normal(size=(40, 7))
    values[29:, 1:] = np.nan
    values[:, 2] = np.nan
    values[3:, 3] = np.nan
    values[:, 4] = 0.25
    none, thin, same = thin_notes([f"m{i}" for i in range(7)], means_of(values))
    assert none == "no interval: n too small: 8 images are needed, and fewer define (n) m3 (3)"
    assert thin.endswith("their intervals are too narrow: m1 (29), m5 (29), m6 (29)")
    assert same == "no interval: every image has the same value, but for rounding: m4"
    assert thin_notes(["m0"], means_of(values)) == []
    assert thin_notes(["m0"], means_of(values[:20])) == []  # `interval_notes` says it of all
