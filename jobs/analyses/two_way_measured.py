"""What `cvbench analyze two-way` can take apart: analyses whose partials hold numbers of every image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Analysis, Partial
from cvbench.engine.analyses.maps.measure import TESTED as MAPS_TESTED
from cvbench.engine.analyses.maps.measure import WANTS as MAPS_WANTS
from cvbench.engine.analyses.maps.measure import ChannelMaps
from cvbench.engine.analyses.similarity.measure import WANTS as SIMILARITY_WANTS
from cvbench.engine.analyses.similarity.measure import Similarity
from cvbench.engine.analyses.similarity.result import FLOOR, MEASURES, VERSIONS
from cvbench.engine.analyses.similarity.result import TABLE as SIMILARITIES
from cvbench.engine.analyses.spectra.measure import WANTS as SPECTRA_WANTS
from cvbench.engine.analyses.spectra.measure import Spectra
from cvbench.engine.analyses.spectra.result import TABLE as SPECTRA
from cvbench.engine.statistics.measure import Measure
from cvbench.jobs.analyses import maps, similarity, spectra
from cvbench.jobs.analyses.maps import MapsRecipe
from cvbench.jobs.analyses.maps_images import boxes_digest, input_boxes, open_images
from cvbench.jobs.analyses.measure import MeasureRecipe
from cvbench.jobs.analyses.options import TwoWayOptions
from cvbench.jobs.reading.reading import Reading
from cvbench.storage.results.outcomes import ResultKey

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Made:
    """An analysis of a reading.

    Attributes:
        analysis: What measures its layers.
        common: The grid on which it measures them all, or None: each on its own.
        recipe: What makes its workers.
        notes: What is said of it.
    """

    analysis: Analysis
    common: tuple[int, int] | None = None
    recipe: Callable[[Reading, Analysis, ResultKey, int, str], MeasureRecipe] = MeasureRecipe
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """An analysis whose partials hold numbers of every image.

    Attributes:
        table: What may be measured, by metric.
        mains: The metric that a short table shows: the first of these that is measured.
        make: What measures the layers of a reading.
        numbers: (partial, number of a layer) -> (n, m), the first m of `table`.
        floors: Metric -> what is below it lies between two positions of a grid, so it is not measured.
    """

    table: Sequence[Measure]
    mains: tuple[str, ...]
    wants: str
    make: Callable[[Reading, TwoWayOptions], Made]
    numbers: Callable[[Partial, int], F64]
    floors: dict[str, float]


def _spectral(reading: Reading, options: TwoWayOptions) -> Made:
    return Made(Spectra(tuple(reading.input_sizes.items())))


def _lagged(reading: Reading, options: TwoWayOptions) -> Made:
    analysis = Similarity.between(reading.grids(SIMILARITY_WANTS), reading.input_sizes)
    return Made(analysis, analysis.common)


def _mapped(reading: Reading, options: TwoWayOptions) -> Made:
    dataset, notes = open_images(reading, options.source, options.data_root)
    boxes, said = input_boxes(reading, dataset)
    analysis = ChannelMaps.between(reading.grids(MAPS_WANTS), boxes_digest(boxes))
    return Made(analysis, analysis.common, partial(MapsRecipe, boxes=boxes), (*notes, *said["notes"]))


def _of_grids(part: Partial, index: int) -> F64:
    """The numbers on the common grid, all versions side by side."""
    found = part.get(f"common/{index}", part[f"scalars/{index}"])
    return found.reshape(len(found), -1)


def _of_maps(part: Partial, index: int) -> F64:
    """The numbers `SPLIT` on the common grid; without boxes the first alone."""
    found = part.get(f"common/{index}", part[f"measures/{index}"])
    measured = list(maps.MEASURED)[: found.shape[1]]
    return found[:, [at for at, name in enumerate(measured) if name in SPLIT]]


SPLIT = ("outlier_rate", *MAPS_TESTED)
"""Of maps: shares less those of the box's area, which are no backbone's doing."""
_SIMILAR = [
    replace(measure, name=f"{similarity.QUANTITIES[name]}, {version}")
    for (version, name), measure in zip(
        ((version, name) for version in VERSIONS for name in MEASURES), SIMILARITIES, strict=True
    )
]
OF = {  # as `--of` calls them
    "spectra": Measured(
        [replace(measure, name=spectra.QUANTITIES[measure.name]) for measure in SPECTRA],
        (spectra.QUANTITIES["share_above_0.5"],),
        SPECTRA_WANTS,
        _spectral,
        lambda part, index: part[f"measures/{index}"],
        {},
    ),
    "similarity": Measured(
        _SIMILAR,
        (similarity.MAIN[0],),
        SIMILARITY_WANTS,
        _lagged,
        _of_grids,
        {f"{similarity.QUANTITIES['length']}, {version}": FLOOR for version in VERSIONS},
    ),
    "maps": Measured(
        [replace(maps.MEASURED[name], name=maps.QUANTITIES[name]) for name in SPLIT],
        (maps.QUANTITIES["foreground_excess"], maps.QUANTITIES["outlier_rate"]),
        MAPS_WANTS,
        _mapped,
        _of_maps,
        {},
    ),
}
