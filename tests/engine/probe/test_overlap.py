"""Intersection over union: against sets of cells, and its intervals against a bootstrap in plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm, t

from cvbench.engine.probe.overlap import MEASURES, image_counts, overlap_differences, overlap_estimates, overlaps
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.verdict import Verdict, verdict

I64 = NDArray[np.int64]


def reference(predicted: I64, true: I64, classes: int) -> list[float]:
    """`MEASURES` and the IoU of each class, from sets of the cells of all images."""

    def cells(values: I64, wanted: Any) -> set[int]:
        return {at for at, value in enumerate(values.ravel().tolist()) if wanted(value)}

    def iou(wanted: Any) -> float:
        one, two = cells(predicted, wanted), cells(true, wanted)
        return len(one & two) / len(one | two) if one | two else math.nan

    there = set(true.ravel().tolist())
    own = [iou(lambda value, c=c: value == c) if c in there else math.nan for c in range(classes)]
    mean = float(np.mean([own[c] for c in sorted(there)]))
    return [mean, iou(lambda value: value > 0), float((predicted == true).mean()), *own]


def drawn(n: int, classes: int, seed: int, right: float = 0.6) -> tuple[I64, I64]:
    """Images of one class each, with cells of the background; some classes are in no image."""
    rng = np.random.default_rng(seed)
    own = rng.integers(1, max(classes - 1, 2), n)
    true = np.where(rng.random((n, 3, 4)) < 0.4, own[:, None, None], 0)
    return np.where(rng.random(true.shape) < right, true, rng.integers(0, classes, true.shape)), true


@given(st.integers(1, 6), st.integers(2, 5), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_counts_of_images_give_the_overlaps_of_sets(n: int, classes: int, seed: int) -> None:
    predicted, true = drawn(n, classes, seed)
    counts = image_counts(predicted, true, classes)
    assert counts.shape == (n, 3 * classes + 1)
    assert (counts[:, classes : 2 * classes].sum(axis=1) == 12).all()
    np.testing.assert_allclose(overlaps(counts.sum(axis=0)[None])[0], reference(predicted, true, classes), rtol=1e-15)


def test_the_interval_is_that_of_resampled_images() -> None:
    predicted, true = drawn(40, 4, 5)
    options = IntervalOptions(resamples=300, seed=3)
    found = overlap_estimates(image_counts(predicted, true, 4), options)
    rng, table = np.random.default_rng(3), []
    for _ in range(300):
        rows = rng.integers(0, 40, 40)
        table.append(reference(predicted[rows], true[rows], 4))
    images = [40, 40, 40, *((true == c).any(axis=(1, 2)).sum() for c in range(4))]
    for column, one, value, n in zip(np.array(table).T, found, reference(predicted, true, 4), images, strict=True):
        assert one.n == n
        if not n:
            assert math.isnan(one.value)
            assert math.isnan(one.low)
            continue
        tail = norm.cdf(-math.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1))
        low, high = np.nanquantile(column, [tail, 1 - tail])
        np.testing.assert_allclose([one.value, one.low, one.high], [value, low, high], rtol=1e-12)


def test_differences_draw_the_same_images_of_both() -> None:
    first, true = drawn(50, 3, 1)
    second = np.where(np.random.default_rng(2).random(true.shape) < 0.55, true, 0)
    counts = [image_counts(one, true, 3) for one in (first, second)]
    options = IntervalOptions(resamples=200, seed=1)
    found = overlap_differences(counts[0], counts[1], options)
    rng, table = np.random.default_rng(1), []
    for _ in range(200):
        rows = rng.integers(0, 50, 50)
        both = [np.array(reference(values[rows], true[rows], 3)[:3]) for values in (first, second)]
        table.append(both[0] - both[1])
    tail = norm.cdf(-math.sqrt(50 / 49) * t.ppf(0.975, 49))
    for at, one in enumerate(found):
        column = np.array(table)[:, at]
        np.testing.assert_allclose([one.low, one.high], np.quantile(column, [tail, 1 - tail]), rtol=1e-12)
        error = column.std() * math.sqrt(50 / 49)
        assert one.p == pytest.approx(2 * t.sf(abs(one.value) / error, 49), rel=1e-9)
    reverse = overlap_differences(counts[1], counts[0], options)
    assert [one.value for one in reverse] == [-one.value for one in found]
    none = overlap_differences(counts[0], counts[0], options)
    assert [(one.value, verdict(one)) for one in none] == [(0.0, Verdict.NOT_RESOLVED)] * 3


def test_a_perfect_prediction_and_few_images_have_no_interval() -> None:
    _, true = drawn(30, 4, 0)
    for one in overlap_estimates(image_counts(true, true, 4), IntervalOptions(resamples=50))[: len(MEASURES)]:
        assert (one.value, one.constant) == (1.0, True)
        assert math.isnan(one.low)
    few = overlap_estimates(image_counts(*drawn(7, 4, 0), 4), IntervalOptions(resamples=50))
    assert all(math.isnan(one.low) for one in few)
    assert 0 < few[0].value < 1
