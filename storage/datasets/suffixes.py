"""By which suffixes a name counts as an image's. What is in the file decides how it is decoded, not its name."""

from __future__ import annotations

SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff"),
    ".webp",
)
"""Every one of these formats can be decoded; in lower case, names count in any. AVIF and JPEG 2000, which Pillow may
decode, are not among the formats that are trusted to be decoded here (`engine.pictures.decode`)."""
