"""The analysis `spectra`: labelled means and intervals over images, one axis for all grids, and what bad input gets."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.engine.analyses import ANALYSES
from cvbench.engine.analyses.base import Analysis, Layer, Partial, Result
from cvbench.engine.analyses.spectra import MEASURES, Spectra, check_grid, common_axis, interpolation
from cvbench.engine.kernels.spectrum import half_plane
from cvbench.errors import DataUnavailableError, IntegrityError, UsageError

Maps = Sequence[NDArray[Any]]
SHAPES = [(8, 8, 5), (7, 7, 6), (4, 6, 3)]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def layers_of(count: int) -> list[Layer]:
    return [Layer("net", f"blocks.{i}") for i in range(count)]


def some_maps(rng: np.random.Generator, n: int) -> list[NDArray[Any]]:
    return [rng.normal(size=(n, *shape)).cumsum(axis=1) + 1 for shape in SHAPES]


def partial_of(maps: Maps, rows: slice = slice(None)) -> Partial:
    layers = layers_of(len(maps))
    held = dict(zip(layers, maps, strict=True))
    return Spectra().measure(layers, lambda layer: held[layer][rows], len(maps[0][rows]))


def result_of(maps: Maps, **options: Any) -> Result:
    return Spectra(**{"resamples": 200, **options}).summarise(layers_of(len(maps)), [partial_of(maps)])


def log_amplitude(maps: NDArray[Any]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.log(np.abs(np.fft.fft2(maps.astype(np.float64), axes=(1, 2))) + 1e-6).mean(axis=-1)
    return found


def test_partials_are_float64_per_image_and_layer(rng: np.random.Generator) -> None:
    partial = partial_of([x.astype(np.float16) for x in some_maps(rng, 6)])
    assert {values.dtype for values in partial.values()} == {np.dtype(np.float64)}
    shapes = {key: values.shape for key, values in partial.items()}
    assert [shapes[f"profile/{i}"] for i in range(3)] == [(6, 5), (6, 4), (6, 3)]
    assert [shapes[f"diagonal/{i}"] for i in range(3)] == [(6, 4), (6, 4), (6, 0)]
    assert shapes["measures/0"] == (6, len(MEASURES))
    assert partial["grid/2"].tolist() == [4, 6, 3]


def test_means_are_those_of_the_formula(rng: np.random.Generator) -> None:
    maps = some_maps(rng, 9)
    result = result_of(maps)
    mean = log_amplitude(maps[0]).mean(axis=0)
    on_axes = mean[0, 1], mean[1, 0], mean[0, 7], mean[7, 0], mean[1, 1], mean[1, 7], mean[7, 1], mean[7, 7]
    assert result.data["radial"][1][0, 1] == pytest.approx(np.mean(on_axes) - mean[0, 0], abs=1e-10)
    diagonal = [mean[k, k] - mean[0, 0] for k in range(4)]
    np.testing.assert_allclose(result.data["diagonal"][1][0, :4], diagonal, atol=1e-10)
    energy = (np.abs(np.fft.fft2(maps[1], axes=(1, 2))) ** 2).sum(axis=-1)
    shares = energy[:, 0, 0] / energy.sum(axis=(1, 2))
    at = MEASURES.index("dc_share")
    assert result.data["measures"][1][1, at] == pytest.approx(shares.mean(), abs=1e-10)
    assert result.attrs["samples"] == 9


class TestCommonAxis:
    def test_it_ends_where_the_lowest_grid_does(self) -> None:
        axis = common_axis([half_plane(n, n).frequency for n in (56, 14, 7)])
        assert axis[0] == 0
        assert axis[-1] == pytest.approx(6 / 7)
        np.testing.assert_allclose(axis[:4], [0, 2 / 56, 4 / 56, 6 / 56])
        assert (np.diff(axis) > 1e-6).all()

    def test_a_line_is_kept_and_bins_are_met(self) -> None:
        axis = half_plane(14, 14).frequency
        wanted = common_axis([axis, half_plane(7, 7).frequency])
        np.testing.assert_allclose((3 - 2 * axis) @ interpolation(axis, wanted), 3 - 2 * wanted)
        np.testing.assert_allclose(np.eye(8) @ interpolation(axis, axis), np.eye(8), atol=1e-12)

    def test_the_profile_is_the_interpolated_radial_one(self, rng: np.random.Generator) -> None:
        result = result_of(some_maps(rng, 5))
        common = np.array(result.coords["frequency"])
        for i in range(3):
            axis, own = (result.data[name][1][i] for name in ("bin_frequency", "radial"))
            reached = np.isfinite(axis)
            expected = np.interp(common, axis[reached], own[reached])
            np.testing.assert_allclose(result.data["profile"][1][i], expected, atol=1e-12)


class TestUnits:
    def test_any_split_into_units_gives_the_same(self, rng: np.random.Generator) -> None:
        maps = some_maps(rng, 12)
        whole = result_of(maps)
        parts = [partial_of(maps, cut) for cut in (slice(0, 5), slice(5, 5), slice(5, 12))]
        split = Spectra(resamples=200).summarise(layers_of(3), parts)
        for name, (dims, values) in whole.data.items():
            assert split.data[name][0] == dims
            np.testing.assert_allclose(split.data[name][1], values, rtol=1e-12, atol=1e-12)
        assert split.attrs == whole.attrs


class TestIntervals:
    def test_they_are_the_bootstrap_of_the_mean_over_images(self, rng: np.random.Generator) -> None:
        maps = some_maps(rng, 200)
        result = result_of(maps, resamples=2000)
        value, low, high = (result.data[name][1] for name in ("profile", "profile_low", "profile_high"))
        np.testing.assert_array_equal(value[:, 0], 0)  # DC less itself
        assert (low[:, 1:] < value[:, 1:]).all()
        assert (value[:, 1:] < high[:, 1:]).all()
        own = partial_of(maps)["profile/0"]
        error = own.std(axis=0) / math.sqrt(200)
        found = result.data["radial_high"][1][0, :5] - result.data["radial_low"][1][0, :5]
        np.testing.assert_allclose(found, 2 * 1.96 * error, rtol=0.1, atol=1e-12)
        assert result.attrs["notes"] == []

    def test_the_seed_decides(self, rng: np.random.Generator) -> None:
        maps = some_maps(rng, 40)
        first, again, other = (result_of(maps, seed=seed).data["measures_low"][1] for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other, equal_nan=True)

    def test_one_image_has_none_and_few_are_noted(self, rng: np.random.Generator) -> None:
        one = result_of(some_maps(rng, 1))
        assert np.isnan(one.data["profile_low"][1]).all()
        assert np.isfinite(one.data["profile"][1]).all()
        assert "one image" in one.attrs["notes"][0]
        assert "2 images" in result_of(some_maps(rng, 2)).attrs["notes"][0]


class TestUndefined:
    def test_constant_images_are_left_out_and_counted(self, rng: np.random.Generator) -> None:
        maps = some_maps(rng, 8)
        rest = result_of([x[2:] for x in maps])
        maps[0][:2] = 4.5
        result = result_of(maps)
        undefined = dict(zip(MEASURES, result.data["n_undefined"][1][0].tolist(), strict=True))
        assert undefined == {"share_above_0.25": 2, "share_above_0.5": 2, "dc_share": 0, "centroid": 2, "corners": 0}
        at = MEASURES.index("centroid")
        assert result.data["measures"][1][0, at] == pytest.approx(rest.data["measures"][1][0, at])

    def test_a_layer_of_constants_has_no_share_at_all(self, rng: np.random.Generator) -> None:
        maps = some_maps(rng, 4)
        maps[1][:] = 1
        result = result_of(maps)
        at = MEASURES.index("share_above_0.5")
        assert result.data["n_undefined"][1][1, at] == 4
        assert np.isnan(result.data["measures"][1][1, at])
        assert result.data["measures"][1][1, MEASURES.index("dc_share")] == 1


class TestNoise:
    def test_its_values_are_stated(self, rng: np.random.Generator) -> None:
        noise = [rng.normal(size=(300, 8, 8, 40)).astype(np.float32)]
        result = result_of(noise)
        value, stated = (result.data[name][1][0] for name in ("measures", "white_noise"))
        np.testing.assert_allclose(value[:-1], stated[:-1], atol=5e-3)
        assert result.attrs["null_level"] == pytest.approx(0.34657, abs=1e-5)
        assert result.data["radial"][1][0, 1:4] == pytest.approx(np.full(3, 0.34657), abs=0.04)


class TestBadInput:
    @pytest.mark.parametrize("shape", [(4, 1, 1, 8), (4, 1, 6, 8), (4, 8)])
    def test_a_layer_without_spatial_extent_is_named(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        maps = [rng.normal(size=(4, 6, 6, 3)), rng.normal(size=shape)]
        with pytest.raises(UsageError, match=r"net/blocks\.1 has no spatial extent") as error:
            partial_of(maps)
        assert "--taps" in str(error.value)

    def test_a_grid_of_2x2_is_enough(self, rng: np.random.Generator) -> None:
        assert check_grid(Layer("net", "last"), (9, 2, 2, 8)) == (2, 2)
        result = result_of([rng.normal(size=(3, 2, 2, 4))])
        assert result.coords["frequency"] == [0, 1]

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    @pytest.mark.parametrize("dtype", [np.float16, np.float32])
    def test_values_that_are_not_finite_name_their_layer(
        self, rng: np.random.Generator, bad: float, dtype: type[Any]
    ) -> None:
        maps = [x.astype(dtype) for x in some_maps(rng, 4)]
        maps[2][3, 1, 1, 1] = bad
        with pytest.raises(IntegrityError, match=r"net/blocks\.2 holds values that are not finite"):
            partial_of(maps)

    def test_layers_of_other_samples_are_refused(self, rng: np.random.Generator) -> None:
        maps = [rng.normal(size=(4, 6, 6, 3)), rng.normal(size=(5, 6, 6, 3))]
        with pytest.raises(IntegrityError, match=r"net/blocks\.1 has 5 samples where the unit has 4"):
            partial_of(maps)

    def test_no_image(self, rng: np.random.Generator) -> None:
        with pytest.raises(DataUnavailableError, match="no readable image"):
            result_of([x[:0] for x in some_maps(rng, 1)])


def test_it_is_registered_and_its_parameters_are_told_apart(rng: np.random.Generator) -> None:
    analysis: Analysis = ANALYSES["spectra"]()
    assert analysis.name == "spectra"
    assert analysis.as_dict()["epsilon"] == 1e-6
    assert not set(analysis.as_dict()) & set(analysis.summary_dict())
    json.dumps(result_of(some_maps(rng, 3)).attrs, allow_nan=False)


@pytest.mark.gpu
def test_cupy_input_gives_what_numpy_gives(rng: np.random.Generator) -> None:
    cupy = pytest.importorskip("cupy")
    if not cupy.cuda.is_available():
        pytest.skip("no CUDA device")
    maps = [x.astype(np.float16) for x in some_maps(rng, 6)]
    found, expected = partial_of([cupy.asarray(x) for x in maps]), partial_of(maps)
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, atol=1e-4)
