"""By which suffixes a name counts as an image's. What is in the file decides how it is decoded, not its name."""

from __future__ import annotations

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Every one of these formats can be decoded; in lower case, names count in any."""
