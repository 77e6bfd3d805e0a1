"""The analysis `spectra`: labelled means and intervals over images, one axis for all grids, and what bad input gets."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from cvbench.engine.analyses.base import Analysis, Layer, Partial, Result
from cvbench.engine.analyses.spectra.kernel import half_plane
from cvbench.engine.analyses.spectra.measure import Spectra
from cvbench.engine.analyses.spectra.result import MEASURES, common_axis, interpolation
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import DataUnavailableError, IntegrityError, UsageError
from tests.seeds import seeded

Maps = Sequence[NDArray[Any]]
SHAPES = [(8, 8, 5), (7, 7, 6), (4, 6, 3)]


@pytest.fixture
def rng() -> np.random.Generator:
    return seeded(5)


def layers_of(count: int) -> list[Layer]:
    return [Layer("net", f"blocks.{i}") for i in range(count)]


def some_maps(rng: np.random.Generator, n: int) -> list[NDArray[Any]]:
    return [rng.normal(size=(n, *shape)).cumsum(axis=1) + 1 for shape in SHAPES]


def partial_of(maps: Maps, rows: slice = slice(None)) -> Partial:
    layers = layers_of(len(maps))
    held = dict(zip(layers, maps, strict=True))
    return Spectra().measure(layers, lambda layer: held[layer][rows], np.arange(len(maps[0][rows])))


def result_of(maps: Maps, inputs: Any = (), **options: Any) -> Result:
    analysis = Spectra(inputs, IntervalOptions(**{"resamples": 200, **options}))
    return analysis.summarise(layers_of(len(maps)), [partial_of(maps)])


def log_amplitude(maps: NDArray[Any]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.log(np.abs(np.fft.fft2(maps.astype(np.float64), axes=(1, 2))) + 1e-6).mean(axis=-1)
    return found


def test_partials_are_float64_and_only_measures_grow_with_the_images(rng: np.random.Generator) -> None:
    partial = partial_of([x.astype(np.float16) for x in some_maps(rng, 6)])
    assert {values.dtype for values in partial.values()} == {np.dtype(np.float64)}
    shapes = {key: values.shape for key, values in partial.items()}
    assert [shapes[f"profile/{i}"] for i in range(3)] == [(5,), (4,), (3,)]
    assert [shapes[f"products/{i}"] for i in range(3)] == [(5, 5), (4, 4), (3, 3)]
    assert [shapes[f"diagonal/{i}"] for i in range(3)] == [(2, 4), (2, 4), (2, 0)]
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
    spread = maps[1].var(axis=(1, 2), ddof=1).mean()
    assert result.data["measures"][1][1, MEASURES.index("variance")] == pytest.approx(spread, rel=1e-10)


def test_the_slope_is_the_least_squares_line_through_all_coefficients(rng: np.random.Generator) -> None:
    maps = rng.normal(size=(3, 5, 6, 2)).cumsum(axis=2)
    u, v = np.meshgrid(np.fft.fftfreq(5) * 2, np.fft.fftfreq(6) * 2, indexing="ij")
    rho = np.hypot(u, v)
    inside = (rho > 0) & (rho <= 1 + 1e-9)
    lines = [np.polyfit(np.log(rho[inside]), image[inside], 1)[0] for image in log_amplitude(maps)]
    found = result_of([maps]).data["measures"][1][0, MEASURES.index("slope")]
    assert found == pytest.approx(np.mean(lines), rel=1e-9)


def test_physical_and_notebook_axes(rng: np.random.Generator) -> None:
    result = result_of(some_maps(rng, 4), inputs=(("net", (64, 96)),))
    np.testing.assert_allclose(result.data["cycles_per_pixel"][1][0], np.arange(5) / 64)
    np.testing.assert_allclose(result.data["notebook_frequency"][1][1, :4], [0, 1 / 3, 2 / 3, 1])
    assert np.isnan(result.data["notebook_frequency"][1][2]).all()  # not square
    assert np.isnan(result_of(some_maps(rng, 4)).data["cycles_per_pixel"][1]).all()


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
        split = Spectra(intervals=IntervalOptions(resamples=200)).summarise(layers_of(3), parts)
        for name, (dims, values) in whole.data.items():
            assert split.data[name][0] == dims
            np.testing.assert_allclose(split.data[name][1], values, rtol=1e-12, atol=1e-12)
        assert split.attrs == whole.attrs


class TestIntervals:
    def test_those_of_curves_are_students_over_images(self, rng: np.random.Generator) -> None:
        maps = some_maps(rng, 200)
        result = result_of(maps, resamples=2000)
        value, low, high = (result.data[name][1] for name in ("profile", "profile_low", "profile_high"))
        np.testing.assert_array_equal(value[:, 0], 0)  # DC less itself
        assert (low[:, 1:] < value[:, 1:]).all()
        assert (value[:, 1:] < high[:, 1:]).all()
        own = np.concatenate([partial_of(maps, slice(i, i + 1))["profile/0"][None] for i in range(200)])
        error = own.std(axis=0, ddof=1) / math.sqrt(200)
        found = result.data["radial_high"][1][0, :5] - result.data["radial_low"][1][0, :5]
        np.testing.assert_allclose(found, 2 * stats.t.ppf(0.975, 199) * error, rtol=1e-6, atol=1e-12)

    def test_those_of_the_common_axis_know_how_bins_vary_together(self, rng: np.random.Generator) -> None:
        maps = some_maps(rng, 50)
        result = result_of(maps)
        common = np.array(result.coords["frequency"])
        to_common = interpolation(half_plane(7, 7).frequency, common)
        each = [partial_of(maps, slice(i, i + 1))["profile/1"] @ to_common for i in range(50)]
        error = np.std(each, axis=0, ddof=1) / math.sqrt(50)
        found = result.data["profile_high"][1][1] - result.data["profile"][1][1]
        np.testing.assert_allclose(found, stats.t.ppf(0.975, 49) * error, rtol=1e-5, atol=1e-12)

    def test_nothing_is_drawn_for_them(self, rng: np.random.Generator) -> None:
        maps = some_maps(rng, 40)
        first, other = (result_of(maps, seed=seed).data["measures_low"][1] for seed in (0, 1))
        np.testing.assert_array_equal(first, other)

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
        assert {name for name, count in undefined.items() if count == 2} == {
            "share_above_0.25",
            "share_above_0.5",
            "centroid",
        }
        assert set(undefined.values()) == {0, 2}
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


class TestDifferences:
    def test_the_deepest_layers_of_one_grid_on_the_same_images(self, rng: np.random.Generator) -> None:
        layers = [Layer("a", "0"), Layer("a", "1"), Layer("b", "0"), Layer("b", "1"), Layer("c", "0")]
        sides = (8, 4, 8, 8, 5)
        maps = {layer: rng.normal(size=(60, side, side, 3)) for layer, side in zip(layers, sides, strict=True)}
        maps[layers[3]] = maps[layers[0]].cumsum(axis=1)
        partial = Spectra().measure(layers, maps.__getitem__, np.arange(60))
        rows = Spectra(intervals=IntervalOptions(resamples=500)).summarise(layers, [partial]).attrs["differences"]
        assert {(r["backbone_a"], r["tap_a"], r["backbone_b"], r["tap_b"]) for r in rows} == {("a", "0", "b", "1")}
        found = {row["measure"]: row for row in rows}["share_above_0.5"]
        at = MEASURES.index("share_above_0.5")
        each = partial["measures/0"][:, at] - partial["measures/3"][:, at]
        assert found["value"] == pytest.approx(each.mean())
        low, high = stats.t.interval(0.95, 59, each.mean(), stats.sem(each))
        assert found["low"] == pytest.approx(low, abs=0.1 * (high - low))  # and a correction for skewness
        assert found["high"] == pytest.approx(high, abs=0.1 * (high - low))
        assert found["resolved"]

    def test_a_backbone_against_itself_is_nothing_and_not_resolved(self, rng: np.random.Generator) -> None:
        layers = [Layer("a", "0"), Layer("b", "0")]
        maps = rng.normal(size=(40, 6, 6, 3))
        partial = Spectra().measure(layers, lambda layer: maps, np.arange(40))
        for row in Spectra(intervals=IntervalOptions(resamples=100)).summarise(layers, [partial]).attrs["differences"]:
            # Every image has the same value, which tells nothing of a spread: no interval, and no difference.
            assert (row["value"], row["low"], row["high"], row["resolved"]) == (
                (None, None, None, None) if row["reason"] else (0, None, None, False)
            )


def test_live_batches_give_the_partial_of_the_unit(rng: np.random.Generator) -> None:
    maps = some_maps(rng, 20)
    whole = partial_of(maps)
    unit = Spectra().live(layers_of(3))
    for rows in (np.arange(8), np.arange(8, 8), np.arange(8, 20)):
        unit.begin(rows)
        for index, values in enumerate(maps):
            unit.add(index, values[rows])
    found = unit.partial()
    assert found.keys() == whole.keys()
    for key, values in whole.items():
        # float64 sums in another order; one may be near 0
        np.testing.assert_allclose(found[key], values, rtol=1e-12, atol=1e-11)


class TestNoise:
    def test_its_values_are_stated(self, rng: np.random.Generator) -> None:
        noise = [rng.normal(size=(300, 8, 8, 40)).astype(np.float32)]
        result = result_of(noise)
        value, stated = (result.data[name][1][0] for name in ("measures", "white_noise"))
        shares = slice(0, MEASURES.index("corners"))
        np.testing.assert_allclose(value[shares], stated[shares], atol=5e-3)
        assert value[MEASURES.index("slope")] == pytest.approx(stated[MEASURES.index("slope")], abs=0.02)
        assert result.attrs["null_level"] == pytest.approx(0.34657, abs=1e-5)
        assert result.data["radial"][1][0, 1:4] == pytest.approx(np.full(3, 0.34657), abs=0.065)  # 6 errors of DC


class TestBadInput:
    @pytest.mark.parametrize("shape", [(4, 1, 1, 8), (4, 1, 6, 8), (4, 8)])
    def test_a_layer_without_spatial_extent_is_named(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        maps = [rng.normal(size=(4, 6, 6, 3)), rng.normal(size=shape)]
        with pytest.raises(UsageError, match=r"net/blocks\.1 has no spatial extent") as error:
            partial_of(maps)
        assert "--taps" in str(error.value)

    def test_a_grid_of_2x2_is_enough(self, rng: np.random.Generator) -> None:
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


def test_its_parameters_are_told_apart(rng: np.random.Generator) -> None:
    analysis: Analysis = Spectra()
    assert analysis.name == "spectra"
    assert analysis.as_dict()["epsilon"] == 1e-6
    assert not set(analysis.as_dict()) & set(analysis.summary_dict())
    json.dumps(result_of(some_maps(rng, 3)).attrs, allow_nan=False)


@pytest.mark.gpu
def test_cupy_input_gives_what_numpy_gives(rng: np.random.Generator, cupy: Any) -> None:
    maps = [x.astype(np.float16) for x in some_maps(rng, 6)]
    found, expected = partial_of([cupy.asarray(x) for x in maps]), partial_of(maps)
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, atol=1e-4)
