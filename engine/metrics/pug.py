"""PUG-ImageNet: accuracy where one factor of a rendered scene varies at a time (Bordes et al. 2023).

The same object is rendered 122 times. Renders of one object are alike, so the objects are the sampling units, not the
images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.statistics.clusters import cluster_difference, cluster_share
from cvbench.engine.statistics.estimate import Estimate


@dataclass(frozen=True)
class PugAccuracies:
    """Accuracies with intervals over objects, see `cluster_share`; n counts images.

    Attributes:
        subsets: Of each subset (sub-factor), in the order given.
        groups: Of each group (factor): the plain mean of its subsets.
        mean: The plain mean of all subsets.
        values: Of each value of each curve: curve -> value -> accuracy.
    """

    subsets: dict[str, Estimate]
    groups: dict[str, Estimate]
    mean: Estimate
    values: dict[str, dict[str, Estimate]]


def pug_accuracies(
    correct: NDArray[np.bool_],
    subset: NDArray[np.str_],
    objects: NDArray[np.str_],
    groups: Mapping[str, Sequence[str]],
    curves: Mapping[str, NDArray[np.str_]],
    confidence: float = 0.95,
) -> PugAccuracies:
    """Accuracy per subset, group and value.

    A subset without an image is left out of its group and of the mean; a group without one is NaN.

    Args:
        correct: (n,) bool.
        subset: (n,) text, which subset an image is of.
        objects: (n,) text, which object is rendered: the sampling unit.
        groups: Group -> its subsets, in the order of the result.
        curves: Subset -> (n,) text, the value of the factor that varies there; read for the images of that subset.
        confidence: Of the intervals.
    """
    units = np.unique(objects, return_inverse=True)[1]
    masks = _masks(subset, groups)

    def share(parts: Sequence[NDArray[np.bool_]]) -> Estimate:
        inside = np.any(parts, axis=0)  # only these are counted, so that a value costs its own images
        return cluster_share(
            correct[inside].astype(np.float64), np.stack([part[inside] for part in parts]), units[inside], confidence
        )

    values: dict[str, dict[str, Estimate]] = {}
    for name, column in curves.items():
        inside = subset == name
        known = sorted(np.unique(column[inside]).tolist(), key=_natural)
        values[name] = {value: share([inside & (column == value)]) for value in known}
    return PugAccuracies(
        {name: share([mask]) for name, mask in masks.items()},
        {name: share([masks[member] for member in members]) for name, members in groups.items()},
        share(list(masks.values())),
        values,
    )


def compare_factors(
    a: NDArray[np.bool_],
    b: NDArray[np.bool_],
    subset: NDArray[np.str_],
    objects: NDArray[np.str_],
    groups: Mapping[str, Sequence[str]],
    confidence: float = 0.95,
) -> dict[str, Estimate]:
    """Group -> accuracy of A less that of B on the same images, over objects; arguments as in `pug_accuracies`."""
    signed, units = a.astype(np.float64) - b, np.unique(objects, return_inverse=True)[1]
    masks = _masks(subset, groups)
    return {
        name: cluster_difference(signed, np.stack([masks[member] for member in members]), units, confidence)
        for name, members in groups.items()
    }


def _masks(subset: NDArray[np.str_], groups: Mapping[str, Sequence[str]]) -> dict[str, NDArray[np.bool_]]:
    """Subset -> (n,) bool, its images."""
    return {name: subset == name for members in groups.values() for name in members}


def _natural(text: str) -> tuple[int, float, str]:
    """Numbers by size, before words by letter."""
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text
