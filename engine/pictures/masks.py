"""Masks: from the pixels of an image that are an object's to the cells of a backbone's grid.

The mask goes the way of its image, resized and cropped, but no pixel of it is resampled: a cell of the grid is traced
back to its rectangle of the image's own pixels, and the share of it that the object's pixels cover is exact, whatever
the sizes. Where the crop reaches beyond the image nothing is an object's.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.pictures.decode import decode
from cvbench.engine.pictures.geometry import Geometry, Rules
from cvbench.errors import IntegrityError

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

HALF = 0.5 + 1e-9
"""What an object must cover more of than this share to be a cell's: a tie, but for rounding, is the background's."""


def object_pixels(mask: bytes | Mask, rules: Rules = "viewer") -> Mask:
    """(H, W) bool: the pixels of a mask that are the object's.

    Of an encoded picture those whose brightest channel has half or more of what the brightest pixel has: so 0 and 1, 0
    and 255, or the shares of several annotators are read alike, and what a JPEG adds to black is none. A black picture
    has no object.

    Args:
        mask: An encoded picture, or the pixels themselves.
        rules: By which its image was decoded, see `engine.pictures.decode`.

    Raises:
        DecodeError: It is no picture.
    """
    if isinstance(mask, np.ndarray):
        return mask
    bright = decode(mask, rules).max(axis=2)
    found: Mask = (bright > 0) & (2 * bright.astype(np.int64) >= int(bright.max()))
    return found


def check_mask(mask: Mask, size: tuple[int, int], where: str) -> None:
    """Refuse a mask that is not as large as its image, which is (height, width).

    Raises:
        IntegrityError: It is not; names both sizes.
    """
    if mask.shape != size:
        shown = [f"{width} x {height}" for height, width in (mask.shape, size)]
        raise IntegrityError(f"a mask has {shown[0]} pixels, its image {shown[1]}", where=where)


def cell_shares(mask: Mask, geometry: Geometry, grid: tuple[int, int]) -> F64:
    """Share of each cell of a backbone's input that the object covers.

    Args:
        mask: (H, W) bool, in the image's own pixels.
        geometry: How its image was resized and cropped.
        grid: (h, w) equal cells that the input is cut into.

    Returns:
        (h, w) float64 in [0, 1].

    >>> half = np.array([[True, False], [True, False]])
    >>> cell_shares(half, Geometry(size=(4, 4), resize=4), (1, 4)).tolist()
    [[1.0, 1.0, 0.0, 0.0]]
    """
    if geometry.crop == "inner":  # cut from the image itself, then scaled
        box = (geometry.resize, geometry.resize) if isinstance(geometry.resize, int) else geometry.resize
        resized, kept = (mask.shape[0], mask.shape[1]), box
    else:
        resized, kept = geometry.resized(mask.shape[0], mask.shape[1]), geometry.size
    down, across = (_overlaps(*axis) for axis in zip(mask.shape, resized, kept, grid, strict=True))
    return np.asarray(down @ mask.astype(np.float64) @ across.T)


def object_cells(mask: Mask, geometry: Geometry, grid: tuple[int, int]) -> Mask:
    """(h, w) bool: the cells of which the object covers more than half; arguments as of `cell_shares`."""
    return np.asarray(cell_shares(mask, geometry, grid) > HALF)


@lru_cache(maxsize=256)
def _overlaps(own: int, resized: int, kept: int, cells: int) -> F64:
    """(cells, own) share of each cell of one axis that each of the image's own pixels covers."""
    # As `engine.pictures.geometry` places the crop and the padding: half to even, and the odd pixel of padding behind.
    start = round((resized - kept) / 2.0) if resized >= kept else -((kept - resized) // 2)
    edges = (start + np.arange(cells + 1) * (kept / cells)) * (own / resized)
    first, last, pixel = edges[:-1, None], edges[1:, None], np.arange(own)
    overlap = np.minimum(last, pixel + 1) - np.maximum(first, pixel)
    found: F64 = np.maximum(overlap, 0.0) / (last - first)
    found.setflags(write=False)
    return found
