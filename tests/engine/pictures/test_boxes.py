"""Boxes follow the pixels: through the resize and crop that images take, and onto the cells of a grid."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cvbench.engine.pictures.boxes import cell_fractions, image_size, to_input
from cvbench.engine.pictures.decode import decode, fit
from cvbench.engine.pictures.geometry import Geometry
from cvbench.errors import DecodeError

GEOMETRIES = {
    "center": Geometry((32, 32), 40),
    "center, not square": Geometry((24, 40), (30, 50)),
    "squash": Geometry((32, 48), (32, 48), crop="squash"),
    "squash and crop": Geometry((32, 32), (40, 44), crop="squash"),
    "border": Geometry((32, 32), (32, 32), crop="border"),
    "padded": Geometry((41, 32), 32),
}


def box_of(height: int, width: int, box: tuple[float, float, float, float], geometry: Geometry) -> list[float]:
    found: list[float] = to_input(np.array([box]), np.array([[height, width]]), geometry)[0].tolist()
    return found


class TestToInput:
    @pytest.mark.parametrize("name", GEOMETRIES)
    @pytest.mark.parametrize(("height", "width"), [(80, 120), (120, 80), (64, 64), (90, 301)])
    def test_a_white_box_lands_where_it_is_said_to(self, name: str, height: int, width: int) -> None:
        geometry = GEOMETRIES[name]
        x, y, w, h = width // 3, height // 4, width // 3, height // 2
        image = np.zeros((height, width, 3), np.uint8)
        image[y : y + h, x : x + w] = 255
        seen = fit(image, geometry)[0] / 255.0
        x0, y0, x1, y1 = box_of(height, width, (x, y, w, h), geometry)
        # An antialiased resize keeps the sum of the light, so area and centre tell the edges to a fraction of a pixel.
        rows, columns = seen.max(axis=1), seen.max(axis=0)
        assert rows.sum() == pytest.approx(y1 - y0, abs=0.25)
        assert columns.sum() == pytest.approx(x1 - x0, abs=0.25)
        assert (rows * (np.arange(len(rows)) + 0.5)).sum() / rows.sum() == pytest.approx((y0 + y1) / 2, abs=0.25)
        assert (columns * (np.arange(len(columns)) + 0.5)).sum() / columns.sum() == pytest.approx(
            (x0 + x1) / 2, abs=0.25
        )

    def test_by_hand(self) -> None:
        # 375 x 500 -> 256 x 341 -> the middle 224 x 224: 16 rows and 58 columns go (58.5, half to even)
        found = box_of(375, 500, (100, 75, 200, 150), Geometry((224, 224), 256))
        expected = [100 * 341 / 500 - 58, 75 * 256 / 375 - 16, 300 * 341 / 500 - 58, 225 * 256 / 375 - 16]
        assert found == pytest.approx(expected)

    def test_what_sticks_out_is_clipped_and_what_is_gone_is_nan(self) -> None:
        geometry = Geometry((32, 32), 32)  # 32 x 96 -> the middle third
        assert box_of(32, 96, (20, -5, 30, 20), geometry) == [0, 0, 18, 15]
        assert np.isnan(box_of(32, 96, (0, 0, 32, 32), geometry)).all()  # it ends where the crop begins
        assert np.isnan(box_of(32, 96, (40, 4, 0, 9), geometry)).all()
        assert np.isnan(box_of(32, 96, (math.nan,) * 4, geometry)).all()

    def test_each_image_has_its_own_size(self) -> None:
        boxes, sizes = np.array([[0, 0, 10, 10], [0, 0, 10, 10.0]]), np.array([[10, 10], [20, 20]])
        found = to_input(boxes, sizes, Geometry((32, 32), 32))
        assert found.tolist() == [[0, 0, 32, 32], [0, 0, 16, 16]]
        assert to_input(np.empty((0, 4)), np.empty((0, 2)), Geometry((32, 32), 32)).shape == (0, 4)


class TestCellFractions:
    def test_cells_in_part(self) -> None:
        # Input 12 x 8 in 3 x 2 cells of 4 x 4: the box covers x 2..7, y 1..8.
        found = cell_fractions(np.array([[2.0, 1, 7, 8]]), (12, 8), (3, 2))
        assert found[0].tolist() == [[3 / 4 * 2 / 4, 3 / 4 * 3 / 4], [2 / 4, 3 / 4], [0, 0]]

    def test_the_whole_input_fills_every_cell(self) -> None:
        found = cell_fractions(np.array([[0.0, 0, 224, 224]]), (224, 224), (7, 7))
        np.testing.assert_allclose(found, 1, atol=1e-12)

    def test_a_missing_box_is_nan(self) -> None:
        assert np.isnan(cell_fractions(np.full((1, 4), np.nan), (8, 8), (2, 2))).all()

    @settings(max_examples=60, deadline=None)
    @given(
        st.tuples(*[st.floats(0, 1) for _ in range(4)]), st.integers(1, 15), st.integers(1, 15), st.integers(16, 300)
    )
    def test_the_mean_is_the_share_of_the_area(
        self, edges: tuple[float, ...], rows: int, columns: int, height: int
    ) -> None:
        width = height + 7
        (x0, x1), (y0, y1) = sorted(edges[:2]), sorted(edges[2:])
        box = np.array([[x0 * width, y0 * height, x1 * width, y1 * height]])
        found = cell_fractions(box, (height, width), (rows, columns))
        assert found.shape == (1, rows, columns)
        assert found.min() >= 0
        assert found.max() <= 1 + 1e-9
        assert found.mean() == pytest.approx((x1 - x0) * (y1 - y0), abs=1e-9)


class TestImageSize:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
    @pytest.mark.parametrize("orientation", [1, 3, 6, 8])
    def test_it_is_that_of_the_decoded_image(self, kind: str, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        Image.new("RGB", (30, 20)).save(buffer, kind, exif=exif)
        assert image_size(buffer.getvalue()) == decode(buffer.getvalue()).shape[:2]
        assert image_size(io.BytesIO(buffer.getvalue())) == decode(buffer.getvalue()).shape[:2]

    def test_pixels_are_measured_as_they_are(self) -> None:
        assert image_size(np.zeros((8, 5), np.uint8)) == (8, 5)

    def test_a_header_is_enough_and_no_header_is_refused(self) -> None:
        buffer = io.BytesIO()
        Image.new("RGB", (300, 200)).save(buffer, "JPEG")
        assert image_size(buffer.getvalue()[:700]) == (200, 300)
        with pytest.raises(DecodeError, match="the header of an image cannot be read"):
            image_size(b"no image")
