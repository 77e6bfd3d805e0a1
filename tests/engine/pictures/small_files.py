"""Small files of pictures, and the error that refuses one."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cvbench.engine.pictures.decode import REASONS, decode
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
    """The file of an image."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def rejected(payload: Any) -> DecodeError:
    """The error that a file ends in, for one of the known reasons."""
    with pytest.raises(DecodeError) as caught:
        decode(payload)
    assert caught.value.reason in REASONS
    return caught.value


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG, with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bit_depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that declares a size and holds no pixels: 57 bytes."""
    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def tiff(bits: int, data: bytes, white_is_zero: bool = False) -> bytes:
    """A little-endian grey TIFF of 4 x 1 pixels."""
    tags = [(256, 4), (257, 1), (258, bits), (259, 1), (262, 0 if white_is_zero else 1), (273, 8), (277, 1), (278, 1)]
    tags.append((279, len(data)))
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)
