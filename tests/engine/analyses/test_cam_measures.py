"""Measures of maps: values known by hand, and a slow float64 reference cell by cell."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cvbench.engine.analyses.cam.boxed import BOX_MEASURES, box_measures, centred_gaussian
from cvbench.engine.analyses.cam.grids import common_grid, display, pool, pool_evidence
from cvbench.engine.analyses.cam.measures import MAP_MEASURES, map_measures
from cvbench.engine.pictures.boxes import cell_fractions

F64 = NDArray[np.float64]


def named(raw: Any) -> dict[str, float]:
    return dict(zip(MAP_MEASURES, map_measures(np.asarray(raw)[None])[0].tolist(), strict=True))


def boxed(raw: Any, box: list[float], size: tuple[int, int], **options: float) -> dict[str, float]:
    row = box_measures(np.asarray(raw)[None], np.array([box]), size, **options)[0]
    return dict(zip(BOX_MEASURES, row.tolist(), strict=True))


def slow(raw: F64) -> dict[str, float]:
    """Every measure of one map by its definition, one cell at a time."""
    height, width = raw.shape
    light = [[max(float(value), 0.0) for value in row] for row in raw]
    total = math.fsum(map(math.fsum, light))
    cells = [(y + 0.5, x + 0.5, light[y][x] / total) for y in range(height) for x in range(width)]
    my, mx = (math.fsum(p * (y, x)[axis] for y, x, p in cells) for axis in (0, 1))
    yy = math.fsum(p * (y - my) ** 2 for y, x, p in cells)
    xx = math.fsum(p * (x - mx) ** 2 for y, x, p in cells)
    yx = math.fsum(p * (y - my) * (x - mx) for y, x, p in cells)
    square = np.array([[yy + 1 / 12, yx], [yx, xx + 1 / 12]])
    small, large = np.linalg.eigvalsh(square)
    entropy = -math.fsum(p * math.log(p) for _, _, p in cells if p > 0)
    pairs = math.fsum(abs(p - q) for _, _, p in cells for _, _, q in cells)
    inverse = np.linalg.inv(np.array([[yy, yx], [yx, xx]]))
    away = [np.array([y - my, x - mx]) for y, x, _ in cells]
    bell = np.array([math.exp(-d @ inverse @ d / 2) for d in away])
    flat = np.array(light).ravel()
    design = np.stack([bell, np.ones_like(bell)], axis=1)
    left = flat - design @ np.linalg.lstsq(design, flat, rcond=None)[0]
    return {
        "centroid_y": my / height,
        "centroid_x": mx / width,
        "radius": math.sqrt(np.trace(square)) / math.hypot(height, width),
        "anisotropy": math.sqrt(large / small),
        "entropy": entropy / math.log(height * width),
        "effective_area": math.exp(entropy) / (height * width),
        "gini": pairs / (2 * len(cells)),  # mean absolute difference over twice the mean, of values with sum 1
        "gaussian_r2": 1 - float(left @ left) / float(((flat - flat.mean()) ** 2).sum()),
        "half_max_area": float((flat >= flat.max() / 2).mean()),
    }


@given(st.integers(0, 10_000), st.sampled_from([(4, 7), (7, 7), (5, 3)]))
@settings(max_examples=30, deadline=None)
def test_every_measure_equals_its_definition(seed: int, grid: tuple[int, int]) -> None:
    raw = np.random.default_rng(seed).normal(0.3, 1, grid)
    expected = slow(raw)
    for name, value in named(raw).items():
        assert value == pytest.approx(expected[name], rel=1e-9, abs=1e-9), name


@pytest.mark.parametrize("grid", [(7, 7), (14, 14), (3, 11)])
def test_a_uniform_map(grid: tuple[int, int]) -> None:
    found = named(np.full(grid, 3.0))
    for name, value in {"entropy": 1.0, "effective_area": 1.0, "gini": 0.0, "half_max_area": 1.0}.items():
        assert found[name] == pytest.approx(value, abs=1e-12)
    assert found["radius"] == pytest.approx(1 / math.sqrt(12), abs=1e-12)
    assert (found["centroid_y"], found["centroid_x"]) == pytest.approx((0.5, 0.5))
    assert math.isnan(found["gaussian_r2"])  # nothing varies


def test_a_single_cell() -> None:
    raw = np.zeros((4, 8))
    raw[1, 6] = 2
    found = named(raw)
    assert (found["centroid_y"], found["centroid_x"]) == (1.5 / 4, 6.5 / 8)
    assert found["anisotropy"] == pytest.approx(1)
    assert (found["entropy"], found["effective_area"], found["gini"]) == pytest.approx((0, 1 / 32, 31 / 32))
    assert math.isnan(found["gaussian_r2"])


def test_a_gaussian_is_one_and_two_are_not() -> None:
    y, x = np.mgrid[:14, :21] + 0.5
    bell = np.exp(-((y - 6.5) ** 2 / 2.5 + (x - 9) ** 2 / 6 + (y - 6.5) * (x - 9) / 5))
    found = named(bell)
    assert found["gaussian_r2"] == pytest.approx(1, abs=1e-3)  # cut off at the edge of the grid
    assert (found["centroid_y"], found["centroid_x"]) == pytest.approx((6.5 / 14, 9 / 21), abs=1e-3)
    assert found["anisotropy"] > 1.5
    assert named(bell + np.roll(bell, 9, axis=1))["gaussian_r2"] < 0.7


def test_scale_does_not_matter_and_negative_cells_count_as_zero() -> None:
    raw = np.random.default_rng(0).normal(size=(1, 5, 6))
    np.testing.assert_allclose(map_measures(raw), map_measures(1e-12 * raw), rtol=1e-9)
    np.testing.assert_array_equal(map_measures(raw), map_measures(np.maximum(raw, 0)))


def test_maps_without_evidence_are_undefined_and_leave_the_others_alone() -> None:
    rng = np.random.default_rng(1)
    raw = rng.normal(size=(5, 4, 4)).astype(np.float32)
    raw[1], raw[2], raw[3, 0, 0] = -1, 0, np.inf
    found = map_measures(raw)
    assert np.isnan(found[1:4]).all()
    assert np.isfinite(found[[0, 4]]).all()
    boxes = np.tile([1.0, 1.0, 3.0, 3.0], (5, 1))
    inside = box_measures(raw, boxes, (8, 8))
    assert np.isnan(np.delete(inside[1:4], 2, axis=1)).all()
    assert (inside[:, 2] == 4 / 64).all()


def test_a_map_of_its_own_box_and_a_uniform_one() -> None:
    box = [64.0, 32.0, 128.0, 128.0]  # whole cells of 32 pixels
    mask = cell_fractions(np.array([box]), (192, 224), (6, 7))[0]
    own = boxed(mask, box, (192, 224))
    assert (own["energy_in_box"], own["pointing_game"], own["box_iou"], own["localised"]) == pytest.approx((1, 1, 1, 1))
    everywhere = boxed(np.ones((6, 7)), box, (192, 224))
    assert everywhere["energy_in_box"] == pytest.approx(everywhere["box_share"]) == pytest.approx(6 / 42)
    assert everywhere["box_iou"] == pytest.approx(6 / 42)
    assert everywhere["localised"] == 0


def test_the_energy_counts_cells_in_part() -> None:
    raw = np.array([[3.0, 1.0]])
    assert boxed(raw, [0, 0, 5, 10], (10, 20))["energy_in_box"] == pytest.approx(3 * 0.5 / 4)


def test_the_pointing_game_takes_the_first_of_equals_and_grows_the_box_where_asked() -> None:
    raw = np.zeros((2, 4))
    raw[0, 3] = raw[1, 0] = 1  # centres (35, 5) and (5, 15) in x, y
    first = [30.0, 0.0, 40.0, 10.0]
    assert boxed(raw, first, (20, 40))["pointing_game"] == 1
    assert boxed(raw, [0, 10, 10, 20], (20, 40))["pointing_game"] == 0
    near = [20.0, 0.0, 33.0, 10.0]
    assert boxed(raw, near, (20, 40))["pointing_game"] == 0
    assert boxed(raw, near, (20, 40), tolerance=3)["pointing_game"] == 1
    assert boxed(raw, [20.0, 0.0, 35.0, 10.0], (20, 40))["pointing_game"] == 0  # half-open


def test_the_tight_box_at_half_of_the_maximum() -> None:
    raw = np.zeros((4, 4))
    raw[1, 1], raw[2, 3], raw[3, 0] = 1, 0.5, 0.49
    found = boxed(raw, [10, 10, 40, 30], (40, 40))  # rows 1-2, columns 1-3
    assert found["box_iou"] == 1
    assert boxed(raw, [10, 10, 40, 20], (40, 40))["box_iou"] == pytest.approx(0.5)
    assert boxed(raw, [10, 10, 40, 20], (40, 40))["localised"] == 1


def test_without_a_box_nothing_is_measured() -> None:
    assert np.isnan(list(boxed(np.ones((2, 2)), [math.nan] * 4, (8, 8)).values())).all()


def test_the_baseline_is_in_the_middle() -> None:
    found = named(centred_gaussian((14, 14))[0])
    assert (found["centroid_y"], found["centroid_x"]) == pytest.approx((0.5, 0.5))
    assert 0.1 < found["radius"] < 1 / math.sqrt(12)


def test_pooling_by_whole_cells_is_average_pooling() -> None:
    raw = torch.randn((3, 14, 21), generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.avg_pool2d(raw.double(), (2, 3)).numpy()
    np.testing.assert_allclose(pool(raw.numpy(), (7, 7)), expected, rtol=1e-12, atol=1e-12)
    assert common_grid([(14, 14), (7, 7), (10, 12)]) == (7, 7)


def test_pooling_by_parts_of_cells_keeps_the_mean() -> None:
    raw = np.random.default_rng(0).normal(size=(2, 5, 7))
    pooled = pool(raw, (3, 2))
    np.testing.assert_allclose(pooled.mean((1, 2)), raw.mean((1, 2)), rtol=1e-12)
    line = pool(np.arange(3.0)[None, None], (1, 2))[0, 0]
    np.testing.assert_allclose(line, [(0 + 0.5 * 1) / 1.5, (0.5 * 1 + 2) / 1.5])


@given(st.integers(0, 10_000), st.sampled_from([((6, 8), (3, 2)), ((5, 7), (3, 4)), ((4, 4), (4, 4))]))
@settings(max_examples=40, deadline=None)
def test_evidence_and_its_share_in_a_box_survive_pooling(seed: int, grids: tuple[tuple[int, int], ...]) -> None:
    """Whatever speaks against the class around it: a signed mean would lose one, or change the other."""
    fine, coarse = grids
    rng = np.random.default_rng(seed)
    raw = rng.normal(-1, 1, (6, *fine)).astype(np.float32)
    raw[0] = -np.abs(raw[0])
    pooled = pool_evidence(raw, coarse)
    defined = np.isfinite(map_measures(raw)[:, 0])
    assert not defined[0]
    np.testing.assert_array_equal(np.isfinite(map_measures(pooled)[:, 0]), defined)
    size = (10 * coarse[0], 10 * coarse[1])
    box = np.tile([0.0, 10.0, 10.0 * coarse[1] - 10, 10.0 * coarse[0]], (6, 1))  # whole cells of the coarse grid
    found, expected = (box_measures(maps, box, size)[:, 0] for maps in (pooled, raw))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_one_strong_cell_among_weak_ones_against_is_still_evidence() -> None:
    raw = np.full((1, 4, 4), -1.0)
    raw[0, 0, 0] = 2.0
    assert not (pool(raw, (2, 2)) > 0).any()
    np.testing.assert_array_equal(pool_evidence(raw, (2, 2))[0], [[0.5, 0], [0, 0]])


@pytest.mark.gpu
def test_cupy_input_gives_what_numpy_gives(cupy: Any) -> None:
    raw = np.random.default_rng(0).normal(size=(40, 14, 21)).astype(np.float32)
    raw[3], raw[4, 0, 0] = -1, np.nan
    for grid in ((7, 7), (5, 9), (14, 21)):
        expected, found = pool_evidence(raw, grid), pool_evidence(cupy.asarray(raw), grid)
        np.testing.assert_allclose(found.get(), expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(map_measures(found).get(), map_measures(expected), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(pool(cupy.asarray(raw), (7, 7)).get(), pool(raw, (7, 7)), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(map_measures(cupy.asarray(raw)).get(), map_measures(raw), rtol=1e-9, atol=1e-9)


def test_the_display_map_is_torchs_bilinear() -> None:
    raw = torch.randn((2, 3, 5), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    light = raw.relu()
    light = light - light.amin((1, 2), keepdim=True)
    light = light / (light.amax((1, 2), keepdim=True) + 1e-7)
    large = torch.nn.functional.interpolate(light[:, None], size=(20, 16), mode="bilinear", align_corners=False)[:, 0]
    large = large - large.amin((1, 2), keepdim=True)
    large = large / (large.amax((1, 2), keepdim=True) + 1e-7)
    np.testing.assert_allclose(display(raw.numpy(), (20, 16)), large.numpy(), rtol=0, atol=1e-12)
    assert not display(np.full((1, 3, 3), -1.0), (6, 6)).any()
