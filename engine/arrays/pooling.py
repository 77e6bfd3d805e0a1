"""Feature maps on a coarser grid: NumPy or CuPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.arrays.array import Array, namespace, table
from cvbench.engine.arrays.product import product


def pool_to(maps: Array, grid: tuple[int, int]) -> Array:
    """Average a finer map over the cells of a coarser grid, each weighted with the area that it shares with them.

    Args:
        maps: (n, H, W, C).
        grid: (h, w), not finer than (H, W) on either axis.

    Returns:
        (n, h, w, C) float32 or float64; where h divides H and w divides W, plain average pooling.
    """
    xp = namespace(maps)
    work = xp.float64 if maps.dtype == xp.float64 else xp.float32
    rows, columns = (
        _shares.on(maps, fine, coarse, np.dtype(work).str) for fine, coarse in zip(maps.shape[1:3], grid, strict=True)
    )
    n, height, width, channels = maps.shape
    merged = product(rows, maps.astype(work, copy=False).reshape(n, height, width * channels))
    return product(columns, merged.reshape(n, grid[0], width, channels))


@table
def _shares(fine: int, coarse: int, dtype: str) -> NDArray[Any]:
    """(coarse, fine): of each coarse cell, how much of it every fine cell makes up; rows sum to 1."""
    edges, own = np.arange(coarse + 1) / coarse, np.arange(fine + 1) / fine
    overlap = np.minimum(edges[1:, None], own[None, 1:]) - np.maximum(edges[:-1, None], own[None, :-1])
    return np.asarray(np.maximum(overlap, 0.0) * coarse).astype(dtype)
