"""The analysis `maps` and its kernel: norms, components, outliers, and shares of boxes, against plain loops."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Analysis, Layer, Partial, Result
from cvbench.engine.analyses.maps import kernel
from cvbench.engine.analyses.maps.measure import OF_BOXES, ChannelMaps, InputBoxes
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import DataUnavailableError, IntegrityError, UsageError
from tests.seeds import seeded

Maps = Sequence[NDArray[Any]]
SIZE = (24, 48)  # of the input, pixels


@pytest.fixture
def rng() -> np.random.Generator:
    return seeded(3)


def layers_of(maps: Maps) -> list[Layer]:
    return [Layer("net", f"blocks.{i}") for i in range(len(maps))]


def partial_of(analysis: ChannelMaps, maps: Maps, rows: slice = slice(None), boxes: Any = None) -> Partial:
    held = dict(zip(layers_of(maps), maps, strict=True))
    inside = {} if boxes is None else {"net": InputBoxes(np.asarray(boxes, dtype=np.float64)[rows], SIZE)}
    return analysis.measure(list(held), lambda layer: held[layer][rows], np.arange(len(maps[0][rows])), inside)


def result_of(analysis: ChannelMaps, maps: Maps, boxes: Any = None) -> Result:
    return analysis.summarise(layers_of(maps), [partial_of(analysis, maps, boxes=boxes)])


# Boxes are handed to `measure`; the analysis knows their digest alone.
BOXED = ChannelMaps("digest", intervals=IntervalOptions(resamples=100))


def value(result: Result, measure: str, layer: int = 0) -> float:
    return float(result.data["measures"][1][layer, result.coords["measure"].index(measure)])


def undefined(result: Result, measure: str) -> int:
    return int(result.data["n_undefined"][1][0, result.coords["measure"].index(measure)])


class TestKinds:
    def test_each_is_its_formula(self, rng: np.random.Generator) -> None:
        maps = rng.normal(size=(2, 3, 4, 5)) - 0.3
        found = kernel.channel_maps(maps)
        assert found.shape == (2, 4, 3, 4)
        for i in range(2):
            for y in range(3):
                for x in range(4):
                    token = maps[i, y, x]
                    expected = [token.mean(), np.abs(token).mean(), np.sqrt((token**2).sum())]
                    np.testing.assert_allclose(found[i, :3, y, x], expected, atol=1e-12)

    def test_the_component_is_that_of_scikit_learn_up_to_its_sign(self, rng: np.random.Generator) -> None:
        from sklearn.decomposition import PCA

        maps = rng.normal(size=(1, 6, 4, 5)) * np.array([1, 5, 1, 2, 1])
        peer = PCA(1, svd_solver="full").fit(maps.reshape(24, 5))
        scores, loadings = peer.transform(maps.reshape(24, 5))[:, 0], peer.components_[0]
        sign = np.sign(loadings[np.abs(loadings).argmax()])
        np.testing.assert_allclose(kernel.channel_maps(maps)[0, 3].ravel(), sign * scores, atol=1e-10)

    def test_equal_positions_have_none(self) -> None:
        assert not kernel.channel_maps(np.full((1, 3, 3, 4), 0.1))[0, 3].any()

    def test_float16_norms_do_not_overflow(self) -> None:
        norms = kernel.channel_norm(np.full((1, 2, 2, 100), 60_000, np.float16))
        np.testing.assert_allclose(norms, 60_000 * 10, rtol=1e-3)


class TestOutliers:
    def test_a_loud_token_is_found_and_the_rest_is_not(self, rng: np.random.Generator) -> None:
        norms = rng.uniform(1, 2, size=(2, 6, 6))
        norms[0, 2, 3] = 40
        found = kernel.outliers(norms)
        assert np.argwhere(found).tolist() == [[0, 2, 3]]

    def test_the_threshold_is_median_and_mad(self) -> None:
        norms = np.arange(9, dtype=np.float64).reshape(1, 3, 3)  # median 4, MAD 2: the limit is 18.826
        for top, out in ((18.82, False), (18.83, True)):
            norms[0, 2, 2] = top
            assert kernel.outliers(norms)[0, 2, 2] == out

    def test_equal_norms_have_none(self) -> None:
        assert not kernel.outliers(np.full((1, 4, 4), 0.1)).any()


class TestBoxes:
    def test_a_map_that_is_its_own_box(self) -> None:
        # 4 x 4 cells of 6 x 12 pixels; the box is the left half.
        maps = np.zeros((1, 4, 4, 3))
        maps[:, :, :2] = 2
        result = result_of(BOXED, [maps], [[0, 0, 24, 24]])
        assert value(result, "foreground_share") == 1
        assert value(result, "contrast") == 1
        assert value(result, "box_share") == 0.5
        assert value(result, "foreground_excess") == 0.5

    def test_a_uniform_map_has_the_share_of_the_area(self) -> None:
        result = result_of(BOXED, [np.full((1, 3, 5, 4), 2.0)], [[3, 5, 20, 19]])
        assert value(result, "foreground_share") == pytest.approx(17 * 14 / (24 * 48), abs=1e-12)
        assert value(result, "foreground_excess") == pytest.approx(0, abs=1e-12)
        assert undefined(result, "contrast") == 1  # it has no range to be scaled to

    def test_any_box_against_the_upsampled_map(self, rng: np.random.Generator) -> None:
        maps = rng.normal(size=(5, 4, 6, 3))
        boxes = np.array([[2, 3, 40, 20], [0, 0, 5, 24], [13, 7, 14, 9], [0, 0, 47, 23], [30, 1, 48, 24]])
        found = partial_of(BOXED, [maps], boxes=boxes)["measures/0"]
        for i, (x0, y0, x1, y1) in enumerate(boxes):
            norm = np.sqrt((maps[i] ** 2).sum(axis=-1))
            pixels = np.kron(norm, np.ones((6, 8)))  # 24 x 48
            mask = np.zeros(SIZE, dtype=bool)
            mask[y0:y1, x0:x1] = True
            scaled = (pixels - pixels.min()) / (pixels.max() - pixels.min())
            share, area = pixels[mask].sum() / pixels.sum(), mask.mean()
            expected = [share, area, share - area, scaled[mask].mean() - scaled[~mask].mean()]
            np.testing.assert_allclose(found[i, 1:5], expected, atol=1e-12)

    def test_outliers_outside(self, rng: np.random.Generator) -> None:
        maps = np.abs(rng.uniform(1, 1.2, size=(3, 6, 6, 1)))
        maps[0, 0, 0] = maps[0, 5, 5] = 50
        maps[1, 5, 5] = 50
        result = result_of(BOXED, [maps], [[0, 0, 24, 12]] * 3)
        assert value(result, "outliers_outside") == pytest.approx((0.5 + 1) / 2)
        assert undefined(result, "outliers_outside") == 1  # the image without one
        assert value(result, "outliers_excess") == pytest.approx((0.5 + 1) / 2 - 0.75)  # the box: half by half
        assert undefined(result, "outliers_excess") == 1
        assert value(result, "outlier_rate") == pytest.approx(3 / 108)

    def test_images_without_a_box_are_left_out_and_counted(self, rng: np.random.Generator) -> None:
        maps = rng.normal(size=(4, 4, 4, 2))
        boxes = np.array([[0, 0, 20, 20], [np.nan] * 4, [4, 4, 40, 22], [0, 0, 48, 24.0]])
        result = result_of(BOXED, [maps], boxes)
        rest = result_of(BOXED, [maps[[0, 2, 3]]], boxes[[0, 2, 3]])
        assert undefined(result, "foreground_share") == 1
        assert undefined(result, "contrast") == 2  # nothing is outside of the last
        assert undefined(result, "outlier_rate") == 0
        assert value(result, "foreground_share") == pytest.approx(value(rest, "foreground_share"))

    def test_a_backbone_without_boxes_is_refused(self, rng: np.random.Generator) -> None:
        maps = rng.normal(size=(2, 3, 3, 2))
        with pytest.raises(UsageError, match="no boxes of this unit for net"):
            ChannelMaps("digest").measure(layers_of([maps]), lambda layer: maps, np.arange(2))


class TestUnits:
    def test_any_split_into_units_gives_the_same(self, rng: np.random.Generator) -> None:
        maps: Maps = [rng.normal(size=(90, 4, 6, 3)), rng.normal(size=(90, 2, 3, 4)).astype(np.float16)]
        corners = np.sort(rng.uniform(0, 24, size=(90, 2, 2)), axis=1)
        boxes = corners.reshape(90, 4)
        whole = result_of(BOXED, maps, boxes)
        parts = [partial_of(BOXED, maps, cut, boxes) for cut in (slice(0, 70), slice(70, 70), slice(70, 90))]
        split = BOXED.summarise(layers_of(maps), parts)
        for name, (_, values) in whole.data.items():
            np.testing.assert_array_equal(split.data[name][1], values)  # one row per image: nothing is summed before
        assert split.attrs == whole.attrs

    def test_without_boxes_there_is_the_rate_only(self, rng: np.random.Generator) -> None:
        result = result_of(ChannelMaps(intervals=IntervalOptions(resamples=50)), [rng.normal(size=(40, 5, 5, 3))])
        assert result.coords["measure"] == ["outlier_rate"]
        low, high = (result.data[f"measures_{end}"][1][0, 0] for end in ("low", "high"))
        assert low <= value(result, "outlier_rate") <= high


class TestCommonGrid:
    """Two backbones, 4 x 6 and 2 x 3 positions: norms averaged to the coarser grid, then subtracted image by image."""

    def both(self, fine: NDArray[Any], coarse: NDArray[Any], **options: Any) -> Result:
        held = {Layer("fine", "x"): fine, Layer("coarse", "x"): coarse}
        grids = {layer: (x.shape[1], x.shape[2]) for layer, x in held.items()}
        boxes = InputBoxes(np.tile([6.0, 0, 30, 12], (len(fine), 1)), SIZE)
        analysis = ChannelMaps.between(grids, "digest", intervals=IntervalOptions(resamples=500), **options)
        inside = {"fine": boxes, "coarse": boxes}
        partial = analysis.measure(list(held), held.__getitem__, np.arange(len(fine)), inside)
        return analysis.summarise(list(held), [partial])

    def test_norms_are_averaged_and_images_subtracted(self, rng: np.random.Generator) -> None:
        fine, coarse = rng.normal(size=(60, 4, 6, 3)), rng.normal(size=(60, 2, 3, 5))
        result = self.both(fine, coarse)
        assert (result.attrs["common_grid"], result.coords["pair"]) == ([2, 3], ["fine vs coarse"])
        norms = np.sqrt((fine**2).sum(axis=-1)).reshape(60, 2, 2, 3, 2).mean(axis=(2, 4))
        inside = np.array([[10 / 16, 14 / 16, 0], [0, 0, 0]]) * 12 / 12  # of cells 12 x 16 pixels
        shares = [(x * inside).sum(axis=(1, 2)) / x.sum(axis=(1, 2)) for x in (norms, np.linalg.norm(coarse, axis=-1))]
        at = result.coords["measure"].index("foreground_share")
        np.testing.assert_allclose(result.data["common"][1][:, at], [x.mean() for x in shares], atol=1e-12)
        difference = shares[0] - shares[1]
        assert result.data["difference"][1][0, at] == pytest.approx(difference.mean(), abs=1e-12)
        low, high = (result.data[f"difference_{end}"][1][0, at] for end in ("low", "high"))
        assert high - low == pytest.approx(2 * 1.96 * difference.std() / math.sqrt(60), rel=0.15)  # of 500 resamples

    def test_a_backbone_against_itself_is_exactly_0(self, rng: np.random.Generator) -> None:
        maps = rng.normal(size=(40, 3, 4, 2))
        result = self.both(maps, maps)
        for end in ("", "_low", "_high"):
            values = result.data[f"difference{end}"][1][0]
            np.testing.assert_array_equal(values[np.isfinite(values)], 0)

    def test_one_backbone_has_no_pair(self, rng: np.random.Generator) -> None:
        result = result_of(ChannelMaps.between({Layer("net", "blocks.0"): (3, 3)}), [rng.normal(size=(40, 3, 3, 2))])
        assert result.attrs["common_grid"] is None
        assert "difference" not in result.data

    def test_classes_are_resampled(self, rng: np.random.Generator) -> None:
        classes = np.arange(240) % 30
        coarse = rng.normal(size=(240, 2, 3, 20))
        coarse[:, 0] *= 1 + classes[:, None, None]  # the image's class decides what is in the box
        result = self.both(rng.normal(size=(240, 4, 6, 2)), coarse, classes=classes)
        at = result.coords["measure"].index("foreground_share")
        low, high = (result.data[f"measures_{end}"][1][1, at] for end in ("low", "high"))
        over = [result.data[f"measures_class_{end}"][1][1, at] for end in ("low", "high")]
        assert result.attrs["classes"] == 30
        assert over[1] - over[0] > 1.5 * (high - low)


class TestBadInput:
    @pytest.mark.parametrize("shape", [(4, 1, 1, 8), (4, 1, 6, 8), (4, 8)])
    def test_a_layer_without_spatial_extent_is_named(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        with pytest.raises(UsageError, match=r"net/blocks\.1 has no spatial extent"):
            partial_of(ChannelMaps(), [rng.normal(size=(4, 3, 3, 2)), rng.normal(size=shape)])

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_values_that_are_not_finite_name_their_layer(self, rng: np.random.Generator, bad: float) -> None:
        maps = rng.normal(size=(4, 3, 3, 2)).astype(np.float16)
        maps[2, 1, 1, 1] = bad
        with pytest.raises(IntegrityError, match=r"net/blocks\.0 holds values that are not finite"):
            partial_of(ChannelMaps(), [maps])

    def test_layers_of_other_samples_are_refused(self, rng: np.random.Generator) -> None:
        with pytest.raises(IntegrityError, match=r"net/blocks\.1 has 5 samples where the unit has 4"):
            partial_of(ChannelMaps(), [rng.normal(size=(4, 3, 3, 2)), rng.normal(size=(5, 3, 3, 2))])

    def test_no_image(self, rng: np.random.Generator) -> None:
        with pytest.raises(DataUnavailableError, match="no readable image"):
            result_of(ChannelMaps(), [rng.normal(size=(0, 3, 3, 2))])


def test_its_parameters_are_told_apart(rng: np.random.Generator) -> None:
    analysis: Analysis = ChannelMaps()
    assert analysis.name == "maps"
    assert not set(analysis.as_dict()) & set(analysis.summary_dict())
    result = result_of(BOXED, [rng.normal(size=(3, 3, 3, 2))], [[0, 0, 20, 20]] * 3)
    json.dumps(result.attrs, allow_nan=False)
    assert result.coords["measure"][1:] == [measure.name for measure in OF_BOXES]


@pytest.mark.gpu
def test_cupy_input_gives_what_numpy_gives(rng: np.random.Generator, cupy: Any) -> None:
    maps = [rng.normal(size=(6, 4, 6, 3)).astype(np.float16)]
    boxes = [[0, 0, 20, 20]] * 6
    found = partial_of(BOXED, [cupy.asarray(x) for x in maps], boxes=boxes)
    expected = partial_of(BOXED, maps, boxes=boxes)
    np.testing.assert_allclose(found["measures/0"], expected["measures/0"], atol=1e-6)
