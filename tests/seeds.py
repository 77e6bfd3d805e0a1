"""Draws of the numeric tests: with CVBENCH_TEST_SEED=k other ones, so that `make test-numerics` sees ten of each.

A tolerance that follows from arithmetic holds for any draw, and for any order in which a library adds.
"""

from __future__ import annotations

import os

import numpy as np

DRAW = int(os.environ.get("CVBENCH_TEST_SEED", "0"))


def seeded(seed: int) -> np.random.Generator:
    """The generator of this seed and of the draw that is asked for; the first draw is that of the seed alone."""
    return np.random.default_rng([seed, DRAW] if DRAW else seed)
