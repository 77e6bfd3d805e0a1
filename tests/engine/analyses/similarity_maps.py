"""What the tests of `similarity` share: smooth maps, and the analysis of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Partial, Result
from cvbench.engine.analyses.similarity.measure import Similarity
from cvbench.engine.analyses.similarity.result import MEASURES, VERSIONS
from cvbench.engine.statistics.options import IntervalOptions

Maps = Sequence[NDArray[Any]]


def smooth(rng: np.random.Generator, n: int, height: int, width: int, channels: int = 5) -> NDArray[np.float64]:
    """Maps whose neighbours are alike, with a mean feature."""
    return rng.normal(size=(n, height, width, channels)).cumsum(axis=1).cumsum(axis=2) + 0.7


def layers_of(maps: Maps) -> list[Layer]:
    return [Layer(f"net{i}", "last") for i in range(len(maps))]


def analysis_of(maps: Maps, pixels: int = 48, **options: Any) -> Similarity:
    layers = layers_of(maps)
    grids = {layer: (x.shape[1], x.shape[2]) for layer, x in zip(layers, maps, strict=True)}
    classes = options.pop("classes", None)
    inputs = {layer.backbone: (pixels, pixels) for layer in layers}
    return Similarity.between(grids, inputs, intervals=IntervalOptions(**options), classes=classes)


def partial_of(analysis: Similarity, maps: Maps, rows: slice = slice(None)) -> Partial:
    held = dict(zip(layers_of(maps), maps, strict=True))
    return analysis.measure(list(held), lambda layer: held[layer][rows], np.arange(len(maps[0][rows])))


def result_of(maps: Maps, **options: Any) -> Result:
    analysis = analysis_of(maps, **{"resamples": 100, **options})
    return analysis.summarise(layers_of(maps), [partial_of(analysis, maps)])


def value(result: Result, measure: str, version: str = "raw", layer: int = 0) -> float:
    at = (layer, VERSIONS.index(version), MEASURES.index(measure))
    return float(result.data["measures"][1][at])
