"""One number per position of a feature map, and what is read off such maps: arrays in, arrays out, NumPy or CuPy.

Symbols: x (H, W, C) one image's map; N = its channel L2 norm (H, W), the norm of the token; f (H, W) in [0, 1] how much
of each cell a box covers; s = N scaled to [0, 1] by its minimum and maximum.

    foreground share   sum f N / sum N                            its chance level is the box's share of the area
    contrast           sum f s / sum f - sum (1-f) s / sum (1-f)
    outlier            a position with N > median + 5 * 1.4826 * MAD, both of this image's N (Darcet et al. 2024; the
                       median absolute deviation times 1.4826 is the standard deviation of a normal distribution)

The rule has no floor: where more than half the positions have one and the same norm, MAD is 0 and any larger is out.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.arrays.array import Array, namespace

KINDS = ("mean", "abs", "norm", "pc1")
"""Mean over channels, mean absolute value, channel L2 norm, score on the first principal component over positions."""

OUTLIER_DEVIATIONS = 5.0
NORMAL = 1.4826


def channel_norm(maps: Array) -> Array:
    """(n, H, W, C) float16, float32 or float64 -> (n, H, W) float64 channel L2 norms."""
    xp = namespace(maps)
    work = xp.float64 if maps.dtype == xp.float64 else xp.float32
    with np.errstate(over="ignore", invalid="ignore"):
        return xp.sqrt(xp.square(maps.astype(work, copy=False)).sum(axis=3, dtype=xp.float64))


def channel_maps(maps: NDArray[np.floating]) -> NDArray[np.float64]:
    """All kinds of maps of a few images.

    Args:
        maps: (n, H, W, C) on the host.

    Returns:
        (n, 4, H, W) float64, KINDS. The component is that of the image's own positions, centred; its sign makes the
        largest |loading| positive, and it is 0 where all positions are equal.
    """
    values = np.asarray(maps, dtype=np.float64)
    first = np.stack([_first_component(image) for image in values]) if len(values) else np.empty(values.shape[:3])
    return np.stack([values.mean(axis=3), np.abs(values).mean(axis=3), channel_norm(values), first], axis=1)


def _first_component(image: NDArray[np.float64]) -> NDArray[np.float64]:
    height, width, channels = image.shape
    flat = image.reshape(height * width, channels)
    flat = flat - flat[:1]  # equal positions become exactly 0
    flat = flat - flat.mean(axis=0)
    if not flat.any():
        return np.zeros((height, width))
    left, values, loadings = np.linalg.svd(flat, full_matrices=False)
    sign = math.copysign(1.0, loadings[0][np.abs(loadings[0]).argmax()])
    return np.asarray((sign * values[0] * left[:, 0]).reshape(height, width))


def outliers(norms: Array) -> Array:
    """(n, H, W) channel norms -> (n, H, W) bool, the positions whose norm is an outlier of its image."""
    xp = namespace(norms)
    flat = norms.reshape(len(norms), -1)
    median = xp.median(flat, axis=1, keepdims=True)
    deviation = xp.median(xp.abs(flat - median), axis=1, keepdims=True)
    return (flat > median + OUTLIER_DEVIATIONS * NORMAL * deviation).reshape(norms.shape)


def weighted_share(values: Array, fractions: Array) -> Array:
    """(n, H, W) values >= 0, (n, H, W) fractions -> (n,) sum of fractions * values over sum of values.

    NaN where the values are all 0, and where a fraction is NaN.
    """
    xp = namespace(values)
    total = values.sum(axis=(1, 2))
    return (values * fractions).sum(axis=(1, 2)) / xp.where(total > 0, total, xp.nan)


def inside_less_outside(norms: Array, fractions: Array) -> Array:
    """The contrast of each image.

    Args:
        norms: (n, H, W) float64.
        fractions: (n, H, W) how much of each cell is inside.

    Returns:
        (n,) in [-1, 1]; NaN where the norms are all equal, nothing is inside or nothing outside, or a fraction is NaN.
    """
    xp = namespace(norms)
    low, high = (found(axis=(1, 2), keepdims=True) for found in (norms.min, norms.max))
    scaled = (norms - low) / xp.where(high > low, high - low, xp.nan)
    return _mean_over(scaled, fractions) - _mean_over(scaled, 1 - fractions)


def _mean_over(values: Array, weights: Array) -> Array:
    xp = namespace(values)
    total = weights.sum(axis=(1, 2))
    return (values * weights).sum(axis=(1, 2)) / xp.where(total > 0, total, xp.nan)
