"""The figure of token norms: where the outliers lie is shown of a layer that can have some."""

from __future__ import annotations

import numpy as np
import pytest

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.norms.measure import Norms
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.jobs.figures.base import drawn
from cvbench.jobs.figures.norms import norms_figure
from tests.seeds import seeded


@pytest.mark.parametrize(
    ("sides", "shown"),
    [
        ((6, 5), "outliers of second"),
        ((6, 3), "outliers of first"),  # few positions have few outliers
        ((3, 2), "no layer has positions enough for outliers"),
    ],
)
def test_outliers_are_of_the_last_layer_that_has_positions_enough(sides: tuple[int, int], shown: str) -> None:
    layers = [Layer("net", "first"), Layer("net", "second")]
    rng = seeded(1)
    maps = {layer: rng.normal(3, 1, (12, side, side, 8)) for layer, side in zip(layers, sides, strict=True)}
    analysis = Norms(None, IntervalOptions(resamples=20))
    result = analysis.summarise(layers, [analysis.measure(layers, maps.__getitem__, np.arange(12))])
    figure = drawn(lambda: norms_figure(result, []))
    assert figure is not None
    texts = {axis.get_title() for axis in figure.axes} | {
        text.get_text() for axis in figure.axes for text in axis.texts
    }
    assert shown in texts
    assert sum("outliers" in text for text in texts) == 1
