"""Interactive forms of what is measured of every layer: curves by depth and by distance, correlograms."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.similarity.result import UNRESOLVED
from cvbench.jobs.figures.charts.base import Panel, Twin, columns_of
from cvbench.jobs.figures.charts.cka import heat_map
from cvbench.jobs.figures.charts.curves import Curves, curves_panel, depth_panel, point
from cvbench.jobs.results.row import CURVE, VALUE, Row

CENTRED = 1
BY_DEPTH = ("mean patch similarity, raw", "correlation length (grid steps), centred")
OFFSETS = (("offset down", "down", 0), ("offset right", "right", 0), ("centred cosine", "cosine", 3))


def similarity_chart(result: Result, rows: Sequence[Row]) -> Twin:
    """Similarity by distance of the last layers, raw and centred, their correlograms, and two numbers by depth."""
    layers = result.attrs["layers"]
    last = {layer["backbone"]: i for i, layer in enumerate(layers)}
    panels = []
    for version in ("raw", "centred"):
        points = []
        for row in rows:
            layer = layers[last[row.backbone]] if row.backbone in last else None
            of_last = layer is not None and (row.kind, row.layer) == (CURVE, layer["tap"])
            if layer is not None and of_last and row.metric.endswith(f", {version}") and row.at is not None:
                name = f"{row.backbone} {row.layer}"
                points.append(point(row.backbone, row.at * (layer["stride"] or 1), row, name=name))
        unit = "pixels of the input" if all(layers[i]["stride"] for i in last.values()) else "grid steps"
        panels.append(
            curves_panel(points, Curves(f"last layers, {version}", f"distance ({unit})", f"{version} cosine"))
        )
    panels += [_correlogram(result, name, i) for name, i in last.items()]
    found = [depth_panel(result, rows, metric, metric, without=UNRESOLVED) for metric in BY_DEPTH]
    panels += [panel for panel in found if panel is not None]
    about = "The static figure also has the matrices of all pairs of positions."
    if any((row.metric, row.note) == (BY_DEPTH[1], UNRESOLVED) for row in rows):
        about += " A correlation length below one step of its grid is not measurable, and left out."
    return Twin(panels, about=about)


def _correlogram(result: Result, name: str, number: int) -> Panel:
    values = result.data[f"correlogram_{number}"][1][CENTRED]
    height, width = ((side + 1) // 2 for side in values.shape)
    cells = [
        {"x": x, "y": y, "cosine": float(values[y, x]), "down": f"{y - height + 1}", "right": f"{x - width + 1}"}
        for y, x in itertools.product(*map(range, values.shape))
    ]
    beside = np.delete(values.ravel(), values.size // 2)  # the offset 0 is 1 everywhere, and would set the scale
    reach = float(np.nanmax(np.abs(beside), initial=1e-6))
    spec = heat_map("offset down", "offset right", "centred cosine", (-reach, reach), OFFSETS, upwards=False)
    for axis in ("x", "y"):
        spec["encoding"][axis]["axis"]["labels"] = False
    spec["encoding"]["color"]["scale"]["range"] = "diverging"
    title = f"{name}: by offset on the grid; the middle is no offset"
    down, across = values.shape
    return Panel(title, spec, columns_of(cells), OFFSETS, stride=-across, aspect=down / across)


def silhouette_chart(result: Result, rows: Sequence[Row]) -> Twin | None:
    """The silhouette by depth, a panel for each metric of distance; None of single layers."""
    layers = result.attrs["layers"]
    if len(layers) <= len({layer["backbone"] for layer in layers}):
        return None
    panels = []
    for distance in result.attrs["metrics"]:
        own = [row for row in rows if row.kind == VALUE and row.factor.startswith(f"{distance}, ")]
        found = depth_panel(result, own, "silhouette, mean over samples", distance)
        panels += [] if found is None else [found]
    return Twin(panels) if panels else None
