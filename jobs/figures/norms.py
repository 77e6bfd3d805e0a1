"""The figure of `cvbench analyze norms`: histograms layer by layer, outliers by depth, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.base import COLOURS, LEGEND, MARKERS, fitted, layer_ticks
from cvbench.jobs.results.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def norms_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """Draw a result of norms.

    One column per backbone: the histogram of each layer, as a share of its tokens in one scale; below, the share of the
    images with an outlier at each position of the last layer that has positions enough for any. Under them by depth the
    share of outliers and the largest norm.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    layers = result.attrs["layers"]
    names = list(dict.fromkeys(layer["backbone"] for layer in layers))
    own = {name: [i for i, layer in enumerate(layers) if layer["backbone"] == name] for name in names}
    figure = Figure(figsize=(max(4.2 * len(names), 8.4), 10.5), layout="constrained")
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=(2.0, 1.0))
    axes = parts[0, 0].subplots(2, len(names), squeeze=False)
    histogram = result.data["histogram"][1]
    used = np.flatnonzero(histogram.any(axis=0))
    edges = np.log2(np.array(result.coords["edge"]))
    step = float(edges[1] - edges[0])
    most = float(histogram.max())
    last = {name: _last_with_outliers(result, its) for name, its in own.items()}
    highest = max((float(result.data[f"where_{i}"][1].max()) for i in last.values() if i is not None), default=0.0)
    for axis, place, (name, its) in zip(axes[0], axes[1], own.items(), strict=True):
        across = np.append(edges[used[0] : used[-1] + 1], edges[used[-1]] + step)
        shown = histogram[its][:, used[0] : used[-1] + 1]
        image = axis.pcolormesh(
            across, np.arange(len(its) + 1) - 0.5, shown, cmap="viridis", vmin=0, vmax=most, rasterized=True
        )
        layer_ticks(axis, "y", [layers[i]["tap"] for i in its], name)
        axis.set_xlabel("norm of a token (powers of 2)")
        axis.set_title(fitted(name))
        _places(place, result, last[name], highest)
    parts[0, 0].colorbar(image, ax=list(axes[0]), pad=0.01).set_label("share of the layer's tokens")
    scale = ScalarMappable(Normalize(0, max(highest, 1e-9)), "magma")
    parts[0, 0].colorbar(scale, ax=list(axes[1]), pad=0.01).set_label("share of the images")
    below = parts[1, 0].subplots(1, 2)
    for axis, measure, label in zip(
        below,
        ("outliers", "largest"),
        ("share of tokens with an outlying norm", "largest norm / median"),
        strict=True,
    ):
        _by_depth(axis, result, own, measure)
        axis.set_ylabel(label)
    said = f"bands: {result.attrs['confidence']:.0%} intervals over {result.attrs['samples']} images"
    figure.suptitle(f"{said}; outliers: {result.attrs['outlier']}", fontsize=8)
    return figure


def _last_with_outliers(result: Result, its: Sequence[int]) -> int | None:
    """The last layer whose share of outliers is defined."""
    j = result.coords["measure"].index("outliers")
    return next((i for i in reversed(its) if np.isfinite(result.data["layers"][1][i, j])), None)


def _places(axis: Axes, result: Result, layer: int | None, highest: float) -> None:
    """Show where the outliers of a layer lie."""
    if layer is None:
        axis.set_axis_off()
        axis.text(0.5, 0.5, "no layer has positions enough for outliers", ha="center", transform=axis.transAxes)
        return
    axis.imshow(result.data[f"where_{layer}"][1], cmap="magma", vmin=0, vmax=max(highest, 1e-9))
    axis.set_title(fitted(f"outliers of {result.attrs['layers'][layer]['tap']}"), fontsize=8)
    axis.locator_params(integer=True, nbins=7)


def _by_depth(axis: Axes, result: Result, own: dict[str, list[int]], measure: str) -> None:
    j = result.coords["measure"].index(measure)
    for k, (name, its) in enumerate(own.items()):
        value, low, high = (result.data[f"layers{end}"][1][its, j] for end in ("", "_low", "_high"))
        depth, colour = np.linspace(0, 1, len(its)), COLOURS[k % len(COLOURS)]
        axis.fill_between(depth, low, high, color=colour, alpha=0.25, linewidth=0)
        line: dict[str, Any] = {"color": colour, "marker": MARKERS[k % len(MARKERS)], "ms": 3.5, "linewidth": 1.0}
        axis.plot(depth, value, label=name, **line)
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel("depth (0 first layer, 1 last)")
    axis.legend(**LEGEND, fontsize=7)
