"""Shape or texture? Decisions on images whose shape and texture are of different classes (Geirhos et al. 2019).

shape bias = n_shape / (n_shape + n_texture), over the images decided as one of the two; others are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.intervals import wilson

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class ShapeBias:
    """Shape bias over the images with a conflict.

    Attributes:
        bias: Pooled over all images, Wilson's interval; n is n_shape + n_texture; NaN if that is 0.
        per_category: The same by shape category.
        shape, texture: Share of the conflicting images that are decided by shape, and by texture.
        conflicts: How many images have a conflict.
    """

    bias: Estimate
    per_category: dict[str, Estimate]
    shape: Estimate
    texture: Estimate
    conflicts: int


def category_decisions(logits: NDArray[Any], indices: Mapping[str, Sequence[int]]) -> I64:
    """The category of each sample: the largest *mean* softmax probability over a category's classes.

    The mean does not favour categories of many classes as a sum would. Ties: the first category.

    Args:
        logits: (n, 1000).
        indices: Category -> its classes, in the order that the returned numbers count.

    Returns:
        (n,) int64 position of the category.
    """
    z = logits.astype(np.promote_types(logits.dtype, np.float32), copy=False)
    weights = np.exp(z - z.max(axis=1, keepdims=True))  # the softmax but for a factor per row: no argmax changes
    means = [weights[:, list(classes)].mean(axis=1, dtype=np.float64) for classes in indices.values()]
    decided: I64 = np.stack(means, axis=1).argmax(axis=1).astype(np.int64)
    return decided


def shape_bias(
    decided: I64, shape: I64, texture: I64, categories: Sequence[str], confidence: float = 0.95
) -> ShapeBias:
    """Shape bias of n decisions, (n,) int64 positions in `categories` each; images without a conflict are left out."""
    conflict = shape != texture
    decided, shape, texture = decided[conflict], shape[conflict], texture[conflict]
    by_shape, by_texture = decided == shape, decided == texture

    def bias(chosen: NDArray[np.bool_]) -> Estimate:
        hits = int((by_shape & chosen).sum())
        return wilson(hits, hits + int((by_texture & chosen).sum()), confidence)

    return ShapeBias(
        bias=bias(np.ones(len(decided), bool)),
        per_category={name: bias(shape == i) for i, name in enumerate(categories)},
        shape=wilson(int(by_shape.sum()), len(decided), confidence),
        texture=wilson(int(by_texture.sum()), len(decided), confidence),
        conflicts=len(decided),
    )
