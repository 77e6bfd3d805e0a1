"""IoU over all images together, and what two backbones differ by, with few and with many images of a class."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.probe.overlap import MEASURES, overlap_differences, overlap_estimates, overlaps
from tests.simulation.accuracy import judged, options, trial
from tests.simulation.frame import Case, Trial

Rng = np.random.Generator
I64 = NDArray[np.int64]

CELLS = 4096


def scenes(n: int, classes: int, rng: Rng) -> tuple[I64, I64]:
    """(n,) the class of each image's object, and (n,) its cells: between a hundredth and two thirds of an image."""
    return rng.integers(1, classes + 1, n), np.rint(CELLS * (0.01 + 0.65 * rng.beta(2, 5, n))).astype(np.int64)


def predictions(own: I64, cells: I64, classes: int, found: float, rng: Rng) -> I64:
    """(n, 3 k + 1) counts of predictions that hit a part of the object, some as another class, and some ground.

    How much is hit, and as which class, is an image's own: its cells are not independent.

    Args:
        own, cells: Of `scenes`.
        classes: Without the background.
        found: Mean share of an object's cells that are hit.
    """
    n, rows, k = len(own), np.arange(len(own)), classes + 1
    hit = np.rint(cells * rng.beta(8 * found, 8 * (1 - found), n)).astype(np.int64)
    called = np.where(rng.random(n) < 0.8, own, rng.integers(1, classes + 1, n))
    ground = np.rint((CELLS - cells) * rng.beta(0.5, 12, n)).astype(np.int64)
    right, predicted, true = np.zeros((3, n, k), dtype=np.int64)
    true[rows, 0], true[rows, own] = CELLS - cells, cells
    predicted[rows, 0] = CELLS - hit - ground
    predicted[rows, called] += hit + ground
    right[rows, 0] = CELLS - cells - ground
    right[rows, own] = np.where(called == own, hit, 0)
    return np.concatenate([right, predicted, true, hit[:, None]], axis=1)


@cache
def truth(classes: int, found: float) -> tuple[float, ...]:
    """`MEASURES` and the IoU of each class, of so many images that they are the law's."""
    rng = np.random.default_rng(11)
    total = np.zeros(3 * (classes + 1) + 1)
    for _ in range(40):
        total += predictions(*scenes(50_000, classes, rng), classes, found, rng).sum(axis=0)
    return tuple(overlaps(total[None])[0].tolist())


def _values(n: int, classes: int, found: float, rng: Rng) -> dict[str, Trial]:
    counts = predictions(*scenes(n, classes, rng), classes, found, rng)
    estimates = overlap_estimates(counts, options(rng))
    names = (*MEASURES, *["background", "a class"][: 2 if classes > 1 else 1])
    return {name: trial(true, one) for name, true, one in zip(names, truth(classes, found), estimates, strict=False)}


def _differences(n: int, classes: int, found: tuple[float, float], rng: Rng) -> dict[str, Trial]:
    own = scenes(n, classes, rng)
    first, second = (predictions(*own, classes, one, rng) for one in found)
    true = np.subtract(*(np.array(truth(classes, one)[:3]) for one in found)) if found[0] != found[1] else np.zeros(3)
    estimates = overlap_differences(first, second, options(rng))
    return {name: judged(float(t), one) for name, t, one in zip(MEASURES, true, estimates, strict=True)}


AREA = "overlap"

CASES = (
    Case(AREA, "one class, n 30", partial(_values, 30, 1, 0.7), small=True),
    Case(AREA, "ten classes, n 100", partial(_values, 100, 10, 0.7), small=True),
    Case(AREA, "ten classes, n 500", partial(_values, 500, 10, 0.7)),
    Case(AREA, "ten classes, n 500, hardly any found", partial(_values, 500, 10, 0.1)),
    Case(AREA, "equals, one class, n 30", partial(_differences, 30, 1, (0.7, 0.7)), null=True, small=True),
    Case(AREA, "equals, ten classes, n 100", partial(_differences, 100, 10, (0.7, 0.7)), null=True),
    Case(AREA, "equals, ten classes, n 500", partial(_differences, 500, 10, (0.7, 0.7)), null=True),
    Case(AREA, "difference, ten classes, n 500", partial(_differences, 500, 10, (0.7, 0.6))),
)
