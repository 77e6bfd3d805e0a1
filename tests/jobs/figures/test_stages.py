"""Brackets for the stages of a network, along the axes of a heat map."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from cvbench.jobs.figures.stages import layer_axis, stages_of

CONVNEXT = [f"stages.{stage}.blocks.{k}" for stage, count in enumerate((3, 3, 9, 3)) for k in range(count)]


@pytest.mark.parametrize("which", ["x", "y"])
def test_each_stage_has_its_name_in_the_middle_of_a_bracket_around_its_layers(which: str) -> None:
    axis = Figure().subplots()
    axis.imshow(np.zeros((18, 18)), origin="lower")
    before = axis.get_xlim(), axis.get_ylim()
    layer_axis(axis, which, CONVNEXT, "net")
    labels = axis.get_xticklabels() if which == "x" else axis.get_yticklabels()
    assert [label.get_text() for label in labels] == [
        "stages.0  0–2",
        "stages.1  3–5",
        "stages.2  6–14",
        "stages.3  15–17",
    ]
    assert list(axis.get_xticks() if which == "x" else axis.get_yticks()) == [1, 4, 10, 16]
    spans = [np.asarray(line.get_xdata() if which == "x" else line.get_ydata()) for line in axis.lines]
    assert [(span.min(), span.max()) for span in spans] == [(-0.4, 2.4), (2.6, 5.4), (5.6, 14.4), (14.6, 17.4)]
    assert (axis.get_xlim(), axis.get_ylim()) == before


@pytest.mark.parametrize(
    "taps",
    [
        [f"blocks.{k}" for k in range(12)],  # one stage
        [f"stages.{k}" for k in range(4)],  # stages without blocks
        [f"features.{k}.block.0" for k in range(9)],  # more than the axis has names for
        ["head"],
    ],
)
def test_without_stages_layers_are_named_one_by_one(taps: list[str]) -> None:
    assert stages_of(taps) == []
    axis = Figure().subplots()
    layer_axis(axis, "x", taps, "net")
    assert axis.get_xticklabels()[0].get_text().endswith("  0")
    assert not axis.lines
