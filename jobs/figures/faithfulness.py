"""The figure of `cvbench analyze faithfulness`: the class's probability as parts are deleted and inserted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.base import COLOURS, LEGEND
from cvbench.jobs.results.row import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def faithfulness_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """Draw a result: deletion and insertion beside each other, a curve per backbone; dashed: in a random order."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 4.2), layout="constrained")
    shares = np.linspace(0, 1, result.attrs["steps"] + 1)
    for axis, (kind, offset) in zip(
        figure.subplots(1, 2, sharey=True), (("deletion", 0), ("insertion", 1)), strict=True
    ):
        for i, layer in enumerate(result.attrs["layers"]):
            colour = COLOURS[i % len(COLOURS)]
            for order, style in ((0, "-"), (2, "--")):
                row = 4 * i + order + offset
                value, low, high = (result.data[f"curves{end}"][1][row] for end in ("", "_low", "_high"))
                axis.fill_between(shares, low, high, color=colour, alpha=0.2, linewidth=0)
                label = layer["backbone"] if order == 0 else None
                axis.plot(shares, value, color=colour, linestyle=style, linewidth=1.1, label=label)
        axis.set_xlabel(f"share of the parts, {'deleted' if kind == 'deletion' else 'inserted'}")
        axis.set_title(kind)
        axis.set_xlim(0, 1)
    axis.set_ylim(bottom=0)
    axis.legend(**LEGEND, fontsize=7)
    figure.axes[0].set_ylabel("probability of the class")
    said = f"bands: {result.attrs['confidence']:.0%} intervals over {result.attrs['samples']} images"
    figure.suptitle(f"{result.attrs['title']}; {said}; dashed: a random order", fontsize=8)
    return figure
