"""Bytes to RGB: one rule for each kind of image that real data sets hold.

An image is recognised by its content, never by its name, and only as JPEG, PNG, WEBP, GIF, BMP, TIFF or PPM (PGM,
PBM): not AVIF or JPEG 2000, whose headers do not bound what is decoded. The rules:

    grey, 1-bit                the value is repeated in R, G and B
    palette                    looked up
    alpha, or a transparent    composited on white (16-bit RGB: the colour's high bytes count, as they do for pixels)
      colour or palette entry
    CMYK, YCCK                 PIL's conversion, which takes every CMYK JPEG as inverted, the way Adobe writes them
    16-bit grey                value / 257, rounded (0..65535 -> 0..255), never clipped
    TIFF grey of 9 to 15 bits  255 value / (2^bits - 1), rounded
    TIFF, white is zero        inverted, at 16 bits as at 8; refused ("corrupt") between them, where PIL has no reader
    16-bit RGB                 the high byte, as PIL reads it
    32-bit integer, float,     refused ("unsupported-mode"): nothing says which value is white
      LAB
    several frames             the first only; no other frame is ever looked at
    EXIF orientation           applied, as a viewer would; a damaged EXIF block counts as none
    ICC profile                ignored: the numbers in the file are taken as sRGB, as every backbone's training did
    more than 50 megapixels    refused ("too-large") from the header, before a pixel is allocated; so is a TIFF with
                               larger tiles, however small it is
    a JPEG of more than 1,000  refused ("too-large") before it is decoded; so are 2,000 million pixels times scans, 40
      scans                      scans of 50 megapixels (an encoder writes about 10)
    cut short                  refused ("truncated"); PIL's LOAD_TRUNCATED_IMAGES is never set

That is `rules="viewer"`. With "loader" the pixels are those of timm's and torchvision's readers, `convert("RGB")`: EXIF
orientation is ignored and alpha dropped; the rest is the same (16-bit grey too, which these readers clip to white).

A refusal is a `DecodeError`, whose `reason` is one of REASONS and is kept in the store with the sample.

Memory of a decode: 7 bytes per pixel (PIL's 4 and ours), 6 more for a progressive JPEG. Images in decoding at once have
100 megapixels together at most, whatever the number of threads: about 1.3 GB, and then 3 bytes per pixel of each. Among
processes that decode for one (`room.ProcessRoom`) it is 150 megapixels.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvbench.engine.pictures.geometry import MAX_PIXELS, Geometry, Rules, fit
from cvbench.engine.pictures.room import Room, ThreadRoom
from cvbench.engine.pictures.scans import count_scans
from cvbench.errors import DecodeError

__all__ = ["DECODER_VERSION", "FORMATS", "MAX_PIXELS", "REASONS", "ROOM", "Geometry", "decode", "fit"]

DECODER_VERSION = 2
"""Raised when any image gets other pixels: part of the features' fingerprint. 1 (not named there): 16-bit grey where
white is zero, grey of 9 to 15 bits, and transparent colours of 16 bits were read otherwise."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
REASONS = ("empty", "not-an-image", "truncated", "corrupt", "too-large", "unsupported-mode")

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*")
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"mif1", b"msf1"), "HEIF"),
}
_OTHERS = (
    *((start, "JPEG 2000") for start in (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")),
    *((start, "JPEG XL") for start in (b"\0\0\0\x0cJXL ", b"\xff\x0a")),
    (b"version https://git-lfs", "a pointer of Git LFS in the place of the file"),
)
_ORIENTATION = 0x0112
_SIXTEEN_BIT = {"I;16", "I;16L", "I;16B", "I;16N", "I"}
_MOST_SCANS = 1_000
_MOST_WORK = 2_000_000_000  # pixels times scans
_STRIP = 1 << 20  # pixels converted at once
_TIFF_BITS, _TIFF_WHITE, _TIFF_TILE = 258, 262, (322, 323)
_COLOUR = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"}
_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}


# PIL tells of damaged metadata, and of images that are refused here anyway, by warnings to stderr. What matters to the
# pixels is an error.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module=r"PIL\.")


ROOM = ThreadRoom(2 * MAX_PIXELS)
"""Of the images that the threads of this process decode."""


def decode(payload: bytes | NDArray[np.uint8], rules: Rules = "viewer", room: Room = ROOM) -> NDArray[np.uint8]:
    """One image as RGB.

    Args:
        payload: An encoded file, or an array (H, W) or (H, W, 3) uint8, which is passed through (grey is repeated).
        rules: See the module.
        room: What images in decoding hold together.

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
    if image.format in ("JPEG", "MPO"):
        _refuse_scans(payload, width * height)
    with room.taken(max(width * height, _tile(image))):
        return _decoded(image, payload, rules)


def _tile(image: Image.Image) -> int:
    """Pixels of a tile of a TIFF, which is decoded whole however small the image is; 0 without tiles."""
    if image.format != "TIFF":
        return 0
    try:
        tags: Any = getattr(image, "tag_v2", None) or {}
        sides = [int(tags.get(side, 0)) for side in _TIFF_TILE]
    except Exception as err:  # as its other tags: whatever the hostile bytes lead PIL to
        raise DecodeError(f"the tiles of the TIFF have no size: {err}", reason="corrupt") from err
    pixels = sides[0] * sides[1]
    if pixels > MAX_PIXELS:
        raise DecodeError(f"tiles of {sides[0]} x {sides[1]} pixels in an image of {image.size}", reason="too-large")
    return pixels


def _refuse_scans(payload: bytes, pixels: int) -> None:
    most = min(_MOST_SCANS, _MOST_WORK // pixels)
    if count_scans(payload, most) > most:
        raise DecodeError(f"a JPEG of more than {most} scans, for {pixels / 1e6:.1f} megapixels", reason="too-large")


def _decoded(image: Image.Image, payload: bytes, rules: Rules) -> NDArray[np.uint8]:
    try:
        image.load()
        pixels = _to_rgb(image, payload, rules)
    except (DecodeError, MemoryError):
        raise
    except Exception as err:  # PIL's plugins raise whatever the hostile bytes lead them to
        reason = "truncated" if _is_cut_short(payload, err) else "corrupt"
        raise DecodeError(f"the {image.format} data cannot be decoded: {err}", reason=reason) from err
    if rules == "loader":
        return pixels
    orientation = _orientation(image)
    image.close()
    return np.ascontiguousarray(_upright(pixels, orientation))


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
        known = f"not one of {', '.join(FORMATS)}; it "
        other = _other_format(payload)
        said = f"is {other}, which is not decoded" if other else f"starts with {payload[:12]!r}"
        raise DecodeError(known + said, reason="not-an-image") from err


def _is_webp(payload: bytes) -> bool:
    return payload[:4] == b"RIFF" and payload[8:12] == b"WEBP"


def _other_format(payload: bytes) -> str | None:
    """The name of a format that is common and not decoded."""
    if payload[4:8] == b"ftyp":
        return _BRANDS.get(payload[8:12])
    return next((name for start, name in _OTHERS if payload.startswith(start)), None)


def _is_cut_short(payload: bytes, err: Exception) -> bool:
    if _is_webp(payload):  # libwebp does not say, but the container declares its length
        return int.from_bytes(payload[4:8], "little") + 8 > len(payload)
    return "truncated" in str(err).lower()


def _to_rgb(image: Image.Image, payload: bytes, rules: Rules) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 from a loaded image of any mode."""
    if image.mode in _SIXTEEN_BIT:
        return _from_sixteen_bit(image, rules)
    if image.mode not in _ALPHA and image.mode not in _COLOUR:
        raise DecodeError(f"pixels of mode {image.mode} have no defined white", reason="unsupported-mode")
    key = image.info.get("transparency")
    if isinstance(key, tuple) and image.format == "PNG" and payload[24:25] == b"\x10":  # the header's bit depth
        image.info["transparency"] = tuple(value >> 8 for value in key)
    if rules == "loader" or (image.mode in _COLOUR and key is None):
        return _in_strips(image, lambda part: part if part.mode == "RGB" else part.convert("RGB"))
    return _in_strips(image, _on_white)


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> NDArray[np.uint8]:
    """Convert some rows at a time, so that no second copy of the image is held; every conversion is by pixel."""
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        part = image if rows >= height else image.crop((0, top, width, bottom))
        pixels[top:bottom] = np.asarray(convert(part))
    return pixels


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # PIL knows no way from premultiplied grey to RGBA
        image = image.convert("LA")
    layers = image.convert("RGBA")
    white = Image.new("RGBA", layers.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layers).convert("RGB")


def _from_sixteen_bit(image: Image.Image, rules: Rules) -> NDArray[np.uint8]:
    """By a table of all values: exact, and one byte a pixel."""
    table = _grey_table(image)
    key = image.info.get("transparency")
    if rules == "viewer" and isinstance(key, int) and 0 <= key <= 65_535:
        table[key] = 255
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        values = np.asarray(image.crop((0, top, width, min(top + rows, height))))
        if values.dtype.itemsize > 2 and (values.min() < 0 or values.max() > 65_535):
            raise DecodeError("32-bit integer pixels have no defined white", reason="unsupported-mode")
        pixels[top : top + rows] = table[values][:, :, None]
    return pixels


def _grey_table(image: Image.Image) -> NDArray[np.uint8]:
    """(65536,) uint8: grey of each value, to the nearest; white is 65535, or what a TIFF says."""
    tags = getattr(image, "tag_v2", None) or {}
    bits = tags.get(_TIFF_BITS, (16,))
    depth = bits[0] if isinstance(bits, tuple) and bits and isinstance(bits[0], int) else 16
    white = 2**depth - 1 if 8 < depth < 16 else 65_535
    values = np.minimum(np.arange(65_536), white)
    grey = (2 * 255 * values + white) // (2 * white)
    if tags.get(_TIFF_WHITE) == 0:
        grey = (2 * 255 * (white - values) + white) // (2 * white)
    return grey.astype(np.uint8)


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
