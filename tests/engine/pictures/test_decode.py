"""Every rule of engine.pictures.decode on a real small file."""

from __future__ import annotations

import io
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from cvbench.engine.pictures.decode import FORMATS, REASONS, decode
from cvbench.errors import DecodeError
from tests.engine.pictures.small_files import encode, png, rejected, smooth


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
