"""Interactive forms of evaluations: curves over the settings of a transform, and the reliability diagram."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.charts.base import Twin
from cvbench.jobs.figures.charts.curves import Curves, curves_panel, point
from cvbench.jobs.figures.evaluation_invariance import PANELS, places
from cvbench.jobs.figures.evaluation_reliability import ACCURACY, CONFIDENCE
from cvbench.jobs.results.row import Row


def invariance_chart(result: Result, rows: Sequence[Row]) -> Twin:
    """Accuracy and the probability of the true class over the settings."""
    panels = []
    for metric, label in PANELS:
        own = [row for row in rows if row.metric == metric and row.value is not None and not row.backbone_b]
        if not own:
            continue
        order = list(dict.fromkeys(row.factor for row in own))
        where = dict(zip(order, places(order)[0], strict=True))
        named = sorted(own, key=lambda row: (row.backbone, where[row.factor]))
        points = [point(row.backbone, where[row.factor], row, name=f"{row.backbone} {row.factor}") for row in named]
        across = str(result.attrs["means"])
        panels.append(curves_panel(points, Curves(label.replace(" (%)", ""), across, "share", zero=True)))
    return Twin(panels)


def reliability_chart(result: Result, rows: Sequence[Row]) -> Twin | None:
    """Accuracy in each bin of confidence, with its interval, beside the confidence itself; a panel a backbone."""
    panels = []
    for name in dict.fromkeys(row.backbone for row in rows if row.metric == ACCURACY):
        own = [row for row in rows if row.backbone == name]
        mean = {row.factor: row.value for row in own if row.metric == CONFIDENCE}
        bins = [row for row in own if row.metric == ACCURACY and row.value is not None]
        found = [row for row in bins if mean.get(row.factor) is not None]
        points = [point("accuracy", mean[row.factor] or 0.0, row, name=_bin(row)) for row in found]
        # What a calibrated model's accuracy is at these confidences.
        level = [replace(row, value=mean[row.factor], low=None, high=None) for row in found]
        points += [point("mean confidence", mean[row.factor] or 0.0, row, name=_bin(row)) for row in level]
        panels.append(curves_panel(points, Curves(name, "mean confidence", "accuracy in the bin", unit=(0.0, 1.0))))
    return Twin(panels, about="The static figure also has the share of samples in each bin.") if panels else None


def _bin(row: Row) -> str:
    low, high = map(float, re.findall(r"[0-9.e-]+", row.factor))
    return f"confidence {low:g} to {high:g}, {row.n:,} samples"
