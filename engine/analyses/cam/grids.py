"""Maps on another grid: two models on one grid to be compared, and one map on the image's pixels to be looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.arrays.array import Array, namespace
from cvbench.engine.statistics.mean_interval import ROUNDING

F64 = NDArray[np.float64]
_SPARE = 1e-7  # of the min-max scaling, as in pytorch-grad-cam


def common_grid(grids: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The grid that all are pooled to: the fewest rows and the fewest columns.

    >>> common_grid([(14, 14), (7, 9)])
    (7, 9)
    """
    return min(height for height, _ in grids), min(width for _, width in grids)


def pool(maps: Array, grid: tuple[int, int]) -> Array:
    """Average-pool maps to a coarser grid.

    A new cell is the mean of the old cells that it covers, each by the share covered; where the old grid is a multiple
    of the new one this is plain average pooling.

    Args:
        maps: (n, H, W).
        grid: (height, width), neither above the old.

    Returns:
        (n, height, width) float64.
    """
    xp = namespace(maps)
    rows, columns = (xp.asarray(_overlaps(old, new)) for old, new in zip(maps.shape[1:], grid, strict=True))
    return rows @ maps.astype(np.float64) @ columns.T


def pool_evidence(raw: Array, grid: tuple[int, int]) -> Array:
    """L on a coarser grid: the positive part of raw maps (n, H, W), then pooled, (n, height, width) float64.

    In this order: cells that speak against the class must not cancel the evidence of their neighbours. So a map with
    evidence has some on every grid, and the same share of it in any box of whole new cells.
    """
    return pool(namespace(raw).maximum(raw, 0), grid)


def centred_evidence(raw: Array, grid: tuple[int, int]) -> Array:
    """Raw maps (n, H, W) averaged to a grid, each less its mean over the positions there: (n, height, width) float64.

    A backbone that pools and then normalises gives a raw Grad-CAM that sums to zero over positions: its logits do not
    change when the pooled activation a is scaled, so their gradient g has g . a = 0 (Euler), and the map sums to g . a.
    Half its evidence is against the class by construction, and its positive part looks concentrated. Centred, every map
    is under that constraint; one that is under it already stays as it is. Zero where a map is flat but for rounding.
    """
    xp = namespace(raw)
    coarse = raw.astype(np.float64) if raw.shape[1:] == grid else pool(raw, grid)
    centred = coarse - coarse.mean(axis=(1, 2), keepdims=True)
    size = xp.abs(coarse).max(axis=(1, 2), keepdims=True)
    flat = xp.abs(centred).max(axis=(1, 2), keepdims=True) <= ROUNDING * size
    return xp.where(flat, 0.0, centred)


def _overlaps(old: int, new: int) -> F64:
    """(new, old) share of each old cell in each new one; rows sum to 1."""
    edges = np.arange(new + 1) * (old / new)
    cells = np.arange(old)
    inside = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    shares: F64 = np.clip(inside, 0, None) * (new / old)
    return shares


def display(raw: NDArray[np.floating], size: tuple[int, int]) -> F64:
    """Raw maps as they are shown over the image; nothing is measured on these.

    The positive part is scaled to 0 .. 1 by its minimum and maximum, upsampled bilinearly with half-pixel centres, and
    scaled again, as pytorch-grad-cam does (`base_cam.py`, `utils/image.py`). A map of zeros stays zero.

    Args:
        raw: (n, H, W), signed.
        size: (height, width) of the image, pixels.

    Returns:
        (n, height, width) float64 in 0 .. 1.
    """
    light = _stretch(np.maximum(raw.astype(np.float64), 0))
    rows, columns = (_bilinear(old, new) for old, new in zip(raw.shape[1:], size, strict=True))
    return _stretch(rows @ light @ columns.T)


def _stretch(maps: F64) -> F64:
    moved = maps - maps.min(axis=(1, 2), keepdims=True)
    scaled: F64 = moved / (moved.max(axis=(1, 2), keepdims=True) + _SPARE)
    return scaled


def _bilinear(old: int, new: int) -> F64:
    """(new, old) weights of linear interpolation with half-pixel centres, clamped at the edges."""
    at = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    weights: F64 = np.clip(1 - np.abs(at[:, None] - np.arange(old)), 0, None)
    return weights
