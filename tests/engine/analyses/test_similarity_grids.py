"""The analysis `similarity` where grids are large or differ: autocorrelation instead of pairs, and the common grid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.similarity import kernel
from cvbench.engine.analyses.similarity.measure import Similarity
from cvbench.engine.analyses.similarity.result import LARGEST_MATRIX, MEASURES, VERSIONS
from cvbench.engine.arrays.pooling import pool_to
from tests.engine.analyses.similarity_maps import result_of, smooth, value
from tests.engine.analyses.similarity_reference import matrices
from tests.seeds import seeded


@pytest.fixture
def rng() -> np.random.Generator:
    return seeded(7)


class TestLargeGrids:
    def test_no_matrix_is_kept_and_the_rest_is(self, rng: np.random.Generator) -> None:
        height, width = 30, 28
        assert height * width > LARGEST_MATRIX
        maps = smooth(rng, 2, height, width, 3)
        result = result_of([maps])
        assert "matrix_0" not in result.data
        assert result.data["correlogram_0"][1].shape == (2, 59, 55)
        assert "no matrix and no mean |similarity| of grids above 784 positions: net0/last" in result.attrs["notes"]
        off = ~np.eye(height * width, dtype=bool)
        assert value(result, "mean") == pytest.approx(matrices(maps, centred=False)[:, off].mean(), abs=1e-12)
        assert math.isnan(value(result, "mean_absolute"))

    @pytest.mark.parametrize("block", [1, 10**6])
    @pytest.mark.parametrize("centred", [False, True])
    def test_autocorrelation_gives_what_the_pairs_give(
        self, rng: np.random.Generator, centred: bool, block: int
    ) -> None:
        maps = smooth(rng, 3, 5, 8)
        maps[1, 2, 3] = 0
        units, _ = kernel.unit_features(maps, centred=centred)
        found, pairs = (
            kernel.lag_statistics(units, (5, 8), block=block),
            kernel.pair_statistics(units, (5, 8), matrix=False),
        )
        np.testing.assert_allclose(found.lags, pairs.lags, atol=1e-12)  # float64 throughout
        assert found.matrix is None
        assert np.isnan(found.absolute).all()

    @pytest.mark.parametrize("centred", [False, True])
    def test_autocorrelation_in_single_precision(self, rng: np.random.Generator, centred: bool) -> None:
        # A transform's rounding is spread over all lags of a row: 1e-5 where a corner has one pair, 3e-7 in a profile.
        maps = smooth(rng, 1, 40, 40, 32).astype(np.float32)
        units, _ = kernel.unit_features(maps, centred=centred)
        single, double = (kernel.lag_statistics(x, (40, 40)).lags for x in (units, units.astype(np.float64)))
        np.testing.assert_allclose(single, double, atol=1e-5)
        profile = kernel.lags(40, 40).profile
        np.testing.assert_allclose(single @ profile, double @ profile, atol=3e-7)


class TestCommonGrid:
    def test_the_finer_map_is_averaged_and_the_pairs_subtracted(self, rng: np.random.Generator) -> None:
        coarse, fine = smooth(rng, 40, 4, 5), smooth(rng, 40, 8, 10)
        result = result_of([coarse, fine])
        pooled = fine.reshape(40, 4, 2, 5, 2, 5).mean(axis=(2, 4))
        assert result.attrs["common_grid"] == [4, 5]
        one, two = result_of([coarse]), result_of([pooled])
        for v, version in enumerate(VERSIONS):
            for m, name in enumerate(MEASURES):
                both = [value(r, name, version) for r in (one, two)]
                np.testing.assert_allclose(result.data["common"][1][:, v, m], both, atol=1e-12)
                if (name, version) == ("mean", "centred"):
                    assert np.isnan(both).all()  # fixed by its definition
                elif name != "length":  # an image without a length in one backbone is left out of the pair
                    assert result.data["difference"][1][0, v, m] == pytest.approx(both[0] - both[1], abs=1e-12)
        assert result.coords["pair"] == ["net0 vs net1"]

    def test_grids_that_do_not_divide_share_cells_by_area(self, rng: np.random.Generator) -> None:
        maps = rng.normal(size=(2, 3, 5, 2))
        found = pool_to(maps, (2, 2))
        rows = (maps[:, 0] + maps[:, 1] / 2) / 1.5
        corner = (rows[:, 0] + rows[:, 1] + rows[:, 2] / 2) / 2.5
        np.testing.assert_allclose(found[:, 0, 0], corner, atol=1e-12)
        constant = pool_to(np.full((1, 7, 9, 1), 3.0), (4, 2))
        np.testing.assert_allclose(constant, 3, atol=1e-12)

    def test_torch_pools_alike(self, rng: np.random.Generator) -> None:
        maps = rng.normal(size=(2, 14, 14, 3)).astype(np.float32)
        peer = torch.nn.functional.avg_pool2d(torch.from_numpy(maps).permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        np.testing.assert_allclose(pool_to(maps, (7, 7)), peer.numpy(), atol=1e-6)

    def test_a_backbone_against_itself_is_exactly_0(self, rng: np.random.Generator) -> None:
        maps = smooth(rng, 30, 4, 4)
        result = result_of([maps, maps])
        apart, resolved = (result.data[name][1].ravel() for name in ("difference", "difference_resolved"))
        np.testing.assert_array_equal(np.delete(apart, 4), 0)  # the fifth, the mean of centred ones, is never measured
        np.testing.assert_array_equal(np.delete(resolved, 4), 0)
        assert np.isnan([apart[4], resolved[4]]).all()
        for end in ("low", "high"):  # every image has the same value: that tells nothing of a spread
            assert np.isnan(result.data[f"difference_{end}"][1]).all()

    def test_a_last_layer_of_one_position_is_not_compared(self) -> None:
        grids = {Layer("a", "x"): (4, 4), Layer("b", "x"): (1, 1)}
        assert Similarity.between(grids, {}).compared == ()


@pytest.mark.gpu
@pytest.mark.parametrize("grid", [(56, 56), (30, 28), (14, 14), (5, 9)])
def test_a_device_sums_by_offset_as_the_host_does(rng: np.random.Generator, cupy: Any, grid: tuple[int, int]) -> None:
    """Loops over rows and columns on the host, two products there."""
    maps = rng.normal(size=(2, *grid, 6)).cumsum(axis=1).cumsum(axis=2).astype(np.float16)
    for centred in (False, True):
        units, _ = kernel.unit_features(maps, centred=centred)
        there, _ = kernel.unit_features(cupy.asarray(maps), centred=centred)
        np.testing.assert_allclose(there.get(), units, atol=1e-5)
        expected, found = kernel.lag_statistics(units, grid), kernel.lag_statistics(there, grid)
        np.testing.assert_allclose(found.lags.get(), expected.lags, atol=1e-5)
        if grid[0] * grid[1] <= 900:
            expected, found = (kernel.pair_statistics(x, grid, matrix=True) for x in (units, there))
            np.testing.assert_allclose(found.lags.get(), expected.lags, atol=1e-5)
            assert found.matrix is not None
            assert expected.matrix is not None
            np.testing.assert_allclose(found.matrix.get(), expected.matrix, atol=1e-4)
            np.testing.assert_allclose(found.absolute.get(), expected.absolute, atol=1e-5)
