"""fit() against the transforms that timm itself builds."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data.transforms_factory import create_transform

from cvbench.engine.pictures import geometry
from cvbench.engine.pictures.geometry import Geometry, fit
from cvbench.errors import UsageError
from tests.engine.pictures.small_files import smooth

Crop = Literal["center", "squash", "border"]

# (height, width): landscape, portrait, odd, smaller than the target, already the target, one pixel high, very long
SIZES = [(375, 500), (500, 375), (333, 251), (257, 256), (256, 256), (224, 224), (97, 61), (8, 8), (1, 7), (64, 1500)]


def by_timm(image: NDArray[np.uint8], size: tuple[int, int], crop_pct: float, crop: str, how: str) -> NDArray[Any]:
    """(3, h, w) uint8 by timm's evaluation transform, without the normalisation."""
    transform = create_transform(
        (3, *size), crop_pct=crop_pct, crop_mode=crop, interpolation=how, normalize=False, mean=(0.4, 0.5, 0.6)
    )
    return np.asarray(transform(Image.fromarray(image)).numpy())


def settings(size: tuple[int, int], crop_pct: float, crop: Crop, how: Any, decoder: Any) -> Geometry:
    edges = (math.floor(size[0] / crop_pct), math.floor(size[1] / crop_pct))
    fill = tuple(round(255 * v) for v in (0.4, 0.5, 0.6)) if crop == "border" else (0, 0, 0)
    resize = edges[0] if size[0] == size[1] else edges
    return Geometry(size, resize, crop=crop, interpolation=how, decoder=decoder, fill=fill)  # type: ignore[arg-type]


def photo(height: int, width: int) -> NDArray[np.uint8]:
    """Smooth shapes with grain and a hard edge."""
    grain = np.random.default_rng(height * 10_000 + width).normal(0, 12, (height, width, 3))
    image = smooth(height, width).astype(float) + grain
    image[:, width // 2 :] *= 0.4
    return image.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("crop", ["center", "squash", "border"])
@pytest.mark.parametrize("how", ["bicubic", "bilinear"])
def test_pil_path_is_byte_for_byte_timms(size: tuple[int, int], crop: Crop, how: str) -> None:
    image = photo(*size)
    for target, crop_pct in (((224, 224), 0.875), ((64, 64), 1.0), ((64, 96), 0.9)):
        expected = by_timm(image, target, crop_pct, crop, how)
        fitted = fit(image, settings(target, crop_pct, crop, how, "pil"))
        assert np.array_equal(fitted, expected)
        assert fitted.flags.c_contiguous


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("crop", ["center", "squash", "border"])
@pytest.mark.parametrize("how", ["bicubic", "bilinear"])
def test_fast_path_is_within_rounding_of_pil(size: tuple[int, int], crop: Crop, how: str) -> None:
    image = photo(*size)
    for target, crop_pct in (((224, 224), 0.875), ((64, 96), 0.9)):
        expected = by_timm(image, target, crop_pct, crop, how).astype(int)
        fitted = fit(image, settings(target, crop_pct, crop, how, "fast"))
        difference = np.abs(fitted - expected)
        swapped = crop == "squash" and size[0] > size[1]  # Pillow 13 may filter the columns of these first
        assert difference.mean() < (0.3 if swapped else 0.02)
        assert difference.max() <= (8 if swapped else 2)  # each pass rounds, and clips what overshoots at an edge
        assert fitted.flags.c_contiguous
        assert fitted.dtype == np.uint8


@pytest.mark.parametrize("decoder", ["fast", "pil"])
def test_nearest_takes_only_values_that_are_there(decoder: Any) -> None:
    image = np.random.default_rng(0).choice([0, 90, 255], (50, 70, 3)).astype(np.uint8)
    geometry_ = Geometry((32, 32), 40, interpolation="nearest", decoder=decoder)
    fitted = fit(image, geometry_)
    assert set(np.unique(fitted)) <= {0, 90, 255}
    assert np.array_equal(fitted, by_timm(image, (32, 32), 0.8, "center", "nearest"))


@pytest.mark.parametrize("decoder", ["fast", "pil"])
def test_an_image_of_the_right_size_is_untouched(decoder: Any) -> None:
    image = photo(64, 64)
    assert np.array_equal(fit(image, Geometry((64, 64), 64, decoder=decoder)), image.transpose(2, 0, 1))


@pytest.mark.parametrize("decoder", ["fast", "pil"])
def test_the_input_is_not_changed_and_may_be_read_only_or_a_view(decoder: Any) -> None:
    image = photo(90, 120)
    before = image.copy()
    image.flags.writeable = False
    geometry_ = Geometry((64, 64), 73, decoder=decoder)
    plain = fit(image, geometry_)
    assert np.array_equal(image, before)
    assert np.array_equal(fit(image[::-1], geometry_), fit(image[::-1].copy(), geometry_))
    plain[:] = 0
    assert np.array_equal(image, before)


@pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 1), (3, 40_000)])
@pytest.mark.parametrize("decoder", ["fast", "pil"])
def test_a_thin_strip_does_not_need_gigabytes(shape: tuple[int, int], decoder: Any) -> None:
    fitted = fit(photo(*shape), Geometry((224, 224), 256, decoder=decoder))
    assert fitted.shape == (3, 224, 224)


@pytest.mark.parametrize("shape", [(40, 300), (300, 40), (31, 57), (5, 90)])
@pytest.mark.parametrize("crop", ["center", "squash", "border"])
def test_resampling_only_the_window_is_the_same(
    shape: tuple[int, int], crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = photo(*shape)
    geometry_ = settings((64, 64), 0.875, crop, "bicubic", "pil")
    whole = fit(image, geometry_).astype(int)
    monkeypatch.setattr(geometry, "MAX_PIXELS", 0)
    window = fit(image, geometry_)
    assert np.abs(window - whole).max() <= 8  # which pass is first depends on the proportions, see above
    assert np.abs(window - whole).mean() < 0.3


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": (0, 64), "resize": 64},
        {"size": (64, 64), "resize": 0},
        {"size": (64, 64), "resize": (64, -1)},
        {"size": (64, 64), "resize": 64, "crop": "centre"},
        {"size": (64, 64), "resize": 64, "interpolation": "lanczos"},
        {"size": (64, 64), "resize": 64, "decoder": "gpu"},
    ],
)
def test_wrong_settings_are_refused(arguments: Any) -> None:
    with pytest.raises(UsageError):
        Geometry(**arguments)


def test_threads_fit_as_one_does() -> None:
    images = [photo(100 + k, 140 - k) for k in range(24)]
    geometry_ = Geometry((64, 64), 73)
    expected = [fit(image, geometry_) for image in images]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(4) as pool:
            fitted = list(pool.map(lambda image: fit(image, geometry_), images))
    finally:
        torch.set_num_threads(before)
    assert all(map(np.array_equal, fitted, expected))
