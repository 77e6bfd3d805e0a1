"""`cvbench analyze faithfulness`: deletion and insertion along class activation maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.cam.faithful import TABLE, summarise_faithfulness
from cvbench.errors import UsageError
from cvbench.jobs.analyses.options import FaithfulnessOptions
from cvbench.jobs.analyses.passes.job import made_words, run_pass
from cvbench.jobs.analyses.passes.maps import target_of
from cvbench.jobs.analyses.passes.numbers import Tapped
from cvbench.jobs.analyses.passes.rows import block_rows, pair_rows
from cvbench.jobs.analyses.passes.tables import unit_tables
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.figures.charts.base import Twin
from cvbench.jobs.figures.charts.curves import Curves, curves_panel, point
from cvbench.jobs.figures.faithfulness import faithfulness_figure
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.keep import Analysed, keep
from cvbench.jobs.results.measured import curve_rows, left_out
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import CURVE, DIFFERENCE, Row
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Listener, silent
from cvbench.options import typed_words

if TYPE_CHECKING:
    from torch import Tensor

    from cvbench.engine.models.backbones import Backbone

METRICS = {
    "deletion": "deletion, area under the curve",
    "insertion": "insertion, area under the curve",
    "deletion_random": "deletion in a random order, area under the curve",
    "insertion_random": "insertion in a random order, area under the curve",
    "deletion_gain": "deletion, random order less the map's",
    "insertion_gain": "insertion, the map's less random order",
}
"""Measure -> its metric."""
PROBABILITY = "probability of the class"


@dataclass(frozen=True)
class FaithfulnessNumbers:
    """The pass: the map of each image, and the probability of its class as parts are deleted and inserted."""

    method: str
    targets: tuple[str, ...]
    cells: int
    steps: int
    name: str = "faithfulness"

    @property
    def view(self) -> str:
        """One for each method and way to delete."""
        return f"{self.name}.{self.method}.{self.cells}.{self.steps}"

    @property
    def made(self) -> Mapping[str, Any]:
        """Everything that the curves depend on."""
        from cvbench.engine.analyses.cam.faithfulness import BLUR, CURVES, DEVIATION, SEED

        filling = {"deleted": "zero", "inserted_into": ["blur", BLUR, DEVIATION], "random": SEED}
        chosen = {"method": self.method, "cells": self.cells, "steps": self.steps, "class": "predicted"}
        return {**chosen, **filling, "curves": list(CURVES), "faithfulness_version": 1}

    def layers(self, backbone: Backbone) -> tuple[dict[str, Tapped], list[str]]:
        """The target of the maps, by family or as named; tried on an image of noise."""
        from cvbench.engine.analyses.cam.faithfulness import CURVES

        size = backbone.preprocess.geometry.size
        if min(size) < self.cells:
            raise UsageError(f"{size[0]} x {size[1]} pixels have no {self.cells} parts a side", fix="--cells, smaller")
        target = target_of(backbone, self.method, self.targets)
        return {target: Tapped((len(CURVES), self.steps + 1), ("curve", "step"))}, []

    def variants(self, backbone: Backbone) -> Sequence[Backbone]:
        """None."""
        return ()

    def measure(
        self, backbone: Backbone, variants: Sequence[Backbone], images: Tensor, taps: Mapping[str, Tapped]
    ) -> dict[str, Tensor]:
        """(B, 4, steps + 1) of the target."""
        from cvbench.engine.analyses.cam.faithfulness import probability_curves
        from cvbench.engine.analyses.cam.graph import class_map

        found = {}
        for tap in taps:
            maps = class_map(backbone, tap, self.method, images)
            classes = maps.choice[:, 0].long()
            found[tap] = probability_curves(backbone, images, maps.raw, classes, self.cells, self.steps)
        return found


def faithfulness(
    options: ExtractOptions, asked: FaithfulnessOptions, cluster: Cluster, listen: Listener = silent
) -> Analysed:
    """Measure the images that the store has no curves of; the result is kept in the store.

    Raises:
        UnknownNameError: No such method or target.
        UsageError: A model without a classifier, or a dead target.
        CvbenchError: As `run_pass`.
    """
    from cvbench.engine.analyses.cam.methods import find_method

    method = find_method(asked.method)
    numbers = FaithfulnessNumbers(asked.method, asked.targets, asked.cells, asked.steps)
    found = run_pass(numbers, options, cluster, listen, head=True)
    reading = found.reading
    result = summarise_faithfulness(tuple(found.layers), unit_tables(reading), asked.intervals, reading.classes)
    result.attrs.update(
        notes=[*found.notes, *result.attrs["notes"]],
        unreadable=found.unreadable,
        method=asked.method,
        title=method.title,
        cells=asked.cells,
        command=made_words("faithfulness", options, typed_words(asked)),
    )
    path = keep(reading, result, [asdict(asked), result.attrs["intervals"], reading.identity])
    return Analysed(result, reading.selected, path, found.computed)


def rows(result: Result) -> Iterator[Row]:
    """Every backbone's areas and curves, and the differences."""
    names = [measure.name for measure in TABLE]
    shares = [step / result.attrs["steps"] for step in range(result.attrs["steps"] + 1)]
    for i, layer in enumerate(result.attrs["layers"]):
        template = Row(backbone=layer["backbone"], layer=layer["tap"])
        yield from block_rows(result, "layers", i, names, METRICS, template)
        for j, kind in enumerate(names[:4]):
            counted = Row(
                backbone=layer["backbone"],
                layer=layer["tap"],
                metric=f"{PROBABILITY}, {kind.replace('_', ', ')}",
                factor="share of the parts",
                n=result.attrs["samples"],
                n_failed=left_out(result),
            )
            yield from curve_rows(result, "curves", (4 * i + j,), shares, counted)
    yield from pair_rows(result, names, METRICS)


def headline(result: Result, found: Sequence[Row]) -> Iterator[Row]:
    """Differences of backbones, then all areas."""
    gains = (METRICS["deletion_gain"], METRICS["insertion_gain"])
    yield from (row for row in found if row.kind == DIFFERENCE and row.metric in gains)
    for metric in METRICS.values():
        yield from (row for row in found if row.metric == metric and row.kind not in (CURVE, DIFFERENCE))


def _said(result: Result) -> Iterator[str]:
    attrs = result.attrs
    yield f"{attrs['title']} of each image's top-1; {attrs['cells']} x {attrs['cells']} parts in {attrs['steps']} steps"
    yield "deleted parts are the mean colour, inserted ones begin from a blurred image; areas of other settings differ"


def faithfulness_chart(result: Result, found: Sequence[Row]) -> Twin:
    """A panel for deletion and one for insertion, a curve for each backbone and order."""
    panels = []
    for kind in ("deletion", "insertion"):
        points = [
            point(f"{row.backbone}{', random' if row.metric.endswith('random') else ''}", row.at, row)
            for row in found
            if row.kind == CURVE and row.at is not None and f", {kind}" in row.metric
        ]
        panels.append(curves_panel(points, Curves(kind, "share of the parts", PROBABILITY, unit=(0.0, 1.0))))
    return Twin(panels)


def _command(result: Result) -> list[str]:
    return list(result.attrs["command"])


def _run(wanted: ExtractOptions, asked: FaithfulnessOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    return [faithfulness(wanted, asked, on.cluster(), listen)]


ENTRY = Entry(
    name="faithfulness",
    title="Are the maps faithful: deletion and insertion",
    about=(
        "Parts of the image are taken away, or put into a blurred image, in the order of a class activation map, "
        "most evidence first, and the probability of the class is watched. Where a map is faithful, deletion lets "
        "it fall fast, a small area under the curve, and insertion lets it rise fast, a large one. Dashed: the same"
        " in an order drawn at random; what a map gains over that is the number to compare. Images with deleted "
        "parts are unlike all that a network has seen, which moves both areas. Numbers are means over images, which"
        " n counts, with intervals over images; differences are judged together (Holm), and with fewer than 30 "
        "images none is resolved. Source: Petsiuk et al. 2018."
    ),
    question=Question(METRICS["deletion_gain"], "Taking away what its map points at costs {more} more than {less}"),
    unit="images",
    rows=rows,
    command=_command,
    run=_run,
    headline=headline,
    figure=faithfulness_figure,
    chart=faithfulness_chart,
    said=_said,
    named_by=("method",),
)
