"""Reads the numbers of a pass back: unit by unit, the readable images of every layer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.jobs.reading.reading import Reading


def unit_tables(reading: Reading) -> Iterator[dict[Layer, NDArray[np.float64]]]:
    """For each unit, in order: layer -> (readable images, *shape) float64. Memory: the numbers of one unit."""
    stored = reading.layers
    for unit, rows in reading.kept:
        yield {layer: values.read_unit(unit)[rows].astype(np.float64) for layer, values in stored.items()}
