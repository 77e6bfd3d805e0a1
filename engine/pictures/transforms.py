"""Transforms of an image on its way to a backbone: how far does it keep its answer?

As in "ConvNet vs Transformer, Supervised vs CLIP" (Vishniakov et al. 2024), with each backbone's own preprocessing
(resize to edge B, crop to T, its filter) in the place of the study's one for all:

    scale        resize to int(factor * B), then crop to T: above 1 the object grows and its surroundings are lost
    shift        crop in the original image, `pixels` aside along its longer axis, then resize to T x T. Not the same as
                 resize, then crop, even at 0; how far an object moves depends on the size of the image
    shift-frame  resize to B, then crop (x, y) pixels to the right of and below the centre

A positive shift moves the crop right or down, so the object goes left or up. Beyond the image is black (the padding of
the geometry in `scale` and `shift-frame`). Scale 1 and a shift of the frame by (0, 0) give the bytes of no transform.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.pictures.geometry import Geometry, fit
from cvbench.errors import UnknownNameError, UsageError

Transform = tuple[str, Mapping[str, float]]
"""Name and parameters: ("scale", {"factor": 1.25}), ("shift", {"pixels": 30}), ("shift-frame", {"x": 8, "y": 0})."""

NAMES = ("scale", "shift", "shift-frame")


def render(image: NDArray[np.uint8], geometry: Geometry, transform: Transform | None) -> NDArray[np.uint8]:
    """Resize and crop as `fit`, with a transform.

    Args:
        image: (H, W, 3) RGB uint8.
        geometry: What the backbone wants.
        transform: None is `fit` itself.

    Returns:
        (3, h, w) RGB uint8, with (h, w) = `geometry.size`.

    Raises:
        UnknownNameError, UsageError: As `check_transform`.
    """
    if transform is None:
        return fit(image, geometry)
    check_transform(transform, geometry)
    name, values = transform
    if name == "scale":
        return fit(image, _zoomed(geometry, values["factor"]))
    if name == "shift-frame":
        return fit(image, geometry, (int(values["y"]), int(values["x"])))
    top, left, side = shifted_crop(image.shape[0], image.shape[1], geometry, int(values["pixels"]))
    return fit(_window(image, top, left, side), replace(geometry, resize=geometry.size, crop="squash"))


def check_transform(transform: Transform, geometry: Geometry) -> None:
    """Refuse what cannot be done.

    Raises:
        UnknownNameError: There is no such transform.
        UsageError: "shift" is defined for a square centre crop only, and nothing for a crop before the resize.
    """
    name = transform[0]
    if name not in NAMES:
        raise UnknownNameError.among("transform", name, NAMES, fix=f"transforms: {', '.join(NAMES)}")
    if geometry.crop == "inner":
        raise UsageError(
            f"{name} is not defined where the crop comes before the resize", fix="another --preprocess than pug"
        )
    square = geometry.size[0] == geometry.size[1] and isinstance(geometry.resize, int)
    if name == "shift" and not (square and geometry.crop == "center"):
        raise UsageError(
            "this shift is defined for a square crop around the centre",
            why=f"the backbone wants {geometry.size} pixels by {geometry.crop!r} from {geometry.resize}",
            fix="shift-frame, which every backbone can have",
        )


def shifted_crop(height: int, width: int, geometry: Geometry, pixels: int) -> tuple[int, int, int]:
    """(top, left, side) of the square that "shift" takes from an image, in its own pixels; it may leave the image.

    With B the edge that is resized to and T the crop of it, side = int(T min(h, w) / B); across the longer axis the
    square is central up to rounding, along it `pixels` further. Squares count as tall.

    >>> shifted_crop(375, 500, Geometry(size=(224, 224), resize=256), 100)
    (23, 185, 328)
    """
    assert isinstance(geometry.resize, int)
    edge, wanted = geometry.resize, geometry.size[0]
    short, long = sorted((height, width))
    side = max(1, int(wanted * short / edge))
    along = int(((long / short * edge) - wanted) / 2 * short / edge + pixels)
    across = int((edge - wanted) / 2 * short / edge)
    return (across, along, side) if width > height else (along, across, side)


def _zoomed(geometry: Geometry, factor: float) -> Geometry:
    edges = geometry.resize
    if isinstance(edges, int):
        return replace(geometry, resize=max(1, int(factor * edges)))
    return replace(geometry, resize=(max(1, int(factor * edges[0])), max(1, int(factor * edges[1]))))


def _window(image: NDArray[np.uint8], top: int, left: int, side: int) -> NDArray[np.uint8]:
    """(side, side, 3) from (top, left) on, black where that is outside the image."""
    out = np.zeros((side, side, 3), dtype=np.uint8)
    height, width = image.shape[:2]
    rows = slice(max(top, 0), max(min(top + side, height), 0))
    columns = slice(max(left, 0), max(min(left + side, width), 0))
    inside = image[rows, columns]
    if inside.size:
        out[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = inside
    return out
