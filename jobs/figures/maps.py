"""The figure of `cvbench analyze maps`: images beside their maps, and the numbers over all images by depth.

The same result gives the same bytes with the same matplotlib, as for every figure (see `cvbench.jobs.figures.base`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.maps.colours import WAYS
from cvbench.jobs.figures.base import COLOURS, LEGEND, MARKERS
from cvbench.jobs.results.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_IMAGES = 12
TITLES = {
    "mean": "mean over channels",
    "abs": "mean absolute value over channels",
    "norm": "channel L2 norm",
    "pc1": "first principal component",
    "pca": "first three principal components of all images drawn, as red, green and blue",
    "pca-own": "first three principal components of each image, as red, green and blue",
}
LABELS = {
    "outlier_rate": ("outlier tokens", "share of tokens", "outlier rate"),
    "foreground_excess": ("channel norm in the box, above a uniform map", "share of norm − area", "excess"),
    "contrast": ("foreground-background contrast", "inside − outside", "contrast"),
}
"""Measures drawn over all images: title, axis, short name. 0 is what a map has that does not know the box."""
SIDE = 1.7  # inches of a panel


def maps_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """Draw a maps result.

    One row per image, the first twelve: the image as a backbone sees it (with its box), and beside it the chosen map of
    each drawn layer, scaled from its own least to its own greatest value, which stand below. Under them the numbers
    over all images, by depth.
    """
    from matplotlib.figure import Figure

    columns, ids = _columns(result), result.coords["image"][:MAX_IMAGES]
    width = max(SIDE * len(columns), 8.4)
    below_height = 5.0 if "pair" in result.coords else 3.6
    figure = Figure(figsize=(width + 0.3, (SIDE + 0.2) * len(ids) + below_height), layout="constrained")
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=((SIDE + 0.2) * len(ids) + 0.7, below_height - 0.7))
    above, below = parts[0, 0], parts[1, 0]
    axes = above.subplots(len(ids), len(columns), squeeze=False)
    kind = result.attrs["measure"]
    scale = "" if kind in WAYS else "; each map from its least (dark) to its greatest value (bright)"
    above.suptitle(TITLES[kind] + scale, fontsize=8)
    for line, name in enumerate(ids):
        for axis, column in zip(axes[line], columns, strict=True):
            _panel(axis, result, column, line)
            axis.set_xticks([])
            axis.set_yticks([])
            if line:
                axis.set_title("")
        axes[line][0].set_ylabel(name if len(name) <= 24 else f"…{name[-23:]}", fontsize=6)
    _numbers(below, result)
    return figure


def _columns(result: Result) -> list[tuple[str, int, int]]:
    """("picture" or "map", its number, the picture that belongs to it); a picture stands before its layers' maps."""
    columns: list[tuple[str, int, int]] = []
    shown = None
    for drawn in result.attrs["drawn"]:
        if drawn["picture"] != shown and f"picture_{drawn['picture']}" in result.data:
            columns.append(("picture", drawn["picture"], drawn["picture"]))
        shown = drawn["picture"]
        columns.append(("map", drawn["layer"], drawn["picture"]))
    return columns


def _panel(axis: Axes, result: Result, column: tuple[str, int, int], line: int) -> None:
    what, number, picture = column
    if what == "picture":
        image = result.data[f"picture_{number}"][1][line]
        axis.imshow(image, interpolation="nearest")
        axis.set_title(f"input\n{image.shape[0]}x{image.shape[1]} pixels", fontsize=7)
        _box(axis, result, picture, line, 1.0, 1.0)
        return
    layer = result.attrs["layers"][number]
    height, width = layer["grid"]
    if result.attrs["measure"] in WAYS:
        values = result.data[f"colour_{number}"][1][line]
        (drawn,) = (one for one in result.attrs["drawn"] if one["layer"] == number)
        below = f"{drawn['explained'][line]:.0%} of the variance"
    else:
        values = result.data[f"map_{number}"][1][result.coords["kind"].index(result.attrs["measure"]), line]
        below = f"{values.min():.3g} to {values.max():.3g}"
    axis.imshow(values, cmap="viridis", interpolation="nearest", extent=(0, width, height, 0))
    axis.set_title(f"{layer['backbone']}\n{layer['tap']}  {height}x{width}", fontsize=7)
    axis.set_xlabel(below, fontsize=6, labelpad=2)
    if f"picture_{picture}" in result.data:
        rows, columns = result.data[f"picture_{picture}"][1].shape[1:3]
        _box(axis, result, picture, line, height / rows, width / columns)


def _box(axis: Axes, result: Result, picture: int, line: int, down: float, across: float) -> None:
    """The sample's box, if it has one, in the axis's own units: `down` and `across` per pixel."""
    from matplotlib.patches import Rectangle

    if f"box_{picture}" not in result.data:
        return
    x0, y0, x1, y1 = (float(edge) for edge in result.data[f"box_{picture}"][1][line])
    if np.isnan(x0):
        return
    shift = -0.5 if down == 1.0 else 0.0  # a picture's first pixel is centred at 0
    place = (x0 * across + shift, y0 * down + shift)
    size = ((x1 - x0) * across, (y1 - y0) * down)
    for colour, width in (("black", 2.0), ("white", 0.9)):  # seen on any ground
        axis.add_patch(Rectangle(place, *size, fill=False, edgecolor=colour, linewidth=width))


def _numbers(figure: Any, result: Result) -> None:
    """The measures over all images by depth, one curve per backbone; beside them what the last layers differ by."""
    measures, pairs = result.coords["measure"], result.coords.get("pair", [])
    there = [(name, *LABELS[name]) for name in LABELS if name in measures]
    # A panel of nothing but zeros would take the room of one that shows something: the title says it.
    shown = [one for one in there if len(there) == 1 or not _all_zero(result, one[0])]
    axes = figure.subplots(2 if pairs else 1, len(shown), squeeze=False, height_ratios=[2.2, 1.0] if pairs else [1.0])
    for axis, (measure, title, label, _) in zip(axes[0], shown, strict=True):
        _depth(axis, result, measure)
        axis.set_title(title, fontsize=7)
        axis.set_ylabel(label)
    for axis, (measure, _, _, name) in zip(axes[-1] if pairs else [], shown, strict=False):
        _differences(axis, result, measure)
        axis.set_xlabel(f"difference of {name}")
    axes[0][0].legend(**LEGEND, fontsize=6)
    said = f"{result.attrs['confidence']:.0%} intervals over {result.attrs['samples']} images"
    if pairs:
        grid = "x".join(map(str, result.attrs["common_grid"]))
        said += f"; below: last layers, first less second, on the common {grid} grid"
    none = [title for name, title, *_ in there if name not in {one[0] for one in shown}]
    figure.suptitle("\n".join([said, *(f"{title}: none in any layer" for title in none)]), fontsize=8)


def _all_zero(result: Result, measure: str) -> bool:
    """Whether the outlier rate is 0 in every layer, and in what the last layers differ by."""
    at = result.coords["measure"].index(measure)
    own = [result.data[name][1][:, at] for name in ("measures", "difference") if name in result.data]
    return measure == "outlier_rate" and not any(values.any() for values in own)


def _depth(axis: Axes, result: Result, measure: str) -> None:
    layers, at = result.attrs["layers"], result.coords["measure"].index(measure)
    for i, backbone in enumerate(dict.fromkeys(layer["backbone"] for layer in layers)):
        rows = [j for j, layer in enumerate(layers) if layer["backbone"] == backbone]
        value, low, high = (result.data[f"measures{end}"][1][rows, at] for end in ("", "_low", "_high"))
        depth, colour = np.linspace(0, 1, len(rows)), COLOURS[i % len(COLOURS)]
        if len(rows) == 1:
            axis.errorbar(depth, value, [value - low, high - value], color=colour, linewidth=1.0, capsize=2)
        axis.fill_between(depth, low, high, color=colour, alpha=0.25, linewidth=0)
        axis.plot(depth, value, label=backbone, color=colour, marker=MARKERS[i % len(MARKERS)], ms=3.5, linewidth=1.0)
    axis.axhline(0, color="0.5", linewidth=0.6)
    axis.set_xlim(-0.04, 1.04)
    axis.set_xlabel("depth (0 first layer, 1 last)")
    if measure == "outlier_rate":  # without any outlier the axis ends at one token of the finest grid
        finest = max(layer["grid"][0] * layer["grid"][1] for layer in layers)
        highest = result.data["measures_high"][1][:, at] if result.attrs["samples"] > 1 else value
        axis.set_ylim(0, 1.05 * max(1 / finest, float(np.nanmax(highest, initial=0.0))))


def _differences(axis: Axes, result: Result, measure: str) -> None:
    """One line per pair of backbones: what their last layers differ by on the common grid."""
    at, pairs = result.coords["measure"].index(measure), result.coords["pair"]
    value, low, high = (result.data[f"difference{end}"][1][:, at] for end in ("", "_low", "_high"))
    lines = np.arange(len(pairs))
    reach = [value - low, high - value]
    axis.errorbar(value, lines, xerr=reach, fmt="o", color="black", ms=3.5, capsize=2, linewidth=1)
    axis.axvline(0, color="0.5", linewidth=0.6)
    axis.set_yticks(lines, [pair.replace(" vs ", "\n− ") for pair in pairs], fontsize=6)
    axis.set_ylim(len(pairs) - 0.5, -0.5)
    axis.locator_params(axis="x", nbins=4)
    if not np.nanmax(np.abs([value, low, high]), initial=0.0):
        axis.set_xlim(-0.05, 0.05)
