"""The analysis `similarity` and its kernel, against the definitions pair by pair and torch, both in float64."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cvbench.engine.analyses.base import Analysis, Layer
from cvbench.engine.analyses.similarity import kernel
from cvbench.engine.analyses.similarity.measure import Similarity, image_matrices, merge
from cvbench.engine.analyses.similarity.result import MEASURES, VERSIONS
from cvbench.engine.models.layouts import TapLayout
from cvbench.engine.models.views import apply_view
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import DataUnavailableError, IntegrityError, UsageError
from tests.engine.analyses.similarity_maps import analysis_of, layers_of, partial_of, result_of, smooth, value
from tests.engine.analyses.similarity_reference import length, matrices, measures
from tests.seeds import seeded


@pytest.fixture
def rng() -> np.random.Generator:
    return seeded(7)


class TestAgainstTheDefinitions:
    @pytest.mark.parametrize("block", [1, 200, 10**6])
    @pytest.mark.parametrize("centred", [False, True])
    def test_every_number_of_every_image(self, rng: np.random.Generator, centred: bool, block: int) -> None:
        # float64 in, float64 throughout: only the order of sums differs, so 1e-12.
        maps = smooth(rng, 3, 4, 6)
        units, defined = kernel.unit_features(maps, centred=centred)
        found = kernel.pair_statistics(units, (4, 6), matrix=True, block=block)
        lags, expected = kernel.lags(4, 6), matrices(maps, centred=centred)
        assert defined.all()
        assert found.matrix is not None
        upper = np.triu_indices(24)
        np.testing.assert_allclose(found.matrix[upper], expected.sum(axis=0)[upper], atol=1e-12)
        for i, matrix in enumerate(expected):
            one = measures(matrix, 4, 6)
            np.testing.assert_allclose(found.lags[i] @ lags.profile, one["profile"], atol=1e-12)
            assert found.lags[i] @ lags.off == pytest.approx(one["mean"], abs=1e-12)
            assert found.absolute[i] == pytest.approx(one["mean_absolute"], abs=1e-12)
            assert found.lags[i] @ (lags.near - lags.far) == pytest.approx(one["contrast"], abs=1e-12)
            by_lag = found.lags[i].reshape(4, 11)
            for (dy, dx), mean in one["correlogram"].items():
                if dy >= 0:
                    assert by_lag[dy, dx + 5] == pytest.approx(mean, abs=1e-12)

    def test_the_result_has_the_means_over_images(self, rng: np.random.Generator) -> None:
        maps = smooth(rng, 40, 4, 6)  # more than one group
        result = result_of([maps], pixels=48)
        for v, version in enumerate(VERSIONS):
            expected = matrices(maps, centred=bool(v))
            one = [measures(matrix, 4, 6) for matrix in expected]
            for name in MEASURES[v:]:  # the mean of centred ones is fixed by their definition: not printed
                assert value(result, name, version) == pytest.approx(np.nanmean([m[name] for m in one]), abs=1e-12)
            profile = np.mean([m["profile"] for m in one], axis=0)
            np.testing.assert_allclose(result.data["profile"][1][0, v], profile, atol=1e-12)
            np.testing.assert_allclose(
                result.data["matrix_0"][1][v], expected.mean(axis=0), atol=1e-7
            )  # kept as float32
            correlogram = result.data["correlogram_0"][1][v]
            assert correlogram.shape == (7, 11)
            for dy, dx in one[0]["correlogram"]:
                mean = np.mean([m["correlogram"][dy, dx] for m in one])
                assert correlogram[dy + 3, dx + 5] == pytest.approx(mean, abs=1e-12)

    @pytest.mark.parametrize("dtype", [np.float16, np.float32])
    def test_single_precision_is_near(self, rng: np.random.Generator, dtype: type[Any]) -> None:
        maps = (smooth(rng, 6, 7, 7, 64) + 20).astype(dtype)  # a mean feature that is most of the norm
        single, double = result_of([maps]), result_of([maps.astype(np.float64)])
        for version in VERSIONS:
            for name in MEASURES[version == "centred" :]:
                # 1e-5: float32 products of 64 channels; the mean is 20 times the rest, so centring costs a digit.
                # Where a profile is nearly flat, its crossing moves by more than its values.
                near = 1e-4 if name == "length" else 1e-5
                assert value(single, name, version) == pytest.approx(value(double, name, version), abs=near)

    def test_single_images(self, rng: np.random.Generator) -> None:
        maps = smooth(rng, 2, 3, 4)
        found = image_matrices(maps)
        assert found.shape == (2, 2, 12, 12)
        for v in range(2):
            np.testing.assert_allclose(found[:, v], matrices(maps, centred=bool(v)), atol=1e-7)


class TestProperties:
    @settings(max_examples=25, deadline=None)
    @given(st.integers(2, 5), st.integers(2, 6), st.integers(1, 4), st.integers(0, 2**31))
    def test_any_grid(self, height: int, width: int, channels: int, seed: int) -> None:
        maps = np.random.default_rng(seed).normal(size=(2, height, width, channels))
        maps[0, 0, 0] = 0  # a zero feature gives 0 everywhere
        result = result_of([maps])
        one = [measures(matrix, height, width) for matrix in matrices(maps, centred=False)]
        for name in ("mean", "mean_absolute", "contrast"):
            if name == "contrast" and min(height, width) < 3:
                assert np.isnan(value(result, name))  # two distances
                continue
            assert value(result, name) == pytest.approx(np.mean([m[name] for m in one]), abs=1e-10)
        assert result.data["matrix_0"][1][0].shape == (height * width,) * 2
        np.testing.assert_array_equal(result.data["matrix_0"][1], result.data["matrix_0"][1].swapaxes(1, 2))

    def test_tokens_with_a_loud_class_token_give_what_the_map_gives(self, rng: np.random.Generator) -> None:
        maps = smooth(rng, 3, 3, 5, 8).astype(np.float32)
        tokens = np.concatenate([np.full((3, 2, 8), 1e4, np.float32), maps.reshape(3, 15, 8)], axis=1)
        vit = TapLayout(3, 5, 8, prefix=2, kind="tokens")
        kept = apply_view("maps", torch.from_numpy(tokens), vit, torch.float32).numpy()
        conv = TapLayout(3, 5, 8)
        other = apply_view("maps", torch.from_numpy(maps).permute(0, 3, 1, 2), conv, torch.float32).numpy()
        np.testing.assert_array_equal(kept, other)
        one, two = result_of([kept]), result_of([other])
        for name, (_, values) in one.data.items():
            np.testing.assert_array_equal(values, two.data[name][1])

    def test_shuffled_positions_have_no_contrast_and_no_length(self, rng: np.random.Generator) -> None:
        maps = smooth(rng, 200, 8, 8, 6)
        flat = maps.reshape(200, 64, 6)
        shuffled = np.stack([image[rng.permutation(64)] for image in flat]).reshape(maps.shape)
        there, gone = result_of([maps]), result_of([shuffled])
        assert value(there, "contrast", "centred") > 0.3
        low, high = (gone.data[f"measures_{end}"][1][0, 1, MEASURES.index("contrast")] for end in ("low", "high"))
        assert 2 * low - high < 0 < 2 * high - low  # within three half-widths, six errors: one leaves it in 20 draws
        assert abs(value(gone, "contrast", "centred")) < 0.025
        # At one step nothing is left of the similarity: 1/e is met before it, as on a line from 1 to 0.
        assert value(gone, "length", "centred") == pytest.approx(1 - 1 / math.e, abs=0.02)

    def test_a_known_field_has_its_length(self) -> None:
        # cos(2 pi x / 16) features in quadrature: S = cos of the phase between columns, so the profile is known.
        x = np.arange(16) * 2 * np.pi / 64
        maps = np.stack([np.cos(x), np.sin(x)], axis=-1)[None, None].repeat(4, axis=1)
        result = result_of([maps])
        expected = measures(np.cos(np.subtract.outer(np.tile(x, 4), np.tile(x, 4))), 4, 16)
        assert value(result, "length") == pytest.approx(expected["length"], abs=1e-10)
        assert expected["length"] > 4

    def test_the_length_of_a_profile(self) -> None:
        profile = np.array([[1, 0.5, 0.2, 0], [1, 0.9, 0.8, 0.7], [1, 1, 1, 1.0], [1, 0.1, 0, 0]])
        found = kernel.correlation_length(profile, np.array([0, 0.0, 1, 0]))
        expected = [length(p, c) for p, c in zip(profile, (0, 0, 1, 0), strict=True)]
        np.testing.assert_allclose(found, expected)
        assert np.isnan(found).tolist() == [False, True, True, False]


class TestUnitsAndBatches:
    def test_any_split_into_units_gives_the_same(self, rng: np.random.Generator) -> None:
        maps = [smooth(rng, 50, 4, 6), smooth(rng, 50, 8, 6)]
        analysis = analysis_of(maps, resamples=100)
        whole = result_of(maps)
        parts = [partial_of(analysis, maps, cut) for cut in (slice(0, 5), slice(5, 5), slice(5, 41), slice(41, 50))]
        split = analysis.summarise(layers_of(maps), parts)
        for name, (dims, values) in whole.data.items():
            assert split.data[name][0] == dims
            np.testing.assert_allclose(split.data[name][1], values, rtol=1e-9, atol=1e-12, err_msg=name)
        assert split.attrs == whole.attrs

    def test_live_batches_give_the_partial_of_the_unit(self, rng: np.random.Generator) -> None:
        maps = [smooth(rng, 20, 4, 6).astype(np.float16), smooth(rng, 20, 8, 6).astype(np.float16)]
        analysis = analysis_of(maps)
        unit, whole = analysis.live(layers_of(maps)), partial_of(analysis, maps)
        for rows in (np.arange(0, 8), np.arange(8, 20)):
            unit.begin(rows)
            for index, layer in enumerate(maps):
                unit.add(index, layer[rows])
        found = unit.partial()
        assert set(found) == set(whole)
        for key, values in whole.items():
            np.testing.assert_allclose(found[key], values, rtol=1e-12, atol=1e-12, err_msg=key)
            if key.startswith(("scalars", "common")):  # of one image each: no sum that could be cut elsewhere
                np.testing.assert_array_equal(found[key], values)

    def test_merge_is_associative_and_changes_nothing_it_was_given(self, rng: np.random.Generator) -> None:
        maps = [smooth(rng, 9, 3, 4)]
        analysis = analysis_of(maps)
        parts = [partial_of(analysis, maps, slice(i, i + 3)) for i in (0, 3, 6)]
        before = [{key: values.copy() for key, values in part.items()} for part in parts]
        left, right = merge([merge(parts[:2]), parts[2]]), merge([parts[0], merge(parts[1:])])
        for key, values in left.items():
            np.testing.assert_allclose(values, right[key], rtol=1e-12, atol=1e-12)
        for part, old in zip(parts, before, strict=True):
            for key, values in old.items():
                np.testing.assert_array_equal(part[key], values)
        assert merge([]) == {}

    def test_partials_are_float64_and_small(self, rng: np.random.Generator) -> None:
        maps = [smooth(rng, 33, 4, 6).astype(np.float16)]
        partial = partial_of(analysis_of(maps), maps)
        assert {values.dtype for values in partial.values()} == {np.dtype(np.float64)}
        shapes = {key: values.shape for key, values in partial.items()}
        assert shapes == {
            "scalars/0": (33, 2, 4),
            "counts/0": (2,),
            "profile/0": (2, 2, 6),
            "lags/0": (2, 2, 44),
            "matrix/0": (2, 300),
            "grid/0": (3,),
        }


class TestUndefined:
    def test_images_without_direction_are_left_out_and_counted(self, rng: np.random.Generator) -> None:
        maps = smooth(rng, 40, 4, 5)
        rest = result_of([maps[3:]])
        maps[0] = 0
        maps[1:3] = 0.1  # equal everywhere: no direction once centred, and whatever the mean of 20 times 0.1 rounds to
        result = result_of([maps])
        undefined = result.data["n_undefined"][1][0]
        assert undefined[:, MEASURES.index("mean_absolute")].tolist() == [1, 3]
        assert result.data["profile_undefined"][1].tolist() == [[1, 3]]
        assert undefined[0, MEASURES.index("length")] >= 3  # raw cosines of equal features are all 1: a flat profile
        for name in MEASURES[1:]:
            assert value(result, name, "centred") == pytest.approx(value(rest, name, "centred"), abs=1e-12)
        np.testing.assert_allclose(result.data["profile"][1][0, 1], rest.data["profile"][1][0, 1], atol=1e-12)
        np.testing.assert_allclose(result.data["matrix_0"][1][1], rest.data["matrix_0"][1][1], atol=1e-6)

    def test_a_layer_of_constants_has_no_number_when_centred(self) -> None:
        result = result_of([np.full((4, 3, 3, 2), 2.0)])
        assert value(result, "mean") == pytest.approx(1)
        assert np.isnan(result.data["measures"][1][0, 1]).all()
        assert np.isnan(result.data["matrix_0"][1][1]).all()


class TestIntervals:
    def test_measures_and_profiles_have_intervals_over_images(self, rng: np.random.Generator) -> None:
        maps = smooth(rng, 200, 4, 4)
        result = result_of([maps])
        own = [measures(matrix, 4, 4) for matrix in matrices(maps, centred=False)]
        means = [m["mean"] for m in own]
        low, high = stats.t.interval(0.95, 199, np.mean(means), stats.sem(means))
        ends = (result.data[f"measures_{end}"][1][0, 0, 0] for end in ("low", "high"))
        assert next(ends) == pytest.approx(low, abs=0.1 * (high - low))  # and a correction for skewness
        assert next(ends) == pytest.approx(high, abs=0.1 * (high - low))
        student = stats.t.ppf(0.975, 199)
        errors = np.std([m["profile"] for m in own], axis=0, ddof=1) / math.sqrt(200)
        width = result.data["profile_high"][1][0, 0] - result.data["profile_low"][1][0, 0]
        np.testing.assert_allclose(width, 2 * student * errors, rtol=1e-9, atol=1e-12)
        lag = result.data["correlogram_0_high"][1][0] - result.data["correlogram_0"][1][0]
        spread = np.std([m["correlogram"][1, -2] for m in own], ddof=1) / math.sqrt(200)
        assert lag[3 + 1, 3 - 2] == pytest.approx(student * spread, rel=1e-9)

    def test_one_image_has_none(self, rng: np.random.Generator) -> None:
        result = result_of([smooth(rng, 1, 3, 3)])
        assert np.isnan(result.data["measures_low"][1]).all()
        assert np.isnan(result.data["profile_low"][1]).all()
        assert np.isfinite(result.data["measures"][1][0, 0, 0])
        assert "one image" in result.attrs["notes"][0]


class TestPixels:
    def test_the_stride_is_the_input_over_the_grid(self, rng: np.random.Generator) -> None:
        maps = [smooth(rng, 3, 6, 6), smooth(rng, 3, 4, 6)]
        layers = result_of(maps, pixels=48).attrs["layers"]
        assert layers[0]["stride"] == 8
        assert layers[1]["stride"] is None  # 12 pixels down, 8 across: a step has no one length
        assert layers[0] == {"backbone": "net0", "tap": "last", "grid": [6, 6], "channels": 5, "stride": 8.0}

    def test_unknown_inputs_give_none(self, rng: np.random.Generator) -> None:
        maps = smooth(rng, 3, 4, 4)
        layer = Layer("net0", "last")
        analysis = Similarity(intervals=IntervalOptions(resamples=20))
        result = analysis.summarise([layer], [analysis.measure_layer(0, layer, maps)])
        assert result.attrs["layers"][0]["stride"] is None


class TestBadInput:
    @pytest.mark.parametrize("shape", [(4, 1, 1, 8), (4, 1, 6, 8), (4, 8)])
    def test_a_layer_without_spatial_extent_is_named(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        maps = [smooth(rng, 4, 6, 6), rng.normal(size=shape)]
        with pytest.raises(UsageError, match="net1/last has no spatial extent") as error:
            partial_of(Similarity(), maps)
        assert "--taps" in str(error.value)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    @pytest.mark.parametrize("dtype", [np.float16, np.float32])
    def test_values_that_are_not_finite_name_their_layer(
        self, rng: np.random.Generator, bad: float, dtype: type[Any]
    ) -> None:
        maps = [smooth(rng, 4, 3, 4).astype(dtype), smooth(rng, 4, 3, 4).astype(dtype)]
        maps[1][3, 1, 1, 1] = bad
        with pytest.raises(IntegrityError, match="net1/last holds values that are not finite"):
            partial_of(Similarity(), maps)

    def test_a_norm_beyond_float32_is_not_taken_for_0(self) -> None:
        maps = np.ones((1, 2, 2, 3), np.float32)
        maps[0, 0, 0] = 1e30
        with pytest.raises(IntegrityError, match="not finite"):
            partial_of(Similarity(), [maps])

    def test_layers_of_other_samples_are_refused(self, rng: np.random.Generator) -> None:
        with pytest.raises(IntegrityError, match="net1/last has 5 samples where the unit has 4"):
            partial_of(Similarity(), [smooth(rng, 4, 3, 3), smooth(rng, 5, 3, 3)])

    def test_no_image(self, rng: np.random.Generator) -> None:
        with pytest.raises(DataUnavailableError, match="no readable image"):
            result_of([smooth(rng, 3, 3, 3)[:0]])


def test_its_parameters_are_told_apart(rng: np.random.Generator) -> None:
    analysis: Analysis = Similarity()
    assert analysis.name == "similarity"
    assert not set(analysis.as_dict()) & set(analysis.summary_dict())
    json.dumps(result_of([smooth(rng, 3, 3, 3), smooth(rng, 3, 4, 4)]).attrs, allow_nan=False)


@pytest.mark.gpu
def test_cupy_input_gives_what_numpy_gives(rng: np.random.Generator, cupy: Any) -> None:
    maps = [smooth(rng, 6, 4, 6).astype(np.float16), smooth(rng, 6, 8, 6).astype(np.float16)]
    analysis = analysis_of(maps)
    found, expected = partial_of(analysis, [cupy.asarray(x) for x in maps]), partial_of(analysis, maps)
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, atol=1e-4)
