"""Maps over images, all networks side by side: one slider for the layer or the method."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.maps.colours import WAYS
from cvbench.jobs.figures.charts.base import Cell, Gallery, Twin
from cvbench.jobs.figures.charts.curves import depth_panel
from cvbench.jobs.results.row import Row

BY_DEPTH = ("outlier-token rate", "foreground share less the box's", "foreground-background contrast")
MORE = " Boxes, and numbers over all images, are in the static figure."
MOST_IMAGES = 8
SIDE = 160
"""Pixels of a picture at most."""
MAP_SIDE = 64
"""Cells of a map at most, along a side."""


def cam_chart(result: Result, rows: Sequence[Row]) -> Twin | None:
    """The maps of one result, each on its own grid."""
    return cams_chart([result], rows)


def cams_chart(results: Sequence[Result], rows: Sequence[Row]) -> Twin | None:
    """The maps of several methods over the images that all have, the method by a slider; None without a picture."""
    first = results[0]
    every = [str(name) for name in first.coords.get("example", [])]
    shared = _shared(results)
    kept = [k for k, name in enumerate(every) if name in shared][:MOST_IMAGES]
    names = [every[k] for k in kept]
    backbones = [one["backbone"] for one in first.attrs["backbones"]]
    if not names:
        return None
    images = [[picture_uri(first.data[f"image_{i}"][1][k]) for i in range(len(backbones))] for k in kept]
    cells = [[[_cam_cell(one, backbone, name) for one in results] for backbone in backbones] for name in names]
    steps = [str(one.attrs["title"]) for one in results]
    labels = [first.attrs["example_labels"][k] for k in kept]
    titles = [
        f"{name}; label {label}" if label is not None else name for name, label in zip(names, labels, strict=True)
    ]
    gallery = Gallery("method", steps, backbones, titles, images, cells)
    rules = dict.fromkeys(str(one.attrs["drawn"]) for one in results if "drawn" in one.attrs)
    chosen = "".join(f" {rule[:1].upper()}{rule[1:]}." for rule in rules) if len(results) == 1 else ""
    if len(results) > 1 and rules:
        chosen = " Shown are the images that are drawn by every method; the tables below say how each chose."
    about = f"Each map on its own grid, from nothing (dark) to its greatest value (bright).{chosen}{MORE}"
    return Twin(gallery=gallery, about=about)


def _shared(results: Sequence[Result]) -> set[str]:
    """The examples that all results have."""
    return set.intersection(*({str(name) for name in one.coords.get("example", ())} for one in results))


def _cam_cell(result: Result, backbone: str, name: str) -> Cell:
    """The map of one backbone over one image; nothing of a result that has not both."""
    names = [one["backbone"] for one in result.attrs["backbones"]]
    examples = [str(one) for one in result.coords.get("example", [])]
    if backbone not in names or name not in examples:
        return Cell("", "not in this result")
    i, k = names.index(backbone), examples.index(name)
    values = result.data[f"map_{i}"][1][k].astype(np.float64)
    top = float(values.max(initial=0.0))
    shown = np.clip(values / top, 0, 1) if top > 0 else np.zeros_like(values)
    said = result.attrs["backbones"][i]["examples"][k]
    cells = f"{values.shape[0]}x{values.shape[1]} cells"
    nothing = "" if top > 0 else "; no positive cell"
    return Cell(_map(shown, "inferno"), f"map of {said['class']}, predicted {said['predicted']}; {cells}{nothing}")


def compared_cams(results: Sequence[Result]) -> Sequence[Result]:
    """The results of several methods of the same backbones, as far as they have images in common; of the first such
    group."""
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        attrs = result.attrs
        names = tuple(one["backbone"] for one in attrs["backbones"])
        group = groups.setdefault((attrs.get("dataset"), attrs.get("split"), names), [])
        if not group or _shared([*group, result]):
            group.append(result)
    return next((found for found in groups.values() if len(found) > 1), ())


def maps_chart(result: Result, rows: Sequence[Row]) -> Twin | None:
    """The drawn layers' maps: the slider chooses the layer by depth, or, where one is drawn, the kind of map."""
    drawn: dict[str, list[dict[str, Any]]] = {}
    for one in result.attrs.get("drawn", ()):
        drawn.setdefault(result.attrs["layers"][one["layer"]]["backbone"], []).append(one)
    names = [str(name) for name in result.coords.get("image", [])][:MOST_IMAGES]
    if not names or not drawn:
        return None
    most = max(map(len, drawn.values()))
    asked = str(result.attrs["measure"])
    kinds = sorted(result.coords["kind"], key=lambda kind: kind != asked)  # the one asked for is shown first
    steps: list[tuple[float, str]]
    if most > 1:
        steps = [(i / (most - 1), str(result.attrs["measure"])) for i in range(most)]
        texts, slider = [f"depth {depth:.0%}".replace("%", " %") for depth, _ in steps], "layer"
    else:
        steps, texts, slider = [(0.0, kind) for kind in kinds], kinds, "kind"
    images = [[_below(result, own[0], k) for own in drawn.values()] for k in range(len(names))]
    cells = [
        [
            [_map_cell(result, own[round(depth * (len(own) - 1))], kind, k) for depth, kind in steps]
            for own in drawn.values()
        ]
        for k in range(len(names))
    ]
    about = f"Each map on its own grid, from its least (dark) to its greatest value (bright).{MORE}"
    if result.attrs["measure"] in WAYS and most > 1:
        about = f"Each map on its own grid; like colours mean like features.{MORE}"
    found = [depth_panel(result, rows, metric, metric) for metric in BY_DEPTH]
    panels = [panel for panel in found if panel is not None and panel.rows > len(drawn)]
    return Twin(panels, Gallery(slider, texts, list(drawn), names, images, cells), about)


def _below(result: Result, drawn: dict[str, Any], k: int) -> str:
    name = f"picture_{drawn['picture']}"
    return picture_uri(result.data[name][1][k]) if name in result.data else ""


def _map_cell(result: Result, drawn: dict[str, Any], kind: str, k: int) -> Cell:
    layer = result.attrs["layers"][drawn["layer"]]
    height, width = layer["grid"]
    if kind in WAYS:
        colours = result.data[f"colour_{drawn['layer']}"][1][k]
        said = f"{drawn['explained'][k]:.0%} of the variance".replace("%", " %")
        return Cell(
            data_uri(_thin(np.round(colours * 255).astype(np.uint8)), "PNG"),
            f"{layer['tap']}, {height}x{width}: {said}",
        )
    values = result.data[f"map_{drawn['layer']}"][1][result.coords["kind"].index(kind), k].astype(np.float64)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    shown = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return Cell(_map(np.nan_to_num(shown), "viridis"), f"{layer['tap']}, {height}x{width}: {low:.3g} to {high:.3g}")


def _map(values: NDArray[np.float64], scale: str) -> str:
    """A map in 0..1 as a PNG of a pixel a cell; a larger one is thinned out."""
    from matplotlib import colormaps

    colour = (colormaps[scale](_thin(values))[..., :3] * 255).round().astype(np.uint8)
    return data_uri(colour, "PNG")


def _thin(values: NDArray[Any]) -> NDArray[Any]:
    """A map (rows, columns, ...) of at most `MAP_SIDE` cells a side."""
    step = -(-max(values.shape[:2]) // MAP_SIDE)
    return values[::step, ::step]


def picture_uri(image: NDArray[np.uint8]) -> str:
    """Write an image as a small JPEG, in a data URI."""
    return data_uri(image, "JPEG")


def data_uri(pixels: NDArray[np.uint8], form: str) -> str:
    """Write pixels as a PNG or JPEG, in a data URI; a JPEG is made small."""
    from PIL import Image

    image = Image.fromarray(pixels)
    options: dict[str, Any] = {"optimize": True}
    if form == "JPEG":
        image.thumbnail((SIDE, SIDE))
        options = {"quality": 80}
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
