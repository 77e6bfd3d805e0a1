"""Analyses of maps, unit by unit: memory does not grow with the units."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from cvbench.engine.analyses.base import Analysis, Layer, Partial
from cvbench.engine.analyses.maps.measure import ChannelMaps, InputBoxes
from cvbench.engine.analyses.similarity.measure import Similarity
from cvbench.engine.analyses.spectra.measure import Spectra
from cvbench.engine.statistics.options import IntervalOptions

LAYERS = {Layer("a", "x"): (8, 6), Layer("a", "y"): (4, 3), Layer("b", "x"): (6, 6)}
UNIT = 32
ROWS = np.arange(UNIT)


BOXES = InputBoxes(np.tile([4.0, 5, 30, 40], (UNIT, 1)), (48, 48))

MADE: dict[str, Callable[[], Analysis]] = {
    "spectra": lambda: Spectra(intervals=IntervalOptions(resamples=50)),
    "similarity": lambda: Similarity.between(LAYERS, {}, intervals=IntervalOptions(resamples=50)),
    "maps": lambda: ChannelMaps.between(LAYERS, "digest", intervals=IntervalOptions(resamples=50)),
}


def partials(analysis: Analysis, units: int) -> Iterator[Partial]:
    for unit in range(units):
        rng = np.random.default_rng(unit)
        maps = {layer: rng.normal(size=(UNIT, *grid, 16)) for layer, grid in LAYERS.items()}
        inside = [{"a": BOXES, "b": BOXES}] if isinstance(analysis, ChannelMaps) else []
        yield analysis.measure(list(LAYERS), maps.__getitem__, ROWS, *inside)


def peak(analysis: Analysis, units: int) -> int:
    """Bytes at most, from the first unit to the result."""
    gc.collect()
    tracemalloc.start()
    try:
        analysis.summarise(list(LAYERS), partials(analysis, units))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", MADE)
def test_four_times_the_units_take_no_more(name: str) -> None:
    analysis = MADE[name]()
    peak(analysis, 1)  # tables of the grids are made once
    few, many = peak(analysis, 16), peak(analysis, 64)
    # 48 units more are 1536 images; kept, the numbers of each (20 or more) would be 250 kB more. Half of it for noise.
    assert many < few + 125_000
