"""What is measured on one class activation map, on its grid: where it lies, how wide and how concentrated it is.

L is the positive part of the raw map, p = L / sum L. A map without any positive cell has none of these: all are NaN.

centroid_y, centroid_x   sum p (y, x), as shares of height and width: 0.5 is the middle; cell centres at index + 1/2
radius                   sqrt(trace cov) / hypot(H, W); a uniform map has 1/sqrt(12) = 0.2887
anisotropy               sqrt(largest / smallest eigenvalue of cov); 1 is round
entropy                  -sum p ln p / ln(H W); 1 uniform, 0 a single cell
effective_area           exp(-sum p ln p) / (H W): share of the grid that as many equal cells would fill
gini                     Gini index of the cells (Chalasani et al. 2020; `sparseness` in Quantus); 0 uniform
gaussian_r2              R^2 of L ~ a g + b, with the Gaussian g of the map's own mean and covariance; 1 is one Gaussian
half_max_area            share of cells with L >= max L / 2

In radius and anisotropy a cell is a unit square of mass, not a point: 1/12 is added to both variances. So they do not
depend on the grid (a uniform map has 0.2887 on any), and one cell alone is round. The Gaussian is compared at cell
centres and takes the covariance of these; a map whose mass lies on a line has no such Gaussian, and NaN there.
"""

from __future__ import annotations

import math

import numpy as np

from cvbench.engine.arrays.array import Array, namespace
from cvbench.engine.statistics.measure import Measure, share

_LINE = "with two positions a side the spread is that of the centroid"
_CELLS = "four cells are no distribution"
TABLE = (
    share("centroid_y", "centre of mass, share of the height"),
    share("centroid_x", "centre of mass, share of the width"),
    Measure("radius", "RMS radius, share of the diagonal", 3, _LINE, least=0.0),
    Measure("anisotropy", "ratio of the axes of the covariance", 3, _LINE, least=1.0),
    share("entropy", "entropy of the cells, normalised", 3, _CELLS),
    share("effective_area", "share of the grid that as many equal cells fill", 3, _CELLS),
    share("gini", "Gini index of the cells", 3, _CELLS),
    share("gaussian_r2", "R^2 of one Gaussian", 4, "seven numbers are fitted"),
    share("half_max_area", "share of cells at half the maximum or more", 3, _CELLS),
)
"""The measures, with the smallest grid of each."""

MAP_MEASURES = tuple(measure.name for measure in TABLE)
_SQUARE = 1 / 12  # variance of a uniform unit square along each axis
_FLAT = 1e-9  # smallest share of the trace^2 that the determinant of a covariance may be


def positive_share(raw: Array) -> tuple[Array, Array]:
    """L and p of raw maps (n, H, W), both float64; where L is zero throughout or not finite, L is 0 and p NaN."""
    xp = namespace(raw)
    light = xp.maximum(raw.astype(np.float64), 0)
    total = light.sum(axis=(1, 2))
    usable = (total > 0) & xp.isfinite(total)
    light = xp.where(usable[:, None, None], light, 0.0)
    return light, light / xp.where(usable, total, np.nan)[:, None, None]


def map_measures(raw: Array) -> Array:
    """All of `MAP_MEASURES` for each map.

    Args:
        raw: (n, H, W) signed maps, any float type.

    Returns:
        (n, 9) float64; a row of NaN where the map has no positive cell, or a value that is not finite.
    """
    xp = namespace(raw)
    n, height, width = raw.shape
    light, p = positive_share(raw)
    rows, columns = xp.arange(height) + 0.5, xp.arange(width) + 0.5
    y, x = (p.sum(axis=2) * rows).sum(axis=1), (p.sum(axis=1) * columns).sum(axis=1)
    dy, dx = rows - y[:, None], columns - x[:, None]
    yy, xx = (p.sum(axis=2) * dy**2).sum(axis=1), (p.sum(axis=1) * dx**2).sum(axis=1)
    yx = xp.einsum("nhw,nh,nw->n", p, dy, dx)
    entropy = -(p * xp.log(xp.where(p > 0, p, 1.0))).sum(axis=(1, 2))
    table = xp.empty((n, len(MAP_MEASURES)), dtype=np.float64)
    table[:, 0], table[:, 1] = y / height, x / width
    table[:, 2] = xp.sqrt(yy + xx + 2 * _SQUARE) / math.hypot(height, width)
    table[:, 3] = _anisotropy(yy + _SQUARE, xx + _SQUARE, yx)
    table[:, 4] = entropy / math.log(height * width)
    table[:, 5] = xp.exp(entropy) / (height * width)
    table[:, 6] = _gini(p.reshape(n, height * width))
    table[:, 7] = _gaussian_r2(light, (dy, dx), (yy, xx, yx))
    table[:, 8] = (light >= 0.5 * light.max(axis=(1, 2), keepdims=True)).mean(axis=(1, 2))
    table[xp.isnan(y)] = np.nan
    return table


def _anisotropy(yy: Array, xx: Array, yx: Array) -> Array:
    xp = namespace(yy)
    middle, half = (yy + xx) / 2, xp.sqrt(((yy - xx) / 2) ** 2 + yx**2)
    return xp.sqrt((middle + half) / (middle - half))


def _gini(cells: Array) -> Array:
    """Gini index of rows (n, m): sum (2 i - m - 1) s_i / (m sum s), s ascending, i from 1."""
    xp = namespace(cells)
    count = cells.shape[1]
    weights = 2 * xp.arange(1, count + 1) - count - 1
    return (xp.sort(cells, axis=1) * weights).sum(axis=1) / (count * cells.sum(axis=1))


def _gaussian_r2(light: Array, away: tuple[Array, Array], cov: tuple[Array, Array, Array]) -> Array:
    """Squared correlation of the map and the Gaussian: R^2 of the least squares with factor and offset."""
    xp = namespace(light)
    dy, dx = away[0][:, :, None], away[1][:, None, :]
    yy, xx, yx = cov
    determinant = yy * xx - yx**2
    determinant = xp.where(determinant > _FLAT * (yy + xx) ** 2, determinant, np.nan)
    a, b, c = (value[:, None, None] for value in (xx / determinant, yy / determinant, yx / determinant))
    bell = xp.exp(-(a * dy**2 + b * dx**2 - 2 * c * dy * dx) / 2)
    flat = (len(light), light.shape[1] * light.shape[2])
    one, two = light.reshape(flat), bell.reshape(flat)
    scale = one.mean(axis=1, keepdims=True)
    one, two = one - scale, two - two.mean(axis=1, keepdims=True)
    spread = (one**2).sum(axis=1)
    spread = xp.where(spread > 1e-20 * (scale[:, 0] ** 2), spread, np.nan)  # a uniform map has no variance to explain
    return (one * two).sum(axis=1) ** 2 / (spread * (two**2).sum(axis=1))
