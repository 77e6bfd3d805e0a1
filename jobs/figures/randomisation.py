"""The figure of `cvbench analyze randomisation`: what is left of a map as parameters are shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.base import COLOURS, LEGEND
from cvbench.jobs.results.row import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def randomisation_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """Draw a result: the map and its positive part beside each other, a curve per backbone."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 4.2), layout="constrained")
    steps = result.attrs["steps"]
    shares = np.arange(1, steps + 1) / steps
    for j, (axis, title) in enumerate(zip(figure.subplots(1, 2, sharey=True), ("map", "positive part"), strict=True)):
        for i, layer in enumerate(result.attrs["layers"]):
            colour = COLOURS[i % len(COLOURS)]
            value, low, high = (result.data[f"curves{end}"][1][2 * i + j] for end in ("", "_low", "_high"))
            axis.fill_between(shares, low, high, color=colour, alpha=0.2, linewidth=0)
            axis.plot(shares, value, color=colour, marker="o", markersize=3, linewidth=1.1, label=layer["backbone"])
        axis.axhline(0, color="0.6", linewidth=0.8)
        axis.set_xlabel("share of the parts shuffled, from the classifier down")
        axis.set_title(title)
        axis.set_xlim(0, 1.02)
    figure.axes[0].set_ylabel("rank correlation with the network's own map")
    figure.axes[0].legend(**LEGEND, fontsize=7)
    said = f"bands: {result.attrs['confidence']:.0%} intervals over {result.attrs['samples']} images"
    figure.suptitle(f"{result.attrs['title']}; {said}", fontsize=8)
    return figure
