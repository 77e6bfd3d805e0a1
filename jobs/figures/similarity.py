"""The figures of `cvbench analyze similarity`: matrices, correlograms, profiles and depth curves; single images.

The same result gives the same bytes with the same matplotlib, as for every figure (see `cvbench.jobs.figures.base`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.similarity.result import FLOOR
from cvbench.jobs.figures.base import COLOURS, LEGEND, MARKERS
from cvbench.jobs.results.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VERSIONS = ("raw", "centred")
MAX_IMAGES = 8


def _last_rows(result: Result) -> dict[str, int]:
    """Backbone -> number of its last layer."""
    return {layer["backbone"]: i for i, layer in enumerate(result.attrs["layers"])}


def similarity_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """Draw a similarity result.

    One column per backbone, of its last layer: the mean matrix raw and centred, and the centred lag correlogram, in one
    scale per row. Below, similarity by distance of these layers, and by depth the mean patch similarity and the
    correlation length. The matrices themselves are in the stored result.
    """
    from matplotlib.figure import Figure

    last = _last_rows(result)
    columns = len(last)
    figure = Figure(figsize=(max(3.6 * columns + 0.5, 7.2), 13.4), layout="constrained")
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=(8.6, 4.8))
    axes = parts[0, 0].subplots(3, columns, squeeze=False)
    for version in (0, 1):
        _matrices(parts[0, 0], axes[version], result, last, version)
    _correlograms(parts[0, 0], axes[2], result, last)
    curves = parts[1, 0].subplots(2, 2)
    curves[0, 1].sharey(curves[0, 0])
    for axis, name in zip(curves[0], VERSIONS, strict=True):
        _profiles(axis, result, last, name)
    _depth_similarity(curves[1, 0], result)
    _depth_length(curves[1, 1], result)
    said = f"bands: {result.attrs['confidence']:.0%} intervals over {result.attrs['samples']} images"
    parts[1, 0].suptitle(f"{said}; dash-dotted: the grid changes", fontsize=8)
    return figure


def _matrices(figure: Any, axes: Sequence[Axes], result: Result, last: dict[str, int], version: int) -> None:
    """A row of mean matrices, in one scale."""
    found = {row: result.data[f"matrix_{row}"][1][version] for row in last.values() if f"matrix_{row}" in result.data}
    scale = _scale([_off_diagonal(matrix) for matrix in found.values()], signed=version > 0)
    image = None
    for axis, (backbone, row) in zip(axes, last.items(), strict=True):
        layer = result.attrs["layers"][row]
        height, width = layer["grid"]
        if version == 0:
            axis.set_title(f"{backbone}\n{layer['tap']}  {height}x{width}")
        if row in found:
            image = _matrix(axis, found[row], width, scale)
        else:
            axis.set_axis_off()
            text = f"no matrix is kept\nof {height}x{width} positions"
            axis.text(0.5, 0.5, text, ha="center", va="center", fontsize=7)
    if image is not None:
        label = f"{VERSIONS[version]} cosine, mean over images"
        figure.colorbar(image, ax=list(axes), shrink=0.8, pad=0.02, extend="both").set_label(label)


def _correlograms(figure: Any, axes: Sequence[Axes], result: Result, last: dict[str, int]) -> None:
    """A row of centred lag correlograms, in one scale."""
    found = [result.data[f"correlogram_{row}"][1][1] for row in last.values()]
    scale = _scale([_beside_centre(values) for values in found], signed=True)
    for axis, values in zip(axes, found, strict=True):
        height, width = ((side + 1) // 2 for side in values.shape)
        reach = (0.5 - width, width - 0.5, height - 0.5, 0.5 - height)
        image = axis.imshow(values, extent=reach, **scale)
        axis.set_xlabel("offset to the right (grid steps)")
        axis.set_ylabel("offset down (grid steps)")
        axis.locator_params(integer=True, nbins=7)
    label = "centred cosine by offset"
    figure.colorbar(image, ax=list(axes), shrink=0.8, pad=0.02, extend="both").set_label(label)


def _matrix(axis: Axes, matrix: NDArray[Any], width: int, scale: dict[str, Any]) -> Any:
    image = axis.imshow(matrix, interpolation="nearest", **scale)
    ticks = np.arange(0, len(matrix), width * max(1, len(matrix) // width // 7))  # at the starts of grid rows
    axis.set_xticks(ticks)
    axis.set_yticks(ticks)
    axis.set_xlabel(f"position (rows of {width})")
    axis.set_ylabel(f"position (rows of {width})")
    return image


def _off_diagonal(matrix: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(matrix[~np.eye(len(matrix), dtype=bool)])


def _beside_centre(values: NDArray[Any]) -> NDArray[Any]:
    flat = values.ravel()  # the offset 0 is 1 everywhere, and would set the scale
    return np.asarray(flat[np.arange(flat.size) != flat.size // 2])


def _scale(tables: Sequence[NDArray[Any]], *, signed: bool) -> dict[str, Any]:
    """One scale for all tables: about 0 for what has both signs by its nature, else from the least value."""
    ends = [np.quantile(kept, (0.001, 0.999)) for table in tables if (kept := table[np.isfinite(table)]).size]
    low, high = (float(np.min(ends)), float(np.max(ends))) if ends else (0.0, 1.0)
    if signed:
        reach = max(-low, high, 1e-6)
        return {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach}
    return {"cmap": "viridis", "vmin": low, "vmax": max(high, low + 1e-6)}


def _profiles(axis: Axes, result: Result, last: dict[str, int], version: str) -> None:
    at = VERSIONS.index(version)
    for i, row in enumerate(last.values()):
        layer = result.attrs["layers"][row]
        steps = np.arange(max(layer["grid"]))
        value, low, high = (result.data[f"profile{s}"][1][row, at, : len(steps)] for s in ("", "_low", "_high"))
        colour, scale = COLOURS[i % len(COLOURS)], layer["stride"] or 1
        axis.fill_between(steps * scale, low, high, color=colour, alpha=0.25, linewidth=0)
        axis.plot(steps * scale, value, label=_name(result, row), **_line(i, colour))
        if version == "centred":
            length = result.data["measures"][1][row, at, result.coords["measure"].index("length")]
            if length >= FLOOR:
                axis.axvline(length * scale, color=colour, linewidth=0.8, linestyle=":")
    known = all(result.attrs["layers"][row]["stride"] for row in last.values())
    axis.set_xlabel("distance (pixels of the input)" if known else "distance (grid steps)")
    axis.set_ylabel(f"{version} cosine")
    axis.axhline(0, color="0.6", linewidth=0.6)
    if version == "centred":
        axis.plot([], [], color="0.3", linewidth=0.8, linestyle=":", label="mean correlation length")
    axis.set_title(f"{version} cosine by distance, last layers")
    axis.legend(**LEGEND, fontsize=6)


def _name(result: Result, row: int) -> str:
    layer = result.attrs["layers"][row]
    return f"{layer['backbone']} ({layer['grid'][0]}x{layer['grid'][1]})"


def _line(i: int, colour: str) -> dict[str, Any]:
    return {"color": colour, "marker": MARKERS[i % len(MARKERS)], "ms": 3.5, "linewidth": 1.0}


def _depth_similarity(axis: Axes, result: Result) -> None:
    _depth(axis, result, "raw", "mean", False)
    axis.set_ylabel("mean raw cosine")
    axis.set_title("mean patch similarity by depth, raw")
    axis.legend(**LEGEND, fontsize=6)


def _depth_length(axis: Axes, result: Result) -> None:
    known = all(layer["stride"] for layer in result.attrs["layers"])
    _depth(axis, result, "centred", "length", known)
    axis.set_ylabel(f"correlation length ({'pixels' if known else 'grid steps'})")
    lengths = result.data["measures"][1][:, VERSIONS.index("centred"), result.coords["measure"].index("length")]
    below = "\n(left out below one grid step)" if (lengths < FLOOR).any() else ""
    axis.set_title(f"correlation length by depth, centred{below}")


def _depth(axis: Axes, result: Result, version: str, measure: str, pixels: bool) -> None:
    """One curve per backbone over its layers; thin vertical lines: its grid changes."""
    place = (VERSIONS.index(version), result.coords["measure"].index(measure))
    layers = result.attrs["layers"]
    for i, backbone in enumerate(_last_rows(result)):
        rows = [j for j, layer in enumerate(layers) if layer["backbone"] == backbone]
        scale = np.array([layers[j]["stride"] if pixels else 1.0 for j in rows])
        value, low, high = (result.data[f"measures{s}"][1][(rows, *place)] * scale for s in ("", "_low", "_high"))
        if measure == "length":  # a grid does not resolve what is shorter than its step
            value, low, high = (np.where(value < FLOOR * scale, np.nan, ends) for ends in (value, low, high))
        depth, colour = np.linspace(0, 1, len(rows)), COLOURS[i % len(COLOURS)]
        if len(rows) == 1:
            axis.errorbar(depth, value, [value - low, high - value], color=colour, linewidth=1.0, capsize=2)
        axis.fill_between(depth, low, high, color=colour, alpha=0.25, linewidth=0)
        axis.plot(depth, value, label=backbone, **_line(i, colour))
        for j in range(1, len(rows)):
            if layers[rows[j]]["grid"] != layers[rows[j - 1]]["grid"]:
                axis.axvline((depth[j] + depth[j - 1]) / 2, color=colour, linewidth=0.5, linestyle="-.")
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel("depth (0 first layer, 1 last)")


def similarity_images_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """Draw the matrices of single images, one row each, the first eight.

    All raw matrices have one scale, and all centred ones.
    """
    from matplotlib.figure import Figure

    layers, ids = result.attrs["layers"], result.coords["image"][:MAX_IMAGES]
    count = len(layers)
    figure = Figure(figsize=(5.2 * count + 1.6, 2.35 * len(ids) + 0.8), layout="constrained")
    axes = figure.subplots(len(ids), 2 * count, squeeze=False)
    for version, name in enumerate(VERSIONS):
        tables = [result.data[f"matrix_{number}"][1][: len(ids), version] for number in range(count)]
        scale = _scale([_off_diagonal(matrix) for table in tables for matrix in table], signed=version > 0)
        group = axes[:, version * count : (version + 1) * count]
        for number, layer in enumerate(layers):
            height, width = layer["grid"]
            for line, axis in enumerate(group[:, number]):
                image = _matrix(axis, tables[number][line], width, scale)
                axis.set_xlabel(axis.get_xlabel() if line == len(ids) - 1 else "", fontsize=7)
                axis.set_ylabel(axis.get_ylabel(), fontsize=7)
            group[0, number].set_title(f"{layer['backbone']}\n{layer['tap']}  {height}x{width}", fontsize=7)
        bar = figure.colorbar(image, ax=group.ravel().tolist(), shrink=0.8, pad=0.02, aspect=40, extend="both")
        bar.set_label(f"{name} cosine")
    for axis, name in zip(axes[:, 0], ids, strict=True):
        axis.set_ylabel(f"{name if len(name) <= 30 else f'…{name[-29:]}'}\n\n{axis.get_ylabel()}", fontsize=7)
    return figure
