"""Pixels of every mode become RGB: grey, palettes, transparency, inks, sixteen bits."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cvbench.engine.pictures import decode as module
from cvbench.engine.pictures.decode import decode
from tests.engine.pictures.small_files import chunk, encode, png, rejected, smooth, tiff


class TestModes:
    def test_grey(self) -> None:
        grey = smooth(9, 7, 1)[..., 0]
        decoded = decode(encode(Image.fromarray(grey), "PNG"))
        assert np.array_equal(decoded, np.stack([grey] * 3, axis=2))

    def test_one_bit(self) -> None:
        bits = np.indices((5, 11)).sum(axis=0) % 2 == 0
        decoded = decode(encode(Image.fromarray(bits), "PNG"))
        assert np.array_equal(decoded[..., 1], np.where(bits, 255, 0))

    def test_palette(self) -> None:
        index = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
        image = Image.fromarray(index, "P")
        image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
        expected = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]])[index]
        assert np.array_equal(decode(encode(image, "PNG")), expected)
        assert np.array_equal(decode(encode(image, "GIF")), expected)

    @pytest.mark.parametrize("transparency", [1, b"\xff\x00\xff"])
    def test_palette_with_a_transparent_entry(self, transparency: Any) -> None:
        index = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
        image = Image.fromarray(index, "P")
        image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
        expected = np.array([[10, 20, 30], [255, 255, 255], [70, 80, 90]])[index]
        assert np.array_equal(decode(encode(image, "PNG", transparency=transparency)), expected)

    def test_transparent_gif(self) -> None:
        image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
        image.putpalette([10, 20, 30, 40, 50, 60])
        assert decode(encode(image, "GIF", transparency=0)).tolist() == [[[255, 255, 255], [40, 50, 60]]]

    @pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
    def test_alpha_is_composited_on_white(self, form: str) -> None:
        rgba = np.concatenate([smooth(16, 16), np.zeros((16, 16, 1), np.uint8)], axis=2)
        rgba[..., 3] = np.arange(256, dtype=np.uint8).reshape(16, 16)
        options = {"lossless": True, "exact": True} if form == "WEBP" else {}
        decoded = decode(encode(Image.fromarray(rgba), form, **options))
        alpha = rgba[..., 3:] / 255.0
        expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
        assert np.abs(decoded - expected).max() <= 1.0
        assert np.array_equal(decoded[0, 0], [255, 255, 255])
        assert np.array_equal(decoded[15, 15], rgba[15, 15, :3])

    def test_grey_with_alpha(self) -> None:
        pixels = np.array([[[0, 0], [0, 255], [100, 51]]], np.uint8)
        decoded = decode(encode(Image.fromarray(pixels, "LA"), "PNG"))
        assert decoded[0, :, 0].tolist() == [255, 0, 224]  # 100 * 0.2 + 255 * 0.8

    @pytest.mark.parametrize(("mode", "key"), [("RGB", (10, 20, 30)), ("L", 10)])
    def test_a_transparent_colour_is_white(self, mode: str, key: Any) -> None:
        image = Image.new(mode, (2, 1), key)
        image.putpixel((1, 0), (1, 2, 3) if mode == "RGB" else 77)
        decoded = decode(encode(image, "PNG", transparency=key))
        assert decoded[0, 0].tolist() == [255, 255, 255]
        assert decoded[0, 1].tolist() == ([1, 2, 3] if mode == "RGB" else [77, 77, 77])

    @pytest.mark.parametrize(
        ("ink", "rgb"), [((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0), ((255, 255, 255, 0), 0), ((0, 0, 0, 128), 127)]
    )
    @pytest.mark.parametrize("form", ["JPEG", "TIFF"])
    def test_cmyk_no_ink_is_white(self, form: str, ink: tuple[int, ...], rgb: int) -> None:
        decoded = decode(encode(Image.new("CMYK", (16, 16), ink), form))
        assert np.abs(decoded.astype(int) - rgb).max() <= 2

    def test_cmyk_jpegs_are_taken_as_inverted_with_and_without_the_marker_of_adobe(self) -> None:
        payload = encode(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG")
        start = payload.index(b"\xff\xee\x00\x0eAdobe")
        plain = payload[:start] + payload[start + 16 :]
        assert b"Adobe" not in plain
        assert decode(payload).min() >= 253
        assert np.array_equal(decode(plain), decode(payload))

    def test_cmyk_colour(self) -> None:
        decoded = decode(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100))
        assert np.abs(decoded.astype(int) - (255, 0, 0)).max() <= 3

    @pytest.mark.parametrize("form", ["PNG", "TIFF"])
    def test_sixteen_bit_grey_is_scaled_not_clipped(self, form: str) -> None:
        values = np.array([[0, 128, 129, 257, 300, 25_700, 32_768, 65_278, 65_535]], np.uint16)
        decoded = decode(encode(Image.fromarray(values), form))
        assert decoded[0, :, 0].tolist() == np.round(values[0] / 257.0).astype(int).tolist()
        assert np.array_equal(decoded[..., 0], decoded[..., 2])

    @pytest.mark.parametrize("bits", [8, 16])
    def test_where_white_is_zero_it_is_inverted(self, bits: int) -> None:
        """TIFF's PhotometricInterpretation 0: the largest value is black."""
        data = {8: "0080ff04", 16: "00000080ffff0404"}[bits]
        payload = tiff(bits, bytes.fromhex(data), white_is_zero=True)
        assert decode(payload)[0, :, 0].tolist() == [255, 127, 0, 251]

    def test_grey_of_twelve_bits_where_white_is_zero_is_refused(self) -> None:
        assert rejected(tiff(12, bytes.fromhex("000800fff040"), white_is_zero=True)).reason == "corrupt"

    def test_grey_of_twelve_bits_has_its_own_white(self) -> None:
        """A TIFF written by hand: 4 x 1 pixels of 12 bits, 0, 2048, 4095 and 16."""
        assert decode(tiff(12, bytes.fromhex("000800fff010")))[0, :, 0].tolist() == [0, 128, 255, 1]

    def test_a_transparent_grey_of_sixteen_bits_is_white(self) -> None:
        values = np.array([[1000, 1001, 0]], np.uint16)
        payload = encode(Image.fromarray(values), "PNG")
        mark = chunk(b"tRNS", struct.pack(">H", 1000))
        at = payload.index(b"IDAT") - 4
        assert decode(payload[:at] + mark + payload[at:])[0, :, 0].tolist() == [255, 4, 0]

    def test_a_transparent_colour_of_sixteen_bits_is_white(self) -> None:
        rows = b"\0" + np.array([[0x1234] * 3, [0x5678] * 3], ">u2").tobytes()
        header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
        key = chunk(b"tRNS", struct.pack(">HHH", 0x1234, 0x1234, 0x1234))
        parts = chunk(b"IHDR", header) + key + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
        assert decode(b"\x89PNG\r\n\x1a\n" + parts)[0].tolist() == [[255] * 3, [0x56] * 3]

    def test_premultiplied_grey_is_composited_on_white(self) -> None:
        image = Image.new("La", (3, 2), (50, 100))
        expected = 50 + (255 - 100)  # premultiplied: the value is the light already
        decoded = module._to_rgb(image, b"", "viewer")
        assert np.abs(decoded.astype(int) - expected).max() <= 1

    def test_big_endian_sixteen_bit_tiff(self) -> None:
        values = np.array([[0, 25_700, 65_535]], np.uint16)
        buffer = io.BytesIO()
        image = Image.frombytes("I;16B", (3, 1), values.astype(">u2").tobytes())
        image.save(buffer, "TIFF")
        assert decode(buffer.getvalue())[0, :, 0].tolist() == [0, 100, 255]

    def test_sixteen_bit_rgb_keeps_the_high_byte(self) -> None:
        rows = b"\0" + np.array([[0, 25_700, 65_535]], ">u2").tobytes()
        payload = _sixteen_bit_rgb_png(rows)
        assert decode(payload).tolist() == [[[0, 100, 255]]]

    @pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("I", 70_000), ("I", -1)])
    def test_pixels_without_a_defined_white_are_refused(self, mode: str, value: Any) -> None:
        assert rejected(encode(Image.new(mode, (4, 4), value), "TIFF")).reason == "unsupported-mode"

    def test_an_icc_profile_changes_nothing(self) -> None:
        from PIL import ImageCms

        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
        pixels = smooth(8, 8)
        assert np.array_equal(decode(encode(Image.fromarray(pixels), "PNG", icc_profile=profile)), pixels)


def _sixteen_bit_rgb_png(rows: bytes) -> bytes:
    empty = png(1, 1, bit_depth=16)
    data = zlib.compress(rows)
    chunk = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    start = empty.index(b"\0\0\0\0IDAT")
    return empty[:start] + chunk + empty[start + 12 :]
