"""Sizes and times as people read them."""

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


def enough(size: int) -> str:
    """The next size above, as an option takes it.

    >>> enough(12_963_840), enough(1_000), enough(512)
    ('13MB', '1.1KB', '513B')
    """
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if size >= factor:
            return f"{(size * 10 // factor + 1) / 10:g}{unit}"
    return f"{size + 1}B"


def duration(hours: float) -> str:
    """Time in the unit that fits it.

    >>> [duration(hours) for hours in (2.0, 0.05, 0.001, 0.00001)]
    ['2.0 h', '3.0 min', '4 s', 'below 1 s']
    """
    if hours >= 1:
        return f"{hours:.1f} h"
    if hours >= 1 / 60:
        return f"{hours * 60:.1f} min"
    return f"{hours * 3600:.0f} s" if hours >= 1 / 3600 else "below 1 s"


def counted(number: int, thing: str) -> str:
    """Things with their number.

    >>> counted(1, "layer"), counted(2_000, "layer")
    ('1 layer', '2000 layers')
    """
    return f"{number} {thing}{'' if number == 1 else 's'}"
