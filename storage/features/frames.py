"""What a compressed frame says of its own size, read from its header: nothing is decoded before it fits.

Only frames that say it are accepted: one frame, whose length is that of the data. Every frame that cvbench, zarr and
numcodecs write is such a one.
"""

from __future__ import annotations

import struct

_ZSTD = 0xFD2FB528
_SIZE_BYTES = {0: 0, 1: 2, 2: 4, 3: 8}
_RAW, _RLE, _COMPRESSED = range(3)


def decoded_bytes(compressor: str | None, data: bytes | memoryview) -> int:
    """Bytes that `data` decodes to.

    Args:
        compressor: "zstd", "blosc", or None for plain bytes.

    Raises:
        ValueError: It is no frame of that kind, does not say its size, or is longer or shorter than it says.

    >>> decoded_bytes(None, b"12345")
    5
    """
    if compressor is None:
        return len(data)
    try:
        return {"zstd": _zstd, "blosc": _blosc}[compressor](memoryview(data))
    except (struct.error, IndexError) as error:
        raise ValueError(f"a {compressor} frame is cut off") from error


def _zstd(data: memoryview) -> int:
    """RFC 8878, section 3.1.1: frame header, then blocks up to the last one, then a checksum if there is one."""
    if struct.unpack_from("<I", data)[0] != _ZSTD:
        raise ValueError("not a zstd frame")
    descriptor = data[4]
    single, checksum = bool(descriptor & 0x20), bool(descriptor & 0x04)
    at = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    flag = descriptor >> 6
    width = 1 if flag == 0 and single else _SIZE_BYTES[flag]
    if not width:
        raise ValueError("a zstd frame does not say its size")
    if at + width > len(data):
        raise IndexError
    size = int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)
    at += width
    last = False
    while not last:
        header = data[at] | data[at + 1] << 8 | data[at + 2] << 16
        last, kind = bool(header & 1), header >> 1 & 3
        if kind > _COMPRESSED:
            raise ValueError("a zstd block is of no known kind")
        at += 3 + (1 if kind == _RLE else header >> 3)
    if at + 4 * checksum != len(data):
        raise ValueError("a zstd frame is not as long as it says")
    return size


def _blosc(data: memoryview) -> int:
    """The header of Blosc 1: four bytes of version, flags and type size, then decoded, block and encoded bytes."""
    version, _, _, typesize, size, block, encoded = struct.unpack_from("<BBBBIII", data)
    if version != 2 or not typesize or encoded != len(data):
        raise ValueError("a blosc frame is not as long as it says")
    if size and not 0 < block <= size:
        raise ValueError("the blocks of a blosc frame do not fit into it")
    return int(size)
