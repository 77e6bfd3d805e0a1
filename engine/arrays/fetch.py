"""Many small arrays of a device to the host in one copy that nobody waits for until its values are needed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.arrays.array import Array
from cvbench.engine.arrays.cuda import device_module


class Fetch:
    """Arrays on their way to page-locked memory of the host, queued behind the work that makes them.

    Args:
        arrays: CuPy arrays of any shape; their values arrive as float64.
    """

    def __init__(self, arrays: Sequence[Array]) -> None:
        import cupyx

        cupy = device_module()
        self._shapes = [tuple(array.shape) for array in arrays]
        packed = cupy.concatenate([array.ravel() for array in arrays], dtype=cupy.float64)
        self._host: NDArray[np.float64] = cupyx.empty_pinned(packed.shape, packed.dtype)
        packed.get(out=self._host, blocking=False)
        self._arrived = cupy.cuda.Event(disable_timing=True)
        self._arrived.record()

    def arrays(self) -> list[NDArray[np.float64]]:
        """The values, in order; waits until they are there."""
        self._arrived.synchronize()
        ends = itertools.accumulate((math.prod(shape) for shape in self._shapes), initial=0)
        spans = itertools.pairwise(ends)
        return [
            self._host[start:end].reshape(shape).copy()  # the page-locked memory is for the next ones
            for (start, end), shape in zip(spans, self._shapes, strict=True)
        ]


def fetched(arrays: Sequence[Array]) -> list[NDArray[np.float64]]:
    """The values of arrays: themselves on the host, else copied from the device at once, in one piece."""
    if not arrays or isinstance(arrays[0], np.ndarray):
        return list(arrays)
    return Fetch(arrays).arrays()
