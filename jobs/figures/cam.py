"""The figure of `cvbench analyze cam`: heat maps over a few images, and the means of the whole data set below.

The same result gives the same bytes with the same matplotlib, as for every figure (see `cvbench.jobs.figures.base`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.cam.grids import common_grid, display, pool_evidence
from cvbench.engine.analyses.cam.summary import CENTRED, ENDS, RAW
from cvbench.jobs.figures.base import COLOURS, MARKERS
from cvbench.jobs.results.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BOXED = ("energy_in_box", "pointing_game")
ALWAYS = ("centroid_y", "centroid_x")  # can be measured on any grid
SHOWN = ("radius", "effective_area", "gini", "gaussian_r2", *BOXED)
SIDE, GAP, TEXT = 1.75, 0.12, 0.46  # inches: an image at least, between two, its title and label
TOP, EDGE, BAR = 0.48, 0.15, 0.5  # margins, and the colour bar below the images with its text
MEANS, NAMES, PANEL = 1.7, 1.6, 1.35  # a row of panels below, the names of backbones to their left, a panel
SCALE = "inferno"  # even in lightness, for colour-blind readers too


def cam_figure(result: Result, rows: Sequence[Row], labels: Mapping[str, str]) -> Figure:
    """Draw a cam result.

    One row per example: the image, and over it each backbone's map, pooled to the grid that all share. Below, means
    over all images on that grid, with intervals; where there are boxes, beside what a map gets without any knowledge.

    Args:
        result, rows: Of the entry.
        labels: What each measure is called.
    """
    from matplotlib.figure import Figure

    samples = len(result.coords.get("example", []))
    columns, panels = len(result.attrs["backbones"]) + 1, len(_shown(result))
    across = panels if panels < 5 else -(-panels // 2)
    width = max(EDGE + columns * (SIDE + GAP), NAMES + PANEL * across)
    side = (width - EDGE) / columns - GAP  # pictures and panels end at the same edge
    below = TOP + samples * (side + TEXT) if samples else 0.0
    top = below + (BAR if samples else 0.0) + 0.52
    height = top + MEANS * -(-panels // across)
    page = _Page(Figure(figsize=(width, height)), width, height)
    for k in range(samples):
        axes = [page.axes(EDGE + j * (side + GAP), TOP + k * (side + TEXT), side, side) for j in range(columns)]
        _example(axes, result, k)
    if samples:
        place = page.axes(EDGE + side + GAP, below, (columns - 1) * (side + GAP) - GAP, 0.09)
        bar = page.figure.colorbar(_scale(), cax=place, orientation="horizontal")
        bar.set_label(f"{result.attrs['title']}, scaled by image", fontsize=6, labelpad=1)
        bar.ax.tick_params(labelsize=6, length=2)
    each = (width - NAMES) / across
    places = [(NAMES + j % across * each, top + j // across * MEANS) for j in range(panels)]
    _means([page.axes(left, down, each - 0.15, MEANS - 0.75) for left, down in places], result, labels, across)
    _below(page, result, top - 0.1)
    return page.figure


@dataclass(frozen=True)
class _Page:
    """Places axes by inches from the top left: a solver of constraints would move them by its last digits."""

    figure: Figure
    width: float
    height: float

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self.height - top - height
        rectangle = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(rectangle)


def _below(page: _Page, result: Result, top: float) -> None:
    attrs = result.attrs
    level = f"{attrs['confidence']:.0%} intervals"
    count = attrs.get("resampled_classes", 0)
    bars = f"thick: {level} over images, with ends: over {count} classes" if count else f"bars: {level} over images"
    lines = [f"means over {attrs['images']} images on {_cells(_grid(result))} cells; {bars}"]
    if any(row.get("version") == CENTRED for row in attrs["rows"]):
        lines.append("filled: raw maps; open, below: less their mean over positions, by which differences are judged")
    if "box_share" in result.coords["measure"]:
        lines.append("without any knowledge: dotted, the area of the box; dashed, a centred Gaussian and its interval")
    page.figure.text(0.5, 1 - top / page.height, "\n".join(lines), fontsize=6.5, ha="center", va="bottom")


def _grid(result: Result) -> tuple[int, int]:
    """The common grid."""
    height, width = next(row["grid"] for row in result.attrs["rows"] if row["common"])
    return height, width


def _cells(grid: tuple[int, ...]) -> str:
    return "x".join(map(str, grid))


def _example(axes: Sequence[Axes], result: Result, k: int) -> None:
    backbones = result.attrs["backbones"]
    grids = [result.data[f"map_{i}"][1].shape[1:] for i in range(len(backbones))]
    grid = common_grid(grids)
    label = result.attrs["example_labels"][k]
    _picture(axes[0], result.data["image_0"][1][k], _short(str(result.coords["example"][k])))
    axes[0].set_xlabel(f"label: {_short(label)}" if label is not None else "no label", fontsize=6)
    for i, backbone in enumerate(backbones):
        image = result.data[f"image_{i}"][1][k]
        heat = display(pool_evidence(result.data[f"map_{i}"][1][k : k + 1], grid), image.shape[:2])[0]
        cells = _cells(grid) if grids[i] == grid else f"{_cells(grids[i])} pooled to {_cells(grid)}"
        _picture(axes[i + 1], _over(image, heat), f"{_lines(backbone['backbone'])}\n{cells} cells" if k == 0 else "")
        said = backbone["examples"][k]
        own = f"predicted: {_short(said['predicted'])}"
        shown = "" if said["class"] == said["predicted"] else f"map of: {_short(said['class'])}; "
        axes[i + 1].set_xlabel(shown + own, fontsize=6)
        if not heat.any():
            axes[i + 1].annotate(
                "no positive cell", (0.5, 0.03), xycoords="axes fraction", ha="center", fontsize=6, color="white"
            )
        if f"box_{i}" in result.data:
            _box(axes[i + 1], result.data[f"box_{i}"][1][k])


def _over(image: NDArray[np.uint8], heat: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The image in grey under the colours of the map: nothing else in the picture has a colour."""
    from matplotlib import colormaps

    grey = image.astype(np.float64) @ [0.299, 0.587, 0.114]  # luma, ITU-R BT.601
    colour = colormaps[SCALE](heat)[..., :3] * 255
    mixed: NDArray[np.uint8] = (0.45 * grey[..., None] + 0.55 * colour).round().astype(np.uint8)
    return mixed


def _picture(axis: Axes, image: NDArray[np.uint8], title: str) -> None:
    axis.imshow(image, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title, fontsize=7)


def _box(axis: Axes, box: NDArray[np.float64]) -> None:
    from matplotlib.patches import Rectangle

    if np.isfinite(box).all():
        x0, y0, x1, y1 = box - 0.5  # matplotlib's pixel 0 spans -0.5 to 0.5
        for colour, width in (("black", 2.2), ("white", 1.0)):
            axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=width))


def _scale() -> Any:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(0, 1), colormaps[SCALE])


def _shown(result: Result) -> list[str]:
    """Measures whose means are drawn: those that can be measured on the common grid."""
    common = [i for i, row in enumerate(result.attrs["rows"]) if row["common"]]
    known = np.isfinite(result.data["value"][1][common]).any(axis=0)
    there = {name for name, defined in zip(result.coords["measure"], known, strict=True) if defined}
    return [name for name in SHOWN if name in there] or list(ALWAYS)


def _means(axes: Sequence[Axes], result: Result, labels: Mapping[str, str], across: int) -> None:
    """One panel per measure, `across` in a row: a dot and its intervals per backbone, on the common grid."""
    rows = [(i, row) for i, row in enumerate(result.attrs["rows"]) if row["common"] and row["target"]]
    backbones = list(dict.fromkeys(row["backbone"] for _, row in rows))
    maps = result.attrs["images"] - result.data["n_undefined"][1][:, result.coords["measure"].index("centroid_y")]
    counts = {row["backbone"]: maps[i] for i, row in reversed(rows)}
    names = [f"{_lines(name)}\n{counts[name]} maps" for name in backbones]
    for j, (axis, measure) in enumerate(zip(axes, _shown(result), strict=True)):
        for i, row in rows:
            centred = row.get("version", RAW) == CENTRED
            place = backbones.index(row["backbone"])
            at = place + 0.28 * centred
            value, low, high, *of_classes = (_number(result, name, i, measure) for name in ENDS)
            colour = COLOURS[place % (len(COLOURS) - 1)]
            if np.isfinite(value):
                axis.plot([low, high], [at, at], color=colour, linewidth=2.2)
                axis.plot(of_classes, [at, at], color=colour, linewidth=0.8, marker="|", ms=8)
                face = "white" if centred else colour
                axis.plot([value], [at], color=colour, marker=MARKERS[place % len(MARKERS)], ms=5, mfc=face)
        if measure in BOXED:
            _chance(axis, result, rows[0][0], measure)
        axis.set_yticks(range(len(names)), names if j % across == 0 else [""] * len(names), fontsize=6)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.margins(x=0.15)
        axis.tick_params(axis="x", labelsize=6)
        axis.locator_params(axis="x", nbins=4)
        axis.set_xlabel(labels[measure].replace(", ", ",\n"), fontsize=6)


def _chance(axis: Axes, result: Result, first: int, measure: str) -> None:
    """Mark the score of a map that knows nothing of the image: the share of the box, and a Gaussian in the middle."""
    axis.axvline(_number(result, "value", first, "box_share"), color="0.3", linestyle=":", linewidth=1.0)
    for i, row in enumerate(result.attrs["rows"]):
        if not row["target"]:
            value, low, high = (_number(result, name, i, measure) for name in ENDS[:3])
            axis.axvspan(low, high, color="0.88", linewidth=0, zorder=0)
            axis.axvline(value, color="0.45", linestyle="--", linewidth=1.0, zorder=0.5)


def _number(result: Result, name: str, i: int, measure: str) -> float:
    """Number of the i-th row; NaN where the result has no such interval."""
    if name not in result.data:
        return float("nan")
    return float(result.data[name][1][i, result.coords["measure"].index(measure)])


def _lines(backbone: str) -> str:
    """The name with its tag on a second line.

    >>> _lines("convnext_base.fb_in22k")
    'convnext_base\\n.fb_in22k'
    """
    return backbone.replace(".", "\n.", 1)


def _short(text: str, most: int = 26) -> str:
    return text if len(text) <= most else f"...{text[3 - most :]}"
