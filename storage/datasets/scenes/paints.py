"""The colours of an object's parts, red, green and blue of 0 to 255."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from cvbench.storage.datasets.scenes.factors import CLASSES, COLOURS
from cvbench.storage.datasets.scenes.parts import Paint

F32 = NDArray[np.float32]

_RGB = {
    "blue": (52, 104, 200),
    "brown": (134, 84, 48),
    "orange": (236, 134, 36),
    "grey": (142, 146, 152),
    "teal": (28, 152, 148),
    "yellow": (240, 204, 48),
    "pink": (238, 128, 170),
    "red": (206, 48, 44),
    "purple": (126, 70, 170),
    "green": (66, 150, 62),
}
_ACCENTS = {
    "bird": (244, 168, 40),
    "boat": (206, 48, 44),
    "car": (250, 224, 120),
    "fish": (250, 190, 90),
    "flower": (58, 128, 58),
    "house": (120, 62, 50),
    "tree": (112, 74, 44),
}
DARK, LIGHT = (38, 36, 46), (246, 243, 232)


@cache
def paint(kind: Paint, object_class: int, colour: int) -> F32:
    """(3, 1, 1) of a part; of `body` the first of its two tones."""
    if kind == "dark":
        return _column(DARK)
    if kind == "light":
        return _column(LIGHT)
    if kind == "accent":
        return _column(_ACCENTS.get(CLASSES[max(object_class, 0)], LIGHT))
    body = _column(_RGB[COLOURS[colour]])
    return body if kind == "body" else _kept(body + (np.float32(255) - body) * np.float32(0.5))


@cache
def second_tone(colour: int) -> F32:
    """(3, 1, 1): what a texture has beside the object's colour, paler or, of a pale one, darker."""
    body = _column(_RGB[COLOURS[colour]])
    pale = float(body[0, 0, 0]) * 0.3 + float(body[1, 0, 0]) * 0.6 + float(body[2, 0, 0]) * 0.1 > 128
    return _kept(body * np.float32(0.5) if pale else body + (np.float32(255) - body) * np.float32(0.62))


def _column(rgb: tuple[int, int, int]) -> F32:
    return _kept(np.array(rgb, np.float32)[:, None, None])


def _kept(values: F32) -> F32:
    """The array, which no thread that gets it from the cache can change."""
    values.setflags(write=False)
    return values
