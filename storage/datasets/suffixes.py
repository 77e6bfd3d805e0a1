"""By which suffixes a name counts as an image's. What is in the file decides how it is decoded, not its name."""

from __future__ import annotations

SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff"),
    ".webp",
)
"""Every one of these formats can be decoded; in lower case, names count in any.

AVIF and JPEG 2000, which Pillow may decode, are left out: what their decoders take cannot be told from the header. An
AVIF whose container says 16 x 16 pixels is decoded at the size that its stream says; a JPEG 2000 of 226 bytes and 49
megapixels of grey takes 1.5 GB with blocks of 4 x 4, and there may be smaller ones (Pillow 13.0 with libavif 1.4.2 and
OpenJPEG 2.5.4)."""
