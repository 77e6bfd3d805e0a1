"""Labels of cells from masks: against fractions summed pixel by pixel, and against the images' own way to the input."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from cvbench.engine.pictures.geometry import Geometry, fit
from cvbench.engine.pictures.masks import cell_shares, check_mask, object_cells, object_pixels
from cvbench.errors import DecodeError, IntegrityError


def reference(mask: NDArray[np.bool_], geometry: Geometry, grid: tuple[int, int]) -> list[list[Fraction]]:
    """The share of each cell, exactly: the rectangle of every object pixel cut with that of the cell."""
    axes = []
    resized = geometry.resized(*mask.shape)
    for own, large, kept, cells in zip(mask.shape, resized, geometry.size, grid, strict=True):
        start = round((large - kept) / 2) if large >= kept else -((kept - large) // 2)
        scale = Fraction(own, large)
        axes.append([(start + Fraction(kept * c, cells)) * scale for c in range(cells + 1)])
    found = []
    for top, bottom in zip(axes[0], axes[0][1:], strict=False):
        line = []
        for left, right in zip(axes[1], axes[1][1:], strict=False):
            area = Fraction(0)
            for y, x in np.argwhere(mask).tolist():
                down = max(Fraction(0), min(bottom, Fraction(y + 1)) - max(top, Fraction(y)))
                across = max(Fraction(0), min(right, Fraction(x + 1)) - max(left, Fraction(x)))
                area += down * across
            line.append(area / ((bottom - top) * (right - left)))
        found.append(line)
    return found


@given(
    shape=st.tuples(st.integers(3, 14), st.integers(3, 14)),
    resize=st.one_of(st.integers(4, 16), st.tuples(st.integers(4, 16), st.integers(4, 16))),
    size=st.tuples(st.integers(3, 12), st.integers(3, 12)),
    crop=st.sampled_from(["center", "squash", "border"]),
    grid=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_shares_are_those_of_every_pixel(
    shape: tuple[int, int], resize: Any, size: tuple[int, int], crop: Any, grid: tuple[int, int], seed: int
) -> None:
    mask = np.random.default_rng(seed).random(shape) < 0.4
    geometry = Geometry(size, size if crop == "squash" else resize, crop)
    expected = reference(mask, geometry, grid)
    np.testing.assert_allclose(cell_shares(mask, geometry, grid), np.array(expected, dtype=np.float64), atol=1e-12)
    cells = object_cells(mask, geometry, grid)
    for found, share in zip(cells.ravel().tolist(), (one for line in expected for one in line), strict=True):
        assert found == (share > Fraction(1, 2)), "a tie is the background's"


@pytest.mark.parametrize(
    ("geometry", "shape"),
    [
        (Geometry((32, 32), 48, "center", "nearest"), (12, 16)),  # 48 x 64, four times as large
        (Geometry((24, 40), (24, 40), "squash", "nearest"), (12, 20)),
        (Geometry((48, 48), 48, "border", "nearest"), (12, 16)),  # 36 x 48, padded above and below
        (Geometry((40, 40), 20, "inner", "nearest"), (32, 30)),  # cut first, then twice as large
        (Geometry((40, 40), 20, "inner", "nearest"), (32, 16)),  # padded at both sides
    ],
)
@pytest.mark.parametrize("rows", [4, 8])
def test_a_mask_goes_the_way_of_its_image(geometry: Geometry, shape: tuple[int, int], rows: int) -> None:
    """Enlarged by whole factors with nearest neighbours no pixel is mixed: the input's pixels can be counted."""
    mask = np.random.default_rng(3).random(shape) < 0.5
    seen = fit(np.repeat(mask[:, :, None].astype(np.uint8), 3, axis=2), geometry)[0].astype(np.float64)
    height, width = geometry.size
    counted = seen.reshape(rows, height // rows, rows, width // rows).mean(axis=(1, 3))
    np.testing.assert_allclose(cell_shares(mask, geometry, (rows, rows)), counted, atol=1e-12)


def test_a_tie_but_for_rounding_is_the_background() -> None:
    mask = np.zeros((6, 6), dtype=np.bool_)
    mask[:, ::2] = True
    for side in (1, 3):  # every cell is covered by half
        assert not object_cells(mask, Geometry((7, 7), 7), (side, side)).any()
    mask[0, 1] = True
    assert object_cells(mask, Geometry((7, 7), 7), (1, 1)).all()


def encoded(pixels: NDArray[Any], form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def test_pictures_of_every_kind_say_the_same() -> None:
    mask = np.random.default_rng(0).random((20, 30)) < 0.3
    mask = np.kron(mask, np.ones((8, 8), dtype=np.bool_))  # blocks that a JPEG keeps
    for most in (1, 2, 200, 255):
        np.testing.assert_array_equal(object_pixels(encoded(mask.astype(np.uint8) * np.uint8(most))), mask)
    np.testing.assert_array_equal(object_pixels(encoded(mask)), mask, "1 bit")
    np.testing.assert_array_equal(object_pixels(encoded(mask.astype(np.uint8) * np.uint8(255), "JPEG")), mask)
    red = np.zeros((*mask.shape, 3), dtype=np.uint8)
    red[mask, 0] = 128
    np.testing.assert_array_equal(object_pixels(encoded(red)), mask)
    assert not object_pixels(encoded(np.zeros((4, 4), dtype=np.uint8))).any()
    assert object_pixels(mask) is mask
    with pytest.raises(DecodeError):
        object_pixels(b"no picture")


def test_shares_of_annotators_are_cut_at_the_half() -> None:
    shares = np.array([[0, 51, 102, 153, 204, 255]], dtype=np.uint8)
    assert object_pixels(encoded(shares)).tolist() == [[False, False, False, True, True, True]]


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(IntegrityError, match="a mask has 3 x 2 pixels, its image 2 x 3"):
        check_mask(np.zeros((2, 3), dtype=np.bool_), (3, 2), "birds.csv")
