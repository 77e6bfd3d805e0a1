"""The figure of `cvbench analyze spectra`: curves per layer on two axes, layer x frequency maps, and numbers by depth.

The same result gives the same bytes with the same matplotlib, as for every figure (see `cvbench.jobs.figures.base`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.base import COLOURS, LEGEND, MARKERS, layer_ticks
from cvbench.jobs.results.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHARE = "share_above_0.5"


@dataclass(frozen=True)
class Stack:
    """The layers of one backbone, first to last: their rows in the result, tap names and grids."""

    backbone: str
    rows: list[int]
    taps: list[str]
    grids: list[tuple[int, ...]]

    @property
    def stages(self) -> list[int]:
        """Layers at which the grid changes."""
        return [i for i in range(1, len(self.grids)) if self.grids[i] != self.grids[i - 1]]


def spectra_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """Draw a spectra result.

    One column per backbone: the radial profile of each layer at its own bins, by frequency of its own grid and (where
    the sizes of the inputs are known) of the image; below, layer by frequency on the axis that all layers reach. Under
    them by depth the energy share above half the Nyquist frequency, and the amplitude at the end of the common axis.
    All panels of a row have the same scales.
    """
    from matplotlib.figure import Figure

    stacks = _stacks(result)
    columns = len(stacks)
    known = bool(np.isfinite(result.data["cycles_per_pixel"][1][:, 1]).all())
    heights = [1.0, *([1.0] if known else []), 1.1, 0.9]
    figure = Figure(figsize=(max(7.2, 4.2 * columns + 1.2), 3.1 * sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(heights), 2 * columns, height_ratios=heights)
    curves: list[list[Axes]] = [[] for _ in heights[:-2]]
    for line, row in enumerate(curves):
        for column in range(columns):
            shared = row[0] if row else None
            row.append(figure.add_subplot(grid[line, 2 * column : 2 * column + 2], sharex=shared, sharey=shared))
        for stack, axis in zip(stacks, row, strict=True):
            _curves(axis, stack, result, physical=bool(line))
            axis.set_title("" if line else stack.backbone)
        row[0].set_ylabel("relative log amplitude (nat)")
    drawn = [axis for row in curves for axis in row]
    figure.colorbar(_depth_scale(), ax=drawn, pad=0.01).set_label("depth (0 first layer, 1 last)")
    maps = [figure.add_subplot(grid[-2, 2 * column : 2 * column + 2]) for column in range(columns)]
    profile = result.data["profile"][1]
    for stack, axis in zip(stacks, maps, strict=True):
        image = _map(axis, stack, result, (float(profile.min()), float(profile.max())))
    figure.colorbar(image, ax=maps, pad=0.01).set_label("relative log amplitude (nat)")
    _shares(figure.add_subplot(grid[-1, :columns]), stacks, result)
    _tops(figure.add_subplot(grid[-1, columns:]), stacks, result)
    return figure


def _stacks(result: Result) -> list[Stack]:
    layers = result.attrs["layers"]
    stacks = []
    for name in dict.fromkeys(layer["backbone"] for layer in layers):
        rows = [i for i, layer in enumerate(layers) if layer["backbone"] == name]
        taps, grids = [layers[i]["tap"] for i in rows], [tuple(layers[i]["grid"]) for i in rows]
        stacks.append(Stack(name, rows, taps, grids))
    return stacks


def _depth_scale() -> Any:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(0, 1), colormaps["cividis"])  # even in lightness, for colour-blind readers too


def _curves(axis: Axes, stack: Stack, result: Result, *, physical: bool) -> None:
    """One curve per layer with its interval, by frequency of its own grid or (from its first bin on) of the image."""
    scale, first = _depth_scale(), int(physical)
    frequencies = result.data["cycles_per_pixel" if physical else "bin_frequency"][1]
    for depth, row in zip(_depths(stack), stack.rows, strict=True):
        reached = np.isfinite(frequencies[row])
        frequency = frequencies[row][reached][first:]
        value, low, high = (result.data[f"radial{end}"][1][row][reached][first:] for end in ("", "_low", "_high"))
        colour = scale.to_rgba(depth)
        axis.fill_between(frequency, low, high, color=colour, alpha=0.3, linewidth=0)
        axis.plot(frequency, value, color=colour, linewidth=1.0, marker=".", ms=2.5)
    level = result.attrs["null_level"]
    axis.axhline(level, color="0.3", linewidth=0.8, linestyle="--")
    axis.annotate(
        "white noise",
        (1, level),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 2),
        textcoords="offset points",
        ha="right",
        fontsize=6,
        color="0.3",
    )
    if physical:
        from matplotlib.ticker import LogLocator, NullLocator

        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_locator(LogLocator(base=2))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(lambda cycles, _: f"1/{1 / cycles:.0f}")
        axis.set_xlabel("radial frequency (cycles per pixel of the input)")
    else:
        axis.set_xlim(0, 1)
        axis.set_xlabel("radial frequency / π per position of the layer's own grid")


def _map(axis: Axes, stack: Stack, result: Result, limits: tuple[float, float]) -> Any:
    """Layer by frequency; returns what the colour bar explains. White lines: the grid changes."""
    values: NDArray[np.float64] = result.data["profile"][1][stack.rows]
    edges = np.arange(len(stack.rows) + 1) - 0.5
    common = np.array(result.coords["frequency"])
    between = (common[1:] + common[:-1]) / 2
    columns = np.concatenate([common[:1], between, common[-1:]])
    image = axis.pcolormesh(
        columns, edges, values, cmap="viridis", vmin=limits[0], vmax=max(limits[1], limits[0] + 1e-9), rasterized=True
    )
    for at in stack.stages:
        axis.axhline(at - 0.5, color="white", linewidth=1.0)
    layer_ticks(axis, "y", stack.taps, stack.backbone)
    axis.set_xlabel("radial frequency / π per position, on the axis of all layers")
    return image


def _shares(axis: Axes, stacks: Sequence[Stack], result: Result) -> None:
    at = result.coords["measure"].index(SHARE)
    table = [result.data[f"measures{end}"][1][:, at] for end in ("", "_low", "_high")]
    _by_depth(axis, stacks, table)
    for i, stack in enumerate(stacks):
        noise = result.data["white_noise"][1][stack.rows, at]
        axis.plot(_depths(stack), noise, color=COLOURS[i % len(COLOURS)], linewidth=0.9, linestyle=":")
    axis.set_ylim(0, 1)
    axis.set_ylabel("energy share above 0.5 π")
    axis.set_title("high frequencies, without DC\ndotted: white noise", fontsize=8)
    axis.legend(**LEGEND, fontsize=7)


def _tops(axis: Axes, stacks: Sequence[Stack], result: Result) -> None:
    table = [result.data[f"profile{end}"][1][:, -1] for end in ("", "_low", "_high")]
    _by_depth(axis, stacks, table)
    axis.axhline(result.attrs["null_level"], color="0.3", linewidth=0.8, linestyle="--")
    axis.set_ylabel(f"log amplitude at {result.coords['frequency'][-1]:.3f} π (nat)")
    said = f"{result.attrs['confidence']:.0%} intervals over {result.attrs['samples']} images"
    axis.set_title(f"end of the common axis, relative to DC\ndashed: white noise; all bands: {said}", fontsize=8)


def _by_depth(axis: Axes, stacks: Sequence[Stack], table: Sequence[NDArray[np.float64]]) -> None:
    """One curve per backbone of value, low and high by layer; thin vertical lines: its grid changes."""
    for i, stack in enumerate(stacks):
        colour, depths = COLOURS[i % len(COLOURS)], _depths(stack)
        value, low, high = (column[stack.rows] for column in table)
        if len(depths) == 1:
            axis.errorbar(depths, value, [value - low, high - value], color=colour, linewidth=1.0, capsize=2)
        axis.fill_between(depths, low, high, color=colour, alpha=0.25, linewidth=0)
        label: dict[str, Any] = {"color": colour, "marker": MARKERS[i % len(MARKERS)], "ms": 4, "linewidth": 1.0}
        axis.plot(depths, value, label=stack.backbone, **label)
        for at in stack.stages:
            axis.axvline((depths[at] + depths[at - 1]) / 2, color=colour, linewidth=0.5, linestyle="-.")
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel("depth (0 first layer, 1 last; vertical lines: the grid changes)")


def _depths(stack: Stack) -> NDArray[np.float64]:
    return np.linspace(0, 1, len(stack.rows))
