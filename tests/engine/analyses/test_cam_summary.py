"""Means of maps' measures: intervals over images and over classes, differences, and what too few images define."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.engine.analyses.cam.boxed import BOX_MEASURES
from cvbench.engine.analyses.cam.measures import MAP_MEASURES
from cvbench.engine.analyses.cam.summary import CONSTRAINT, Measured, summarise
from cvbench.engine.statistics.options import IntervalOptions

F64 = NDArray[np.float64]


def measured(name: str, table: F64, common: bool = True, version: str = "raw") -> Measured:
    return Measured(name, "layer", (7, 7), common, table, version)


def test_means_intervals_and_differences() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(400, len(MAP_MEASURES)))
    two = one + rng.normal(0.1, 0.5, one.shape)
    two[:25] = np.nan
    result = summarise([measured("a", one), measured("b", two)], IntervalOptions(resamples=500), {"notes": ["said"]})
    mean = result.data["value"][1]
    np.testing.assert_allclose(mean[0], one.mean(0), rtol=1e-12)
    np.testing.assert_allclose(mean[1], np.nanmean(two, axis=0), rtol=1e-12)
    assert result.data["n_undefined"][1].tolist() == [[0] * 9, [25] * 9]
    apart = result.data["difference"][1][0]
    np.testing.assert_allclose(apart, (one - two)[25:].mean(0), rtol=1e-9)
    assert result.data["difference_n"][1].tolist() == [[375] * 9]
    low, high = (result.data[f"difference_{end}"][1][0] for end in ("low", "high"))
    width = 2 * 1.96 * (one - two)[25:].std(0) / math.sqrt(375)
    np.testing.assert_allclose(high - low, width, rtol=0.1)  # and a correction for skewness
    assert result.coords["pair"] == ["a - b"]
    assert result.attrs["notes"] == ["said", f"judged on centred maps: {CONSTRAINT}"]


def test_only_centred_maps_are_judged_and_together() -> None:
    rng = np.random.default_rng(3)
    one = rng.normal(size=(60, len(MAP_MEASURES)))
    gaps = rng.normal(size=one.shape)
    gaps = (gaps - gaps.mean(axis=0)) / gaps.std(axis=0, ddof=1)
    two = one + gaps
    two[:, 0] += 1.0
    two[:, 1] += 2.4 / math.sqrt(60)  # 2.4 standard errors: alone resolved, among nine not
    rows = [measured(name, table, version=version) for version in ("raw", "centred") for name, table in
            (("a", one), ("b", two))]  # fmt: skip
    result = summarise(rows, IntervalOptions(resamples=20), {})
    assert result.coords["pair"] == ["a - b", "a - b centred"]
    resolved, p = (result.data[f"difference_{name}"][1] for name in ("resolved", "p"))
    assert np.isnan([resolved[0], p[0]]).all()
    assert resolved[1, 0] == 1
    assert result.data["difference_high"][1][1, 1] < 0
    assert resolved[1, 1] == 0
    assert p[1, 1] > 0.05


def test_a_small_grid_has_no_spread_and_no_distribution() -> None:
    table = np.random.default_rng(0).uniform(0.2, 0.8, (40, len(MAP_MEASURES)))
    rows = [Measured(name, "layer", (2, 2), True, table + at / 9) for at, name in enumerate("ab")]
    result = summarise(rows, IntervalOptions(resamples=20), {})
    there = np.array([name.startswith("centroid") for name in result.coords["measure"]])
    for name in ("value", "low", "high"):
        assert (np.isfinite(result.data[name][1]) == there).all()
    assert (np.isfinite(result.data["difference"][1]) == there).all()
    said = "not measurable below a 3x3 grid (here 2x2), so not printed: radius (with two positions a side"
    assert any(note.startswith(said) for note in result.attrs["notes"])


def test_a_backbone_against_itself_is_exactly_zero() -> None:
    table = np.random.default_rng(0).normal(size=(50, len(MAP_MEASURES)))
    result = summarise([measured("a", table), measured("b", table)], IntervalOptions(resamples=100), {})
    assert not result.data["difference"][1].any()
    for end in ("low", "high"):  # every image has the same value: that tells nothing of a spread
        assert np.isnan(result.data[f"difference_{end}"][1]).all()


def test_ratios_are_of_means_over_the_same_images() -> None:
    rng = np.random.default_rng(0)
    table = np.abs(rng.normal(1, 0.2, (60, len(MAP_MEASURES) + len(BOX_MEASURES))))
    table[:10, len(MAP_MEASURES)] = np.nan  # no energy: its box share does not count either
    result = summarise([measured("a", table)], IntervalOptions(resamples=100), {})
    at = result.coords["measure"].index("energy_over_share")
    energy, share = table[10:, len(MAP_MEASURES)], table[10:, len(MAP_MEASURES) + 2]
    assert result.data["value"][1][0, at] == pytest.approx(energy.sum() / share.sum())
    assert result.data["n_undefined"][1][0, at] == 10
    assert "pair" not in result.coords


def test_one_image_has_no_interval_and_own_grids_no_difference() -> None:
    table = np.ones((1, len(MAP_MEASURES)))
    rows = [measured("a", table), measured("b", table, common=False)]
    result = summarise(rows, IntervalOptions(resamples=100), {})
    assert np.isnan(result.data["low"][1]).all()
    assert "one image" in result.attrs["notes"][0]
    assert "difference" not in result.data


def clusters(rng: np.random.Generator, classes: int, each: int) -> tuple[F64, F64, NDArray[np.int64]]:
    """Two tables of images whose values are mostly those of their class, and the labels."""
    labels = rng.permutation(np.repeat(np.arange(classes), each)) * 3 + 1
    own = rng.normal(size=(3 * classes + 1, len(MAP_MEASURES)))
    one = own[labels] + rng.normal(0, 0.2, (len(labels), len(MAP_MEASURES)))
    return one, one - own[labels] / 2 + rng.normal(0.1, 0.2, one.shape), labels


def test_classes_are_resampled_with_all_their_images() -> None:
    rng = np.random.default_rng(0)
    one, two, labels = clusters(rng, 40, 5)
    one[labels == labels[0], 2] = np.nan  # a class that does not define a measure
    two[7, 3] = np.nan
    result = summarise([measured("a", one), measured("b", two)], IntervalOptions(resamples=60, seed=4), {}, labels)
    assert result.attrs["resampled_classes"] == 40
    assert result.attrs["class_interval"] == "percentile bootstrap over 40 classes"
    draws = np.random.default_rng(4)
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    means = []
    for _ in range(60):
        drawn = np.concatenate([rows[c] for c in draws.integers(0, 40, size=40)])
        both = np.where(np.isnan(one + two), np.nan, 1.0)
        tables = (one, two, both * one, both * two)
        means.append([np.nanmean(table[drawn], axis=0) for table in tables])
    ends = np.quantile(np.array(means), [0.025, 0.975], axis=0)
    apart = np.quantile(np.array(means)[:, 2] - np.array(means)[:, 3], [0.025, 0.975], axis=0)
    for end, name in enumerate(("class_low", "class_high")):
        np.testing.assert_allclose(result.data[name][1], ends[end, :2], rtol=1e-9)
        np.testing.assert_allclose(result.data[f"difference_{name}"][1][0], apart[end], rtol=1e-9)
    over_classes, over_images = (
        result.data[high][1][0] - result.data[low][1][0] for low, high in (("class_low", "class_high"), ("low", "high"))
    )
    assert (over_classes > 1.3 * over_images).all()  # five images of a class say little more than one
    np.testing.assert_allclose(result.data["value"][1][0], np.nanmean(one, axis=0), rtol=1e-12)


@pytest.mark.parametrize(("classes", "each"), [(29, 5), (1, 200)])
def test_few_classes_are_not_resampled(classes: int, each: int) -> None:
    one, two, labels = clusters(np.random.default_rng(0), classes, each)
    result = summarise([measured("a", one), measured("b", two)], IntervalOptions(resamples=20), {}, labels)
    assert (result.attrs["resampled_classes"], result.attrs["class_interval"]) == (0, "")
    assert not {"class_low", "difference_class_low"} & set(result.data)


def test_a_measure_that_few_classes_define_has_no_interval_over_classes() -> None:
    one, _, labels = clusters(np.random.default_rng(0), 40, 3)
    one[labels > np.unique(labels)[28], 0] = np.nan
    result = summarise([measured("a", one)], IntervalOptions(resamples=20), {}, labels)
    assert np.isnan(result.data["class_low"][1][0, 0])
    assert np.isfinite(result.data["class_low"][1][0, 1:]).all()
    assert np.isfinite(result.data["low"][1]).all()


def test_what_few_images_define_is_named() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 50, len(MAP_MEASURES)))
    one[2:, 7] = np.nan  # gaussian_r2
    two[1:, 0] = np.nan
    result = summarise([measured("a", one), measured("b", two)], IntervalOptions(resamples=20), {})
    few = "no interval: n too small: 8 images are needed, and fewer define (n)"
    assert result.attrs["notes"][:3] == [
        f"a 7x7: {few} gaussian_r2 (2)",
        f"b 7x7: {few} centroid_y (1)",
        f"a - b: {few} centroid_y (1), gaussian_r2 (2)",
    ]
    assert result.data["difference_n"][1][0].tolist() == [1, *[50] * 6, 2, 50]
    assert np.isnan([result.data[name][1][0, 0] for name in ("difference_low", "difference_high")]).all()


def test_memory_is_of_the_tables_and_not_of_the_resamples() -> None:
    def peak(n: int) -> int:
        one, two = np.random.default_rng(0).normal(size=(2, n, len(MAP_MEASURES)))
        labels = np.arange(n) % 100
        tracemalloc.start()
        summarise([measured("a", one), measured("b", two)], IntervalOptions(resamples=256), {}, labels)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    small, large = peak(10_000), peak(40_000)
    # as the docstring says; the weights of 256 resamples at once would be another 2048 bytes an image
    assert large - small < 30_000 * 150 * len(MAP_MEASURES), (large - small) / 30_000 / len(MAP_MEASURES)
