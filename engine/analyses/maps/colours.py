"""Feature maps as pictures in colour: their first three principal components over positions as red, green and blue.

A picture that was made known by Oquab et al. 2024 (DINOv2, figure 1). With one basis for several images, parts that are
alike in the features have like colours in all of them; with a basis for each image, colours compare within it alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

WAYS = {"pca": True, "pca-own": False}
"""Name -> whether the images share one basis."""


def principal_colours(maps: NDArray[np.floating], *, common: bool) -> tuple[NDArray[np.float32], F64]:
    """The first three principal components of the positions, each scaled from its least to its greatest value.

    Args:
        maps: (n, H, W, C) on the host, of a few images.
        common: Whether the images share one basis and one scale.

    Returns:
        (n, H, W, 3) float32 in [0, 1], and (n,) float64 the share of the variance that they hold, of all positions or
        of the image's own; 0 without variance. The sign of a component makes its largest |loading| positive; one that
        is not there, as every position is alike or there are fewer channels, is 0.5.
    """
    values = np.asarray(maps, dtype=np.float64)
    parts = [values] if common else [values[i : i + 1] for i in range(len(values))]
    made = [_colours(part) for part in parts if len(part)]
    colours = np.concatenate([colour for colour, _ in made]) if made else np.empty((*values.shape[:3], 3))
    shares = np.array([share for part, (_, share) in zip(parts, made, strict=False) for _ in part], dtype=np.float64)
    return colours.astype(np.float32), shares


def _colours(values: F64) -> tuple[F64, float]:
    flat = values.reshape(-1, values.shape[3])
    flat = flat - flat[:1]  # equal positions become exactly 0
    flat = flat - flat.mean(axis=0)
    found = np.full((len(flat), 3), 0.5)
    if not flat.any():
        return found.reshape(*values.shape[:3], 3), 0.0
    left, sizes, loadings = np.linalg.svd(flat, full_matrices=False)
    there = sizes[:3] > sizes[0] * max(flat.shape) * np.finfo(np.float64).eps  # the rest is rounding
    for k in np.flatnonzero(there):
        scores = left[:, k] * np.sign(loadings[k][np.abs(loadings[k]).argmax()])
        found[:, k] = (scores - scores.min()) / (scores.max() - scores.min())
    squared = np.square(sizes)
    return found.reshape(*values.shape[:3], 3), float(squared[:3][there].sum() / squared.sum())
