"""Renditions: the same scene in another manner. Some change the paints before a scene is drawn, others the picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cvbench.storage.datasets.scenes.distances import F32

STYLES = ("photo", "poster", "negative", "mosaic", "engraving", "neon", "sketch")
"""What a scene counts its `style` by: none first, outlines in the colour of the object (`scenes-sketch`) last."""

OUTLINES = STYLES[-1]
RENDITIONS = STYLES[1:-1]
"""Those of `scenes-r`."""

LINES = {STYLES.index("neon"): (16, 14, 30), STYLES.index("sketch"): (248, 247, 242)}
"""Styles of which only outlines are drawn, and the colour of their paper."""


def finish(style: int, image: F32) -> F32:
    """A drawn picture (3, S, S) in its style."""
    maker = _FINISHES.get(STYLES[style])
    return image if maker is None else maker(image)


def poster(image: F32) -> F32:
    """Three steps of each colour."""
    stepped: F32 = np.floor(image * np.float32(3 / 256)) * np.float32(127.5)
    return stepped


def negative(image: F32) -> F32:
    """Dark for light."""
    return np.float32(255) - image


def mosaic(image: F32) -> F32:
    """Squares of one colour, 24 to an edge: that of the pixel in their middle."""
    size = image.shape[1]
    at = ((2 * (np.arange(size) * 24 // size) + 1) * size // 48).clip(0, size - 1)
    return image[:, at][:, :, at]


def engraving(image: F32) -> F32:
    """Slanting lines of ink, the thicker the darker."""
    size = image.shape[1]
    luma = (image[0] * np.float32(77) + image[1] * np.float32(150) + image[2] * np.float32(29)) * np.float32(1 / 65_280)
    at = np.arange(size, dtype=np.float32)
    phase = (at[:, None] + at[None, :]) * np.float32(32 / size)
    gap = np.abs(phase - np.floor(phase + np.float32(0.5))) * np.float32(2)
    ink = np.minimum(np.maximum((gap - luma) * np.float32(3) + np.float32(0.5), np.float32(0)), np.float32(1))
    paper = np.array((244, 238, 222), np.float32)[:, None, None]
    drawn: F32 = paper - (paper - np.float32(30)) * ink
    return drawn


_FINISHES: dict[str, Callable[[F32], F32]] = {maker.__name__: maker for maker in (poster, negative, mosaic, engraving)}
