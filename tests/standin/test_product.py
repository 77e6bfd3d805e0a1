"""Products on the pretended card: what CuPy would copy first, and what is read where it lies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cvbench.engine.arrays import dft
from cvbench.engine.arrays.cuda import device_module
from cvbench.engine.arrays.product import product
from tests.standin.counters import COUNTERS
from tests.standin.plug import plugged

OPERANDS: dict[str, tuple[int, Callable[[Any, Any], tuple[Any, Any]]]] = {
    "as they lie": (1, lambda x, m: (x, x)),
    "transposed": (2, lambda x, m: (x, x.transpose(0, 2, 1))),
    "a part, transposed": (3, lambda x, m: (x[:, 1:3], x[:, 1:].transpose(0, 2, 1))),
    "a matrix for each": (4, lambda x, m: (m, x)),
    "with a matrix, transposed": (5, lambda x, m: (x, m.T)),
}
"""Two operands, and the launches that CuPy needs for them."""


@pytest.mark.parametrize("name", OPERANDS)
def test_operands_are_read_where_they_lie(name: str) -> None:
    of_cupy, operands = OPERANDS[name]
    x, m = np.arange(48.0).reshape(3, 4, 4), np.arange(16.0).reshape(4, 4)
    with plugged() as cupy:
        device_module()  # it is tried before it is counted
        a, b = operands(cupy.asarray(x), cupy.asarray(m))
        before = COUNTERS.copy()
        plain = a @ b
        middle = COUNTERS.copy()
        found = product(a, b)
        asked = COUNTERS.copy() - middle
        assert (middle - before).launches == of_cupy
        assert (asked.launches, asked.torch_launches, asked.waits) == (0, 1, 0)
        np.testing.assert_array_equal(found.get(), plain.get())


def test_a_transform_is_two_products() -> None:
    """And two squares and their sum; CuPy's own takes two transforms and three copies of all."""
    maps = np.random.default_rng(0).normal(size=(2, 20, 20, 8)).astype(np.float32)
    with plugged() as cupy:
        there = cupy.asarray(maps)
        dft.power(there)  # brings the tables up
        before = COUNTERS.copy()
        found = dft.power(there)
        asked = COUNTERS.copy() - before
        assert (asked.launches, asked.torch_launches, asked.uploads) == (3, 2, 0)
        np.testing.assert_allclose(found.get(), dft.power(maps), rtol=1e-4, atol=1e-3)
