"""The figure of `cvbench transfer finetune`: loss, accuracy and rate by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvbench.jobs.figures.base import COLOURS, MARKERS, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]
LINES = {"accuracy": "training batches, before each step", "val_accuracy": "validation"}


def finetune_figure(
    curve: Sequence[Row], title: str, stem: Path, formats: Sequence[str] = ("svg", "png")
) -> list[Path]:
    """Draw the curve of a run.

    Args:
        curve: A row per epoch: epoch, step, rate, loss, accuracy and val_accuracy (None where not measured).
        title: What was trained on what.
        stem: Path without suffix; folders are made. `stem.csv` gets the rows.
        formats: Among svg, png and pdf.

    Returns:
        The files written, the CSV last.

    Raises:
        UsageError: another format.
    """
    return save_figure(lambda: draw_curve(curve, title), curve, stem, formats)


def draw_curve(curve: Sequence[Row], title: str) -> Figure:
    """Loss, accuracy and rate beside each other."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9.0, 2.9), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    epochs = [row["epoch"] for row in curve]
    every = max(1, len(epochs) // 15)
    left.plot(epochs, [row["loss"] for row in curve], color=COLOURS[0], marker="o", ms=3, markevery=every)
    left.set_ylabel("training loss (nat)")
    left.set_ylim(bottom=0)
    for i, (key, label) in enumerate(LINES.items()):
        values = np.array([np.nan if row[key] is None else 100 * row[key] for row in curve])
        if np.isfinite(values).any():
            style: dict[str, Any] = {"color": COLOURS[i], "marker": MARKERS[i], "ms": 3, "markevery": every}
            middle.plot(epochs, values, label=label, **style)
    middle.set_ylabel("accuracy (%)")
    middle.set_ylim(0, 101)
    if middle.lines:
        middle.legend(frameon=False, fontsize=7, loc="lower right")
    right.plot(epochs, [row["rate"] for row in curve], color=COLOURS[2], marker="D", ms=3, markevery=every)
    right.set_ylabel("learning rate")
    right.set_ylim(bottom=0)
    for axis in (left, middle, right):
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(color="0.92", linewidth=0.6)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    figure.suptitle(title, fontsize=9)
    return figure
