"""Transforms against torchvision, PIL and NumPy by hand, on images that are not square."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

from cvbench.engine.pictures import geometry as module
from cvbench.engine.pictures.geometry import Geometry, fit
from cvbench.engine.pictures.transforms import Transform, render, shifted_crop
from cvbench.errors import UnknownNameError, UsageError
from tests.engine.pictures.test_geometry import photo

SIZES = [(375, 500), (500, 375), (300, 300), (97, 61), (40, 300)]
PIL = Geometry((224, 224), 256, interpolation="bilinear", decoder="pil")
FAST = Geometry((224, 224), 256)
IDENTITIES: list[Transform | None] = [None, ("scale", {"factor": 1.0}), ("shift-frame", {"x": 0, "y": 0})]


def sizes(function: Any) -> Any:
    return pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))(function)


@sizes
@pytest.mark.parametrize("factor", [0.5, 1, 1.25, 1.5, 2, 3])
def test_scale_is_a_larger_resize_before_the_same_crop(size: tuple[int, int], factor: float) -> None:
    image = photo(*size)
    reference = transforms.Compose([transforms.Resize(int(factor * 256)), transforms.CenterCrop(224)])
    expected = np.asarray(reference(Image.fromarray(image))).transpose(2, 0, 1)
    assert np.array_equal(render(image, PIL, ("scale", {"factor": factor})), expected)


def by_hand(image: NDArray[np.uint8], shift: int) -> NDArray[Any]:
    """Section by section as the study describes it; PIL's crop fills with black beyond the image."""
    height, width = image.shape[:2]
    side = int(224 * min(width, height) / 256)
    if width > height:
        top = int((256 - 224) / 2 * height / 256)
        left = int(((width / height * 256) - 224) / 2 * height / 256 + shift)
    else:
        top = int(((height / width * 256) - 224) / 2 * width / 256 + shift)
        left = int((256 - 224) / 2 * width / 256)
    crop = Image.fromarray(image).crop((left, top, left + side, top + side))
    return np.asarray(crop.resize((224, 224), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


@sizes
@pytest.mark.parametrize("shift", [0, 5, 30, 75, 100, -20, 4000])
def test_shift_crops_aside_in_the_original_image(size: tuple[int, int], shift: int) -> None:
    image = photo(*size)
    found = render(image, PIL, ("shift", {"pixels": shift}))
    assert np.array_equal(found, by_hand(image, shift))
    assert found.flags.c_contiguous


def test_the_worked_example_of_the_study() -> None:
    top, left, side = shifted_crop(375, 500, PIL, 100)
    assert (top, left, side) == (23, 185, 328)
    assert left + side - 500 == 13  # padded columns


def test_shift_zero_is_not_the_untransformed_image_but_near_it() -> None:
    image = photo(375, 500)
    found, plain = (render(image, PIL, t).astype(int) for t in (("shift", {"pixels": 0}), None))
    assert 0 < np.abs(found - plain).mean() < 12  # the same window up to a pixel, resampled on another grid


@sizes
@pytest.mark.parametrize(("x", "y"), [(8, 0), (0, -13), (30, 75), (-224, 5), (5000, 0)])
def test_shift_in_the_frame_moves_the_crop_after_the_resize(size: tuple[int, int], x: int, y: int) -> None:
    image = photo(*size)
    resized = np.asarray(transforms.Resize(256)(Image.fromarray(image)))
    around = 6000
    canvas = np.pad(resized, ((around, around), (around, around), (0, 0)))
    top = around + round((resized.shape[0] - 224) / 2) + y
    left = around + round((resized.shape[1] - 224) / 2) + x
    expected = canvas[top : top + 224, left : left + 224].transpose(2, 0, 1)
    assert np.array_equal(render(image, PIL, ("shift-frame", {"x": x, "y": y})), expected)


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-9, 1), (40, 0)])
def test_an_image_smaller_than_the_crop_moves_on_its_padding(shift: tuple[int, int]) -> None:
    image = photo(11, 6)
    crop = Geometry((16, 17), (11, 6), crop="squash", fill=(7, 8, 9))
    canvas = np.empty((216, 217, 3), np.uint8)
    canvas[:] = (7, 8, 9)
    canvas[102:113, 105:111] = image  # torchvision pads (5 // 2, 11 // 2) before
    expected = canvas[100 + shift[0] : 116 + shift[0], 100 + shift[1] : 117 + shift[1]].transpose(2, 0, 1)
    assert np.array_equal(fit(image, crop, shift), expected)


@sizes
@pytest.mark.parametrize("geometry", [PIL, FAST, Geometry((64, 96), (64, 96), crop="squash")])
def test_identities_give_the_bytes_of_no_transform(size: tuple[int, int], geometry: Geometry) -> None:
    image = photo(*size)
    plain = fit(image, geometry)
    for transform in IDENTITIES:
        assert np.array_equal(render(image, geometry, transform), plain)


def test_both_decoders_agree() -> None:
    image, pil = photo(375, 500), Geometry((224, 224), 256, decoder="pil")
    moves: list[Transform] = [("scale", {"factor": 1.5}), ("shift", {"pixels": 30}), ("shift-frame", {"x": 9, "y": -4})]
    for transform in moves:
        difference = np.abs(render(image, FAST, transform).astype(int) - render(image, pil, transform))
        assert difference.mean() < 0.02  # the tolerance of the resize itself, see test_geometry
        assert difference.max() <= 2


def test_a_strip_that_is_resampled_in_its_window_moves_too(monkeypatch: pytest.MonkeyPatch) -> None:
    image, pil = photo(40, 300), Geometry((64, 64), 73, decoder="pil")
    shifts = ((4, -30), (0, 400), (-70, 0))
    expected = [fit(image, pil, shift).astype(int) for shift in shifts]
    monkeypatch.setattr(module, "MAX_PIXELS", 0)
    for shift, whole in zip(shifts, expected, strict=True):
        assert np.abs(fit(image, pil, shift) - whole).mean() < 0.3  # box of float32, as without a shift


def test_what_cannot_be_done_is_refused() -> None:
    image = photo(40, 50)
    with pytest.raises(UnknownNameError, match=r"unknown transform 'scales'\ndid you mean: scale\?"):
        render(image, PIL, ("scales", {"factor": 1}))
    squashed = Geometry((224, 224), (224, 224), crop="squash")
    with pytest.raises(UsageError, match=r"square crop around the centre[\s\S]*shift-frame"):
        render(image, squashed, ("shift", {"pixels": 3}))
