"""Bytes to RGB: one rule for each kind of image that real data sets hold.

An image is recognised by its content, never by its name, and only as JPEG, PNG, WEBP, GIF, BMP, TIFF or PPM (PGM,
PBM). The rules:

    grey, 1-bit                the value is repeated in R, G and B
    palette                    looked up
    alpha, or a transparent    composited on white
      colour or palette entry
    CMYK, YCCK                 PIL's conversion, which takes every CMYK JPEG as inverted, the way Adobe writes them
    16-bit grey                value / 257, rounded (0..65535 -> 0..255), never clipped
    16-bit RGB                 the high byte, as PIL reads it
    32-bit integer, float,     refused ("unsupported-mode"): nothing says which value is white
      LAB
    several frames             the first only; no other frame is ever looked at
    EXIF orientation           applied, as a viewer would; a damaged EXIF block counts as none
    ICC profile                ignored: the numbers in the file are taken as sRGB, as every backbone's training did
    more than 50 megapixels    refused ("too-large") from the header, before a pixel is allocated
    cut short                  refused ("truncated"); PIL's LOAD_TRUNCATED_IMAGES is never set

A refusal is a `DecodeError`, whose `reason` is one of REASONS and is kept in the store with the sample.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvbench.engine.geometry import MAX_PIXELS, Geometry, fit
from cvbench.errors import DecodeError

__all__ = ["FORMATS", "MAX_PIXELS", "REASONS", "Geometry", "decode", "fit"]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
REASONS = ("empty", "not-an-image", "truncated", "corrupt", "too-large", "unsupported-mode")

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*")
_ORIENTATION = 0x0112
_SIXTEEN_BIT = {"I;16", "I;16L", "I;16B", "I;16N", "I"}
_COLOUR = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"}
_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}


def decode(payload: bytes | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One image as RGB.

    Args:
        payload: An encoded file, or an array (H, W) or (H, W, 3) uint8, which is passed through (grey is repeated).

    Returns:
        (H, W, 3) RGB uint8, C-contiguous.

    Raises:
        DecodeError: With the `reason`, if the payload is not an image by the rules above.
    """
    if isinstance(payload, np.ndarray):
        return _from_array(payload)
    if not payload:
        raise DecodeError("the file is empty", reason="empty")
    image = _open(payload)
    width, height = image.size
    if width < 1 or height < 1:
        raise DecodeError(f"an image of {width} x {height} pixels", reason="corrupt")
    if width * height > MAX_PIXELS:
        raise DecodeError(
            f"{width} x {height} pixels, more than the {MAX_PIXELS // 1_000_000} megapixels that are read",
            reason="too-large",
        )
    try:
        image.load()
        pixels = _to_rgb(image)
    except (DecodeError, MemoryError):
        raise
    except Exception as err:  # PIL's plugins raise whatever the hostile bytes lead them to
        reason = "truncated" if _is_cut_short(payload, err) else "corrupt"
        raise DecodeError(f"the {image.format} data cannot be decoded: {err}", reason=reason) from err
    return np.ascontiguousarray(_upright(pixels, _orientation(image)))


def _from_array(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        raise DecodeError(f"expected uint8 pixels, got {array.dtype}", reason="unsupported-mode")
    if array.size == 0:
        raise DecodeError(f"an array of shape {array.shape} holds no pixels", reason="empty")
    if array.ndim == 2:
        return np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim == 3 and array.shape[2] == 3:
        return np.ascontiguousarray(array)
    raise DecodeError(f"expected pixels (H, W) or (H, W, 3), got {array.shape}", reason="unsupported-mode")


def _open(payload: bytes) -> Image.Image:
    """Read the header only."""
    try:
        return Image.open(io.BytesIO(payload), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as err:
        # PIL's own limits lie above ours; the warning is an exception where warnings are errors.
        raise DecodeError(f"too many pixels: {err}", reason="too-large") from err
    except MemoryError:
        raise
    except Exception as err:
        if _is_cut_short(payload, err):
            raise DecodeError("the file is cut short", reason="truncated") from err
        if payload.startswith(_SIGNATURES) or _is_webp(payload):
            raise DecodeError("it starts like an image, but its header cannot be read", reason="corrupt") from err
        raise DecodeError(
            f"not one of {', '.join(FORMATS)}; it starts with {payload[:12]!r}", reason="not-an-image"
        ) from err


def _is_webp(payload: bytes) -> bool:
    return payload[:4] == b"RIFF" and payload[8:12] == b"WEBP"


def _is_cut_short(payload: bytes, err: Exception) -> bool:
    if _is_webp(payload):  # libwebp does not say, but the container declares its length
        return int.from_bytes(payload[4:8], "little") + 8 > len(payload)
    return "truncated" in str(err).lower()


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 from a loaded image of any mode."""
    if image.mode in _SIXTEEN_BIT:
        return _from_sixteen_bit(image)
    if image.mode in _ALPHA or (image.mode in _COLOUR and "transparency" in image.info):
        layers = image.convert("RGBA")
        white = Image.new("RGBA", layers.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, layers).convert("RGB"))
    if image.mode in _COLOUR:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    raise DecodeError(f"pixels of mode {image.mode} have no defined white", reason="unsupported-mode")


def _from_sixteen_bit(image: Image.Image) -> NDArray[np.uint8]:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65_535:
        raise DecodeError("32-bit integer pixels have no defined white", reason="unsupported-mode")
    grey = ((values + 128) // 257).astype(np.uint8)  # v / 257 to the nearest: 65535 = 257 * 255
    return np.repeat(grey[:, :, None], 3, axis=2)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation 1..8. Asked after the load: PIL turns TIFF images itself, and then says so."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF blocks in the wild are damaged in every way; the pixels are still good
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo the camera's rotation; 5 to 8 swap the axes, the rest is flips."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
