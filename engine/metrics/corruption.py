"""Errors under common corruptions, and the mean corruption error (Hendrycks & Dietterich 2019, section 4.1).

    E(c)   error of a corruption c: 1 - top-1, over all images and severities
    CE(c)  E(c) / E_AlexNet(c), which is the paper's ratio of sums over severities
    mCE    mean of CE over the 15 corruptions
    noise excess    mean of E over the three kinds of noise, less that over the eight of weather and digital kind

An image stands under every corruption and severity, so these are not independent: the unit is the image. Each of the
numbers is a mean over images of what one image has: its share of severities that are wrong, that share over AlexNet's
error, and the mean of these over corruptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

ALEXNET = MappingProxyType(
    {
        "gaussian_noise": 0.886428,
        "shot_noise": 0.894468,
        "impulse_noise": 0.922640,
        "defocus_blur": 0.819880,
        "glass_blur": 0.826268,
        "motion_blur": 0.785948,
        "zoom_blur": 0.798360,
        "snow": 0.866816,
        "frost": 0.826572,
        "fog": 0.819324,
        "brightness": 0.564592,
        "contrast": 0.853204,
        "elastic_transform": 0.646056,
        "pixelate": 0.717840,
        "jpeg_compression": 0.606500,
    }
)
"""Top-1 errors of AlexNet, means over five severities, as the benchmark's authors publish them with their code."""
NOISE = ("gaussian_noise", "shot_noise", "impulse_noise")
WEATHER = ("snow", "frost", "fog", "brightness")
DIGITAL = ("contrast", "elastic_transform", "pixelate", "jpeg_compression")
"""Groups of the benchmark; the fourth is blur."""


def image_errors(
    wrong: NDArray[np.bool_], image: NDArray[np.int64], corruption: NDArray[np.int64], shape: tuple[int, int]
) -> tuple[F64, NDArray[np.int64]]:
    """Count by image and corruption.

    Args:
        wrong: (n,) of n samples, each an image under one corruption and severity.
        image, corruption: (n,) their numbers, from 0.
        shape: How many images and corruptions there are.

    Returns:
        (images, corruptions) float64 the share of an image's severities that are wrong, NaN where there is none; and
        int64 how many there are.
    """
    place = image * shape[1] + corruption
    counts = np.bincount(place, minlength=shape[0] * shape[1])
    errors = np.bincount(place, weights=wrong, minlength=shape[0] * shape[1])
    with np.errstate(invalid="ignore"):
        return (errors / counts).reshape(shape), counts.reshape(shape)


def corruption_errors(errors: F64, names: Sequence[str]) -> F64:
    """(images, corruptions) errors -> the same over AlexNet's; NaN for a corruption that is not among the 15."""
    return np.asarray(errors / np.array([ALEXNET.get(name, np.nan) for name in names]))


def noise_excess(errors: F64, names: Sequence[str]) -> F64:
    """(images,) mean error under noise less that under weather and digital corruptions; NaN if one is not there.

    Noise adds high frequencies, blur takes them away, the other two groups do neither as a whole: what is left is what
    noise costs beyond what a corruption costs anyway.

    Args:
        errors: (images, corruptions).
        names: Of the corruptions.
    """
    means = []
    for group in (NOISE, (*WEATHER, *DIGITAL)):
        if not set(group) <= set(names):
            return np.full(len(errors), np.nan)
        means.append(errors[:, [list(names).index(name) for name in group]].mean(axis=1))
    return np.asarray(means[0] - means[1])
