"""Sizes as people read them."""

from __future__ import annotations


def human(size: float) -> str:
    """Bytes in decimal units.

    >>> human(12_963_840), human(512)
    ('13.0 MB', '512 B')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
