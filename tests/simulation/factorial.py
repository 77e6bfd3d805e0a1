"""Two crossed factors of the backbones: effects, and the sums of their squares, with and without any."""

from __future__ import annotations

from functools import partial

import numpy as np

from cvbench.engine.statistics.factorial import ANY, two_way
from cvbench.engine.statistics.measure import indicator
from tests.simulation.accuracy import Rng, trial
from tests.simulation.frame import Case, Trial

RIGHT = indicator("top1", "the true class has the largest logit")


def _normal(n: int, first: float, together: float, rng: Rng) -> dict[str, Trial]:
    """Numbers of n images in 2 x 3 cells that share half of their noise; the second factor has no effect."""
    a = first * np.array([1.0, -1.0])[:, None]
    c = together * np.array([[1.0, -2.0, 1.0], [-1.0, 2.0, -1.0]])
    found = two_way(rng.normal(size=(n, 1, 1)) + a + c + rng.normal(size=(n, 2, 3)), ANY)
    return {
        "effect": trial(first, found.first[0]),
        "squares of two levels": trial(6 * first**2, found.first_spread.squares),
        "squares of three levels without effect": trial(0.0, found.second_spread.squares),
        "squares of both together": trial(12 * together**2, found.together_spread.squares),
    }


def _right(n: int, p: float, shared: float, rng: Rng) -> dict[str, Trial]:
    """Equal classifiers in 2 x 2 cells: a share of the images is decided alike by all."""
    alike, own = rng.random((n, 1, 1)), rng.random((n, 2, 2))
    found = two_way((np.where(rng.random((n, 1, 1)) < shared, alike, own) < p).astype(float), RIGHT)
    return {
        "effect": trial(0.0, found.first[0]),
        "squares of two levels": trial(0.0, found.first_spread.squares),
        "squares of both together": trial(0.0, found.together_spread.squares),
    }


FACTORIAL = "factorial"

CASES = (
    *(
        Case(
            FACTORIAL,
            f"numbers, {n} images, effects {first} and {together}",
            partial(_normal, n, first, together),
            small=n == 200,
        )
        for n in (40, 200, 1000)
        for first, together in ((0.0, 0.0), (0.1, 0.05), (0.5, 0.0))
    ),
    *(
        Case(FACTORIAL, f"top1 of equals, {n} images, {p}", partial(_right, n, p, 0.5), small=(n, p) == (200, 0.8))
        for n, p in ((40, 0.8), (200, 0.8), (1000, 0.8), (200, 0.98))
    ),
)
