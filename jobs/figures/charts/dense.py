"""The interactive form of dense probes: images with mask and prediction over them, and the numbers by depth."""

from __future__ import annotations

from collections.abc import Sequence

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.charts.base import Cell, Gallery, Twin
from cvbench.jobs.figures.charts.curves import depth_panel
from cvbench.jobs.figures.charts.galleries import MOST_IMAGES, data_uri, picture_uri
from cvbench.jobs.figures.dense import PANELS, class_colours, image_overlap, named_cells
from cvbench.jobs.results.row import Row

STEPS = ("mask", "prediction")


def dense_chart(result: Result, rows: Sequence[Row]) -> Twin:
    """A slider from the mask to the prediction of the last layer of each backbone; a panel for each number."""
    drawn, layers = result.attrs["drawn"], result.attrs["layers"]
    names = [str(name) for name in result.coords["image"]][:MOST_IMAGES]
    columns = [layers[one["layer"]]["backbone"] for one in drawn]
    images = [[picture_uri(result.data[f"picture_{one['picture']}"][1][k]) for one in drawn] for k in range(len(names))]
    cells = [[[_cell(result, one, step, k) for step in STEPS] for one in drawn] for k in range(len(names))]
    found = [depth_panel(result, rows, metric, name, unit=(0.0, 1.0)) for metric, name in PANELS.items()]
    return Twin(
        [panel for panel in found if panel is not None],
        Gallery("what is drawn", STEPS, columns, names, images, cells),
        "A colour per class, grey: background. What a layer's own grid could reach is in the static figure.",
    )


def _cell(result: Result, drawn: dict[str, int], step: str, k: int) -> Cell:
    true = result.data[f"true_{drawn['picture']}"][1][k]
    if step == "mask":
        return Cell(data_uri(class_colours(true), "PNG"), f"mask: {named_cells(result, true)}")
    predicted = result.data[f"predicted_{drawn['layer']}"][1][k]
    tap = result.attrs["layers"][drawn["layer"]]["tap"]
    said = f"{tap}: {named_cells(result, predicted)}, IoU {image_overlap(predicted, true):.2f}"
    return Cell(data_uri(class_colours(predicted), "PNG"), said)
