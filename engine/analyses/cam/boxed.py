"""What is measured on one class activation map and the bounding box of the object.

energy_in_box    sum of L in the box / sum L (energy-based pointing game, Wang et al. 2020; relevance mass, Arras 2022);
                 a cell that the box covers in part counts in part
pointing_game    1 if the centre of the strongest cell lies in the box (Zhang et al. 2016); ties: the first, row by row
box_share        share of the image that the box covers: what a map without any knowledge gets for the two above
box_iou          IoU of the box and the tight box around the cells with L >= max L / 2
localised        1 if that IoU is 0.5 or more

Objects are often large and in the middle, so `centred_gaussian` is the baseline that a map must beat, not the share.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.cam.measures import positive_share
from cvbench.engine.pictures.boxes import cell_fractions
from cvbench.engine.statistics.measure import Measure, indicator, share

F64 = NDArray[np.float64]

BOX_TABLE = (
    share("energy_in_box", "share of the evidence in the box"),
    indicator("pointing_game", "whether the strongest cell lies in the box"),
    share("box_share", "share of the image that the box covers"),
    share("box_iou", "overlap of the box and that of the strong cells", 3, "a side is one cell or two"),
    indicator("localised", "whether that is 0.5 or more", 3, "a side is one cell or two"),
)
"""The measures, with the smallest grid of each."""

BOX_MEASURES = tuple(measure.name for measure in BOX_TABLE)
RATIOS = {"energy_over_share": ("energy_in_box", "box_share"), "pointing_over_share": ("pointing_game", "box_share")}
"""Ratios of means: how often more than chance."""
RATIO_TABLE = tuple(Measure(name, f"mean {top} / mean {bottom}", least=0.0) for name, (top, bottom) in RATIOS.items())
OVERLAP = 0.5
"""IoU from which an object counts as localised (Choe et al. 2020)."""
GAUSSIAN_WIDTH = 0.25
"""Standard deviation of the baseline, as a share of the image's height and width."""


def box_measures(
    raw: NDArray[np.floating], boxes: F64, size: tuple[int, int], *, tolerance: float = 0.0, threshold: float = 0.5
) -> F64:
    """All of `BOX_MEASURES` for each map.

    Args:
        raw: (n, H, W) signed maps.
        boxes: (n, 4) x0, y0, x1, y1 in input pixels, half-open; NaN without a box.
        size: (height, width) of the input, pixels.
        tolerance: Pixels by which the box grows for the pointing game; 15 in Zhang et al.
        threshold: Share of the maximum from which a cell belongs to the tight box.

    Returns:
        (n, 5) float64; NaN without a box or, but for `box_share`, without a positive cell.
    """
    grid = (raw.shape[1], raw.shape[2])
    light, p = positive_share(raw)
    fractions = cell_fractions(boxes, size, grid)
    undefined = np.isnan(p[:, 0, 0]) | np.isnan(boxes).any(axis=1)
    overlap = _iou(_tight_boxes(light, size, threshold), boxes)
    table = np.stack(
        [
            (p * fractions).sum(axis=(1, 2)),
            _strongest_inside(light, boxes, size, tolerance),
            fractions.mean(axis=(1, 2)),
            overlap,
            overlap >= OVERLAP,
        ],
        axis=1,
    )
    table[np.ix_(undefined, [0, 1, 3, 4])] = np.nan
    return table


def centred_gaussian(grid: tuple[int, int]) -> F64:
    """(1, H, W): the same Gaussian for every image, in its middle."""
    axes = [((np.arange(cells) + 0.5) / cells - 0.5) / GAUSSIAN_WIDTH for cells in grid]
    rows, columns = (np.exp(-(axis**2) / 2) for axis in axes)
    return rows[None, :, None] * columns[None, None, :]


def _strongest_inside(light: F64, boxes: F64, size: tuple[int, int], tolerance: float) -> NDArray[np.bool_]:
    n, height, width = light.shape
    row, column = np.divmod(light.reshape(n, height * width).argmax(axis=1), width)
    y, x = (row + 0.5) * (size[0] / height), (column + 0.5) * (size[1] / width)
    x0, y0, x1, y1 = boxes.T
    inside: NDArray[np.bool_] = (
        (x >= x0 - tolerance) & (x < x1 + tolerance) & (y >= y0 - tolerance) & (y < y1 + tolerance)
    )
    return inside


def _tight_boxes(light: F64, size: tuple[int, int], threshold: float) -> F64:
    """(n, 4) x0, y0, x1, y1 in pixels around the cells at or above `threshold` times the maximum."""
    strong = light >= threshold * light.max(axis=(1, 2), keepdims=True)
    edges = []
    for lines, length in ((strong.any(axis=1), size[1]), (strong.any(axis=2), size[0])):
        cells = lines.shape[1]
        first, last = lines.argmax(axis=1), cells - lines[:, ::-1].argmax(axis=1)
        edges.append((first * (length / cells), last * (length / cells)))
    (x0, x1), (y0, y1) = edges
    return np.stack([x0, y0, x1, y1], axis=1)


def _iou(one: F64, two: F64) -> F64:
    sides = np.minimum(one[:, 2:], two[:, 2:]) - np.maximum(one[:, :2], two[:, :2])
    inter = np.maximum(sides, 0).prod(axis=1)
    areas = [(box[:, 2:] - box[:, :2]).prod(axis=1) for box in (one, two)]
    shared: F64 = inter / (areas[0] + areas[1] - inter)
    return shared
