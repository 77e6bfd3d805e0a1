"""Norms of tokens against loops in float64: numbers of an image, histogram, places; and in parts as at once."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.norms.measure import EDGES, TABLE, Norms, norm_numbers
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import DataUnavailableError, IntegrityError

NAMES = [measure.name for measure in TABLE]


def maps(n: int = 10, grid: tuple[int, int] = (5, 7)) -> NDArray[np.float32]:
    """Tokens of ordinary norms; in every second image one at the border and one inside that stand out."""
    values = np.random.default_rng(0).normal(size=(n, *grid, 6))
    values[::2, 0, 3 % grid[1]] *= 40
    values[::2, 2, 2] *= 50
    return np.asarray(values.astype(np.float32))


def by_hand(image: NDArray[np.float64], cutoff: float) -> tuple[list[float], list[tuple[int, int]]]:
    height, width, _ = image.shape
    norms = {
        (y, x): sum(float(value) ** 2 for value in image[y, x]) ** 0.5 for y in range(height) for x in range(width)
    }
    ordered = np.array(list(norms.values()))
    median = float(np.median(ordered))
    limit = median + 5 * 1.4826 * float(np.median(np.abs(ordered - median)))
    out = [place for place, norm in norms.items() if norm > limit]
    border = [(y, x) for y, x in out if y in (0, height - 1) or x in (0, width - 1)]
    share = len(border) / len(out) if out else np.nan
    above = np.mean(ordered > cutoff)
    return [median, ordered.max() / median, len(out) / len(ordered), share, float(above)], out


def test_numbers_histogram_and_places_are_those_of_loops() -> None:
    values = maps()
    numbers, histogram, where = norm_numbers(values, 4.0)
    expected_where = np.zeros((5, 7))
    for image, row in zip(values, numbers, strict=True):
        expected, out = by_hand(image.astype(np.float64), 4.0)
        np.testing.assert_allclose(row, expected, rtol=1e-6)  # norms are kept in the type of the maps
        for place in out:
            expected_where[place] += 1
    np.testing.assert_array_equal(where, expected_where)
    assert where[0, 3] == where[2, 2] == 5
    norms = np.sqrt((values.astype(np.float64) ** 2).sum(axis=3)).ravel()
    assert histogram.sum() == norms.size
    for k in (0, 40, len(EDGES) - 2):
        assert histogram[k] == ((norms >= EDGES[k]) & (norms < EDGES[k + 1])).sum()


def test_norms_beyond_the_ends_of_the_histogram_are_in_its_last_bins() -> None:
    values = np.zeros((1, 4, 4, 1), np.float32)
    values[0, 0, 0, 0], values[0, 1, 1, 0] = 1e6, EDGES[-1]
    numbers, histogram, _ = norm_numbers(values)
    assert (histogram[0], histogram[-1]) == (14, 2)
    assert np.isnan(numbers[0, NAMES.index("largest")])  # the median is 0
    assert np.isnan(numbers[0, NAMES.index("above")])


def test_units_together_are_all_images_at_once() -> None:
    layers = [Layer("a", "x"), Layer("a", "y"), Layer("b", "x")]
    whole = maps(40)
    found = {layer: whole * (i + 1) for i, layer in enumerate(layers)}
    analysis = Norms(4.0, IntervalOptions(resamples=20))
    rows = np.arange(40)
    once = analysis.summarise(layers, [analysis.measure(layers, found.__getitem__, rows)])
    parts = [
        analysis.measure(layers, {layer: found[layer][part] for layer in layers}.__getitem__, rows[part])
        for part in (slice(0, 16), slice(16, 40))
    ]
    twice = analysis.summarise(layers, parts)
    for name, (_, values) in once.data.items():
        np.testing.assert_allclose(twice.data[name][1], values, rtol=1e-12, err_msg=name)
    expected = np.array([by_hand(image.astype(np.float64), 4.0)[0] for image in whole])
    np.testing.assert_allclose(once.data["layers"][1][0], np.nanmean(expected, axis=0), rtol=1e-6)
    np.testing.assert_allclose(once.data["histogram"][1].sum(axis=1), 1)
    assert once.data["where_0"][1].max() == 0.5
    assert once.attrs["pairs"] == [[1, 0], [1, 2]]
    live = analysis.live(layers)
    live.begin(rows[:16])
    for i, layer in enumerate(layers):
        live.add(i, found[layer][:16])
    live.begin(rows[16:])
    for i, layer in enumerate(layers):
        live.add(i, found[layer][16:])
    at_once = analysis.measure(layers, found.__getitem__, rows)
    for name, values in live.partial().items():
        np.testing.assert_allclose(values, at_once[name], rtol=1e-12)


def test_what_a_grid_is_too_small_for_is_not_there() -> None:
    layers = [Layer("a", "x")]
    analysis = Norms(None, IntervalOptions(resamples=20))
    values = maps(12, (3, 3))
    result = analysis.summarise(layers, [analysis.measure(layers, lambda _: values, np.arange(12))])
    there = np.isfinite(result.data["layers"][1][0])
    assert dict(zip(NAMES, there.tolist(), strict=True)) == {
        "median": True,
        "largest": True,
        "outliers": False,
        "border": False,
        "above": False,
    }
    with pytest.raises(DataUnavailableError):
        analysis.summarise(layers, [])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    """Of such an image no token would stand out, or one without end."""
    values = np.ones((2, 3, 4, 5), np.float32)
    values[1, 0, 2, 3] = value
    with pytest.raises(IntegrityError, match="not finite"):
        Norms().measure_layer(0, Layer("a", "b"), values)
