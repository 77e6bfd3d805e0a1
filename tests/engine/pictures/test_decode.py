"""Every rule of engine.pictures.decode on a real small file."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from cvbench.engine.pictures import decode as module
from cvbench.engine.pictures.decode import FORMATS, REASONS, decode
from cvbench.engine.pictures.room import ThreadRoom
from cvbench.engine.pictures.scans import count_scans
from cvbench.errors import DecodeError


def smooth(height: int, width: int, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """A picture without hard edges, (H, W, C) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    planes = [
        127.5 + 127.5 * np.sin(y * a / height + x * b / width + c) for a, b, c in rng.uniform(1, 6, (channels, 3))
    ]
    return np.stack(planes, axis=2).astype(np.uint8)


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def rejected(payload: Any) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(payload)
    assert caught.value.reason in REASONS
    return caught.value


def png(width: int, height: int, bit_depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that declares a size and holds no pixels: 57 bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def tiff(bits: int, data: bytes, white_is_zero: bool = False) -> bytes:
    """A little-endian grey TIFF of 4 x 1 pixels."""
    tags = [(256, 4), (257, 1), (258, bits), (259, 1), (262, 0 if white_is_zero else 1), (273, 8), (277, 1), (278, 1)]
    tags.append((279, len(data)))
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


class TestFormats:
    @pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP"])
    def test_lossless(self, form: str) -> None:
        pixels = smooth(13, 21)
        options = {"lossless": True, "exact": True} if form == "WEBP" else {}
        decoded = decode(encode(Image.fromarray(pixels), form, **options))
        assert np.array_equal(decoded, pixels)
        assert decoded.flags.c_contiguous

    @pytest.mark.parametrize("options", [{"quality": 95}, {"quality": 95, "progressive": True}])
    def test_jpeg(self, options: dict[str, Any]) -> None:
        pixels = smooth(40, 56)
        decoded = decode(encode(Image.fromarray(pixels), "JPEG", **options))
        assert decoded.shape == pixels.shape
        assert np.abs(decoded.astype(int) - pixels).mean() < 2

    def test_gif(self) -> None:
        pixels = np.zeros((6, 8, 3), np.uint8)
        pixels[:, 4:] = (255, 0, 51)
        assert np.array_equal(decode(encode(Image.fromarray(pixels), "GIF")), pixels)

    @pytest.mark.parametrize(
        ("payload", "name"),
        [
            (b"\0\0\0\x20ftypavif" + b"\0" * 40, "AVIF"),
            (b"\0\0\0\x18ftypheic" + b"\0" * 40, "HEIF"),
            (b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 40, "JPEG 2000"),
            (b"\xff\x4f\xff\x51" + b"\0" * 40, "JPEG 2000"),
            (b"\xff\x0a" + b"\0" * 40, "JPEG XL"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
        ],
    )
    def test_a_format_that_is_not_decoded_is_called_by_its_name(self, payload: bytes, name: str) -> None:
        """It may have the name of another: photo.jpg."""
        error = rejected(payload)
        assert error.reason == "not-an-image"
        assert f"it is {name}" in error.what

    @pytest.mark.parametrize("form", ["AVIF", "JPEG2000"])
    def test_formats_whose_headers_bound_no_memory_are_not_decoded(self, form: str) -> None:
        """Where Pillow can: 16 x 16 pixels by the container of the AVIF, 4,000 x 4,000 by its stream."""
        Image.init()
        if form not in Image.SAVE:
            pytest.skip(f"this Pillow writes no {form}")
        payload = encode(Image.new("RGB", (4_000, 4_000) if form == "AVIF" else (16, 16), "red"), form)
        place = payload.find(b"ispe") + 8
        if form == "AVIF":
            payload = payload[:place] + struct.pack(">II", 16, 16) + payload[place + 8 :]
            with Image.open(io.BytesIO(payload)) as image:
                assert image.size == (16, 16), "what a check of the header would see"
        assert rejected(payload).reason == "not-an-image"

    @pytest.mark.parametrize("form", ["PCX", "TGA", "ICO", "EPS", "SGI"])
    def test_other_formats_are_no_images_to_us(self, form: str) -> None:
        payload = encode(Image.fromarray(smooth(16, 16)), form)
        assert rejected(payload).reason == "not-an-image"

    @pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1)])
    def test_extreme_shapes(self, size: tuple[int, int]) -> None:
        pixels = smooth(*size)
        assert np.array_equal(decode(encode(Image.fromarray(pixels), "PNG")), pixels)

    @pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
    def test_of_several_frames_the_first(self, form: str) -> None:
        frames = [Image.new("RGB", (8, 6), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
        options = {"lossless": True} if form == "WEBP" else {}
        payload = encode(frames[0], form, save_all=True, append_images=frames[1:], **options)
        assert getattr(Image.open(io.BytesIO(payload)), "n_frames", 1) == 3
        assert np.array_equal(decode(payload), np.full((6, 8, 3), (255, 0, 0), np.uint8))

    def test_a_camera_jpeg_with_a_second_picture(self) -> None:
        first, second = Image.new("RGB", (16, 16), (200, 30, 30)), Image.new("RGB", (16, 16), (30, 200, 30))
        decoded = decode(encode(first, "MPO", save_all=True, append_images=[second]))
        assert np.abs(decoded.astype(int) - (200, 30, 30)).max() <= 3


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
        mark = _chunk(b"tRNS", struct.pack(">H", 1000))
        at = payload.index(b"IDAT") - 4
        assert decode(payload[:at] + mark + payload[at:])[0, :, 0].tolist() == [255, 4, 0]

    def test_a_transparent_colour_of_sixteen_bits_is_white(self) -> None:
        rows = b"\0" + np.array([[0x1234] * 3, [0x5678] * 3], ">u2").tobytes()
        header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
        key = _chunk(b"tRNS", struct.pack(">HHH", 0x1234, 0x1234, 0x1234))
        parts = _chunk(b"IHDR", header) + key + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
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


class TestOrientation:
    @pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_is_applied(self, form: str, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        payload = encode(Image.fromarray(smooth(24, 40)), form, exif=exif)
        reference = ImageOps.exif_transpose(Image.open(io.BytesIO(payload))).convert("RGB")
        decoded = decode(payload)
        assert decoded.shape == ((40, 24, 3) if orientation >= 5 else (24, 40, 3))
        assert np.array_equal(decoded, np.asarray(reference))
        assert decoded.flags.c_contiguous

    @pytest.mark.filterwarnings("ignore::UserWarning:PIL")
    @pytest.mark.parametrize("block", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\xff\xff"])
    def test_a_damaged_block_counts_as_none(self, block: bytes) -> None:
        plain = encode(Image.fromarray(smooth(24, 40)), "JPEG")
        damaged = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[2:]
        assert np.array_equal(decode(damaged), decode(plain))

    def test_an_impossible_value_counts_as_none(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 99
        assert decode(encode(Image.fromarray(smooth(24, 40)), "JPEG", exif=exif)).shape == (24, 40, 3)


class TestRefusals:
    def test_empty(self) -> None:
        assert rejected(b"").reason == "empty"

    @pytest.mark.parametrize(
        "payload",
        [b"<!DOCTYPE html><html>404</html>", b"%PDF-1.7", b"x", bytes(100), b"SIMPLE  =  T", b"%!PS-Adobe-3.0"],
    )
    def test_not_an_image(self, payload: bytes) -> None:
        error = rejected(payload)
        assert error.reason == "not-an-image"
        assert repr(payload[:12]) in str(error)

    @pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM"])
    @pytest.mark.parametrize("kept", [0.5, 0.9])
    def test_truncated(self, form: str, kept: float) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        payload = encode(Image.fromarray(noise), form)
        assert rejected(payload[: int(len(payload) * kept)]).reason == "truncated"

    @pytest.mark.filterwarnings("ignore::UserWarning:PIL")
    @pytest.mark.parametrize("form", FORMATS)
    def test_cut_anywhere_it_is_refused_and_never_crashes(self, form: str) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        payload = encode(Image.fromarray(noise), form)
        for stop in range(1, len(payload) * 9 // 10, max(1, len(payload) // 60)):
            rejected(payload[:stop])

    def test_cut_within_the_header(self) -> None:
        payload = encode(Image.fromarray(smooth(64, 64)), "PNG")
        assert rejected(payload[:12]).reason in ("corrupt", "truncated")

    def test_damaged_data(self) -> None:
        payload = bytearray(encode(Image.fromarray(smooth(64, 64)), "PNG"))
        start = payload.index(b"IDAT") + 8
        payload[start : start + 40] = bytes(40)
        assert rejected(bytes(payload)).reason == "corrupt"

    @pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")
    @pytest.mark.parametrize("form", FORMATS)
    def test_whatever_the_bytes_are_only_a_decode_error_comes_out(self, form: str) -> None:
        rng = np.random.default_rng(1)
        payload = encode(Image.fromarray(smooth(20, 24)), form)
        reasons: set[str] = set()
        for _ in range(300):
            changed = bytearray(payload)
            for position in rng.integers(min(len(payload), 200), size=rng.integers(1, 5)):
                changed[position] = rng.integers(256)
            try:
                assert decode(bytes(changed)).dtype == np.uint8
            except DecodeError as error:
                reasons.add(error.reason)
        assert reasons <= set(REASONS)

    def test_an_image_without_pixels(self) -> None:
        assert rejected(png(0, 5)).reason == "corrupt"

    def test_pil_is_never_told_to_accept_truncated_files(self) -> None:
        assert ImageFile.LOAD_TRUNCATED_IMAGES is False

    def test_the_error_crosses_process_borders_with_its_reason(self) -> None:
        error = pickle.loads(pickle.dumps(rejected(b"")))  # noqa: S301
        assert isinstance(error, DecodeError)
        assert error.reason == "empty"


class TestPixelCap:
    @pytest.mark.parametrize("size", [(10_000, 5_001), (12_000, 8_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
    @pytest.mark.parametrize("action", ["default", "error"])
    def test_refused_from_the_header(self, size: tuple[int, int], action: Any) -> None:
        """PIL itself warns at 89 and raises at 179 megapixels; both must end as ours, whatever the warning filter."""
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            if action == "default":
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            assert rejected(png(*size)).reason == "too-large"

    def test_refused_without_allocating(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def load(self: Any) -> None:
            raise AssertionError("pixels were loaded")

        monkeypatch.setattr(ImageFile.ImageFile, "load", load)
        assert rejected(png(10_000, 5_001)).reason == "too-large"

    @pytest.mark.parametrize(
        ("form", "field", "swapped"),
        [("GIF", "<HH", False), ("BMP", "<ii", False), ("JPEG", ">HH", True), ("TIFF", "", False)],
    )
    def test_in_every_format(self, form: str, field: str, swapped: bool) -> None:
        """The size in the header of a real file is replaced by 40,000 x 40,000."""
        payload = encode(Image.new("RGB", (300, 301)), form)
        if form == "TIFF":  # tags 256 and 257, a number of type 3 or 4 each
            old_new = [
                (struct.pack("<HHII", tag, kind, 1, size), struct.pack("<HHII", tag, kind, 1, 40_000))
                for tag, size in ((256, 300), (257, 301))
                for kind in (3, 4)
            ]
        else:
            size = (301, 300) if swapped else (300, 301)
            old_new = [(struct.pack(field, *size), struct.pack(field, 40_000, 40_000))]
        changed = payload
        for old, new in old_new:
            changed = changed.replace(old, new)
        assert changed != payload
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            assert rejected(changed).reason == "too-large"


def tiled(width: int, height: int, image: tuple[int, int] = (16, 16)) -> bytes:
    """A little-endian RGBA TIFF of one tile, all of whose bytes are there: compressed to a thousandth."""
    packer = zlib.compressobj()
    size = width * height * 4
    data = b"".join(packer.compress(bytes(min(1 << 20, size - at))) for at in range(0, size, 1 << 20)) + packer.flush()
    one = 8 + 2 + 12 * 12 + 4  # where the four depths stand, and behind them the tile
    tags = [(256, image[0]), (257, image[1]), (258, one), (259, 8), (262, 2), (277, 4), (284, 1)]
    tags += [(322, width), (323, height), (324, one + 8), (325, len(data)), (338, 2)]
    kinds = {256: 4, 257: 4, 322: 4, 323: 4, 324: 4, 325: 4}
    entries = b"".join(
        struct.pack("<HHII", tag, kinds.get(tag, 3), 4 if tag == 258 else 1, value) for tag, value in tags
    )
    return b"II*\0" + struct.pack("<IH", 8, 12) + entries + bytes(4) + struct.pack("<4H", 8, 8, 8, 8) + data


BOMB = """
import resource, sys
from pathlib import Path
from PIL import Image  # before the bomb: its own memory
from cvbench.engine.pictures.decode import decode
from cvbench.errors import DecodeError
decode(Path(sys.argv[1]).read_bytes())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(Path(sys.argv[2]).read_bytes())
except DecodeError as error:
    print(error.reason, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


class TestTiles:
    def test_a_tile_may_be_larger_than_the_image(self) -> None:
        assert (decode(tiled(256, 256)) == 255).all(), "transparent black, on white"

    def test_a_small_image_of_a_large_tile_takes_no_memory(self, tmp_path: Path) -> None:
        """A tile is decoded whole: 250 kB of a file, 16 x 16 pixels, would take 250 MB; 2 MB would take 2 GB."""
        bomb = tiled(8_000, 8_000)
        assert len(bomb) < 300_000
        (tmp_path / "small.tif").write_bytes(tiled(16, 16))
        (tmp_path / "bomb.tif").write_bytes(bomb)
        words = [sys.executable, "-c", BOMB, str(tmp_path / "small.tif"), str(tmp_path / "bomb.tif")]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        reason, grown = done.stdout.split()
        assert reason == "too-large"
        assert int(grown) < 50

    def test_images_wait_for_the_room_that_their_tiles_need(self) -> None:
        asked = []

        class Room:
            def taken(self, pixels: int) -> contextlib.AbstractContextManager[None]:
                asked.append(pixels)
                return contextlib.nullcontext()

        decode(tiled(1_024, 512), room=Room())
        assert asked == [1_024 * 512]


class TestArrays:
    def test_rgb_passes_through(self) -> None:
        pixels = smooth(5, 6)
        assert np.array_equal(decode(pixels), pixels)

    def test_a_view_is_made_contiguous(self) -> None:
        view = smooth(5, 6).transpose(1, 0, 2)
        assert decode(view).flags.c_contiguous
        assert np.array_equal(decode(view), view)

    def test_grey_is_repeated(self) -> None:
        grey = smooth(8, 8, 1)[..., 0]
        assert np.array_equal(decode(grey), np.stack([grey] * 3, axis=2))

    @pytest.mark.parametrize(
        ("array", "reason"),
        [
            (np.zeros((4, 4, 4), np.uint8), "unsupported-mode"),
            (np.zeros(4, np.uint8), "unsupported-mode"),
            (np.zeros((4, 4), np.float32), "unsupported-mode"),
            (np.zeros((0, 4, 3), np.uint8), "empty"),
        ],
    )
    def test_other_arrays_are_refused(self, array: Any, reason: str) -> None:
        assert rejected(array).reason == reason


def test_threads_decode_as_one_does() -> None:
    payloads = [encode(Image.fromarray(smooth(60, 80, seed=seed)), "JPEG") for seed in range(24)]
    expected = [decode(payload) for payload in payloads]
    with ThreadPoolExecutor(4) as pool:
        assert all(map(np.array_equal, pool.map(decode, payloads), expected))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


class TestLoaderRules:
    """What timm's and torchvision's readers give: `Image.open(file).convert("RGB")`."""

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB", "1", "CMYK"])
    def test_pixels_are_those_of_convert(self, mode: str) -> None:
        image = Image.fromarray(smooth(9, 7, 4), "RGBA")
        image = image.convert("RGB").convert(mode) if mode in ("P", "L", "1", "CMYK", "RGB") else image.convert(mode)
        payload = encode(image, "TIFF" if mode == "CMYK" else "PNG")
        reference = np.asarray(Image.open(io.BytesIO(payload)).convert("RGB"))
        assert np.array_equal(decode(payload, "loader"), reference)

    def test_exif_turns_nothing(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        payload = encode(Image.fromarray(smooth(9, 7)), "JPEG", exif=exif)
        reference = np.asarray(Image.open(io.BytesIO(payload)).convert("RGB"))
        assert np.array_equal(decode(payload, "loader"), reference)
        assert decode(payload).shape == (7, 9, 3)


class TestBoundedWork:
    def test_scans_are_counted(self) -> None:
        image = Image.fromarray(smooth(64, 64))
        assert count_scans(encode(image, "JPEG"), 100) == 1
        progressive = encode(image, "JPEG", progressive=True)
        assert 5 < count_scans(progressive, 100) < 20
        exif = Image.Exif()
        exif[0x010E] = b"\xff\xda" * 50
        assert count_scans(encode(image, "JPEG", exif=exif), 3) == 1, "the bytes of a comment are no scans"

    def test_a_small_file_of_many_scans_is_refused_before_it_is_decoded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The last scan of a progressive JPEG again and again: every one is a pass over the whole picture."""
        payload = encode(Image.fromarray(smooth(1500, 1500)), "JPEG", progressive=True, quality=10)
        start, end = payload.rindex(b"\xff\xda"), payload.rindex(b"\xff\xd9")
        bomb = payload[:end] + payload[start:end] * 1_000 + payload[end:]
        monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it was decoded"))
        error = rejected(bomb)
        assert error.reason == "too-large"
        assert "scans" in error.what

    def test_pillow_says_nothing(self) -> None:
        code = (
            "import sys, io; from cvbench.engine.pictures.decode import decode; from PIL import Image\n"
            "b = io.BytesIO(); Image.new('1', (12_000, 8_000)).save(b, 'PNG')\n"
            "try: decode(b.getvalue())\nexcept ValueError: print('refused')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == ("refused\n", "")

    @pytest.mark.parametrize(
        ("mode", "form"), [("RGB", "PNG"), ("RGBA", "PNG"), ("L", "PNG"), ("P", "GIF"), ("I;16", "PNG")]
    )
    def test_strips_change_nothing(self, monkeypatch: pytest.MonkeyPatch, mode: str, form: str) -> None:
        if mode == "I;16":
            image = Image.fromarray(np.random.default_rng(0).integers(0, 65_536, (37, 21), dtype=np.uint16))
        else:
            image = Image.fromarray(smooth(37, 21, 4), "RGBA").convert(mode)
        payload = encode(image, form)
        whole = decode(payload)
        monkeypatch.setattr(module, "_STRIP", 50)
        assert np.array_equal(decode(payload), whole)

    def test_large_images_wait_for_room(self) -> None:
        room, most, inside, lock = ThreadRoom(100), 0, 0, threading.Lock()
        two = threading.Barrier(2, timeout=120)

        def enter(pixels: int) -> None:
            nonlocal most, inside
            with room.taken(pixels):
                with lock:
                    inside += pixels
                    most = max(most, inside)
                if pixels < 100:
                    two.wait()  # there is room for two at once, and 30 come in pairs
                time.sleep(0.002)
                with lock:
                    inside -= pixels

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(enter, [40] * 30))
        assert most == 80
        enter(1_000)  # larger than the room: alone
