"""`cvbench analyze norms`: norms of the tokens of every layer, and those that stand out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.norms.measure import PER_OCTAVE, TABLE, Norms
from cvbench.jobs.analyses.measure import analyze_maps
from cvbench.jobs.analyses.options import NORMS, NormsOptions
from cvbench.jobs.analyses.passes.rows import block_rows, verdict_columns
from cvbench.jobs.figures.charts.base import Twin
from cvbench.jobs.figures.charts.curves import depth_panel
from cvbench.jobs.figures.norms import norms_figure
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.results.command import command_words, interval_options, selection_of
from cvbench.jobs.results.entry import Entry, Live
from cvbench.jobs.results.keep import Analysed
from cvbench.jobs.results.measured import end_rows, left_out
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import CURVE, DIFFERENCE, REFERENCE, VALUE, Row
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Listener

METRICS = {
    "median": "token norm, median",
    "largest": "token norm, largest / median",
    "outliers": "share of tokens with an outlying norm",
    "border": "share of the outlying tokens at the border",
    "above": "share of tokens above the given norm",
}
"""Measure -> its metric."""
HISTOGRAM = "share of tokens by norm"


def rows(result: Result) -> Iterator[Row]:
    """Every layer's measures, the share of the border, its histogram, and the differences."""
    names = [measure.name for measure in TABLE]
    for i, layer in enumerate(result.attrs["layers"]):
        template = Row(backbone=layer["backbone"], layer=layer["tap"])
        yield from block_rows(result, "layers", i, names, METRICS, template)
        yield replace(
            template,
            metric=METRICS["border"],
            kind=REFERENCE,
            factor="outliers anywhere alike",
            value=layer["border_share"],
        )
        counted = replace(template, n=result.attrs["samples"], n_failed=left_out(result), metric=HISTOGRAM)
        for edge, value in zip(result.coords["edge"], result.data["histogram"][1][i].tolist(), strict=True):
            if value > 0:
                yield replace(counted, kind=CURVE, at=edge, factor="norm, from", value=value)
    for i, pair in enumerate(result.attrs["pairs"]):
        one, two = (result.attrs["layers"][number] for number in pair)
        sides = {"backbone": one["backbone"], "layer": one["tap"]}
        template = Row(**sides, backbone_b=two["backbone"], layer_b=two["tap"], kind=DIFFERENCE)
        for row in block_rows(result, "difference", i, names, METRICS, template):
            yield replace(row, **verdict_columns(result, i, [METRICS[name] for name in names].index(row.metric), row))


def headline(result: Result, found: Sequence[Row]) -> Iterator[Row]:
    """Differences of layers and backbones, then the first and the last layer of each backbone."""
    main = [METRICS[name] for name in ("outliers", "largest", "above")]
    yield from (row for row in found if row.kind == DIFFERENCE and row.metric in main)
    ends = list(end_rows(found))
    for metric in main:
        yield from (row for row in ends if (row.kind, row.metric) == (VALUE, metric))


def _said(result: Result) -> Iterator[str]:
    yield f"outliers: {result.attrs['outlier']}"
    if result.attrs.get("cutoff") is not None:
        yield f"the given norm: {result.attrs['cutoff']:g}"


def norms_chart(result: Result, found: Sequence[Row]) -> Twin:
    """By depth the share of outliers, and the largest norm."""
    panels = [depth_panel(result, found, METRICS[name], METRICS[name]) for name in ("outliers", "largest")]
    about = f"The static figure also has the histograms, {PER_OCTAVE} bins an octave, and where outliers lie."
    return Twin([panel for panel in panels if panel is not None], about=about)


def _command(result: Result) -> list[str]:
    asked = NormsOptions(result.attrs.get("cutoff"), interval_options(result))
    return command_words("analyze norms", NORMS, selection_of(result), asked)


def _run(selection: Selection, asked: NormsOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    return [analyze_maps(Norms(asked.cutoff, asked.intervals), selection, on, listen)]


ENTRY = Entry(
    name="norms",
    title="Norms of tokens",
    about=(
        "The norm of every position of every layer, class and register tokens left out: histogram layer by layer, "
        "and the tokens whose norm stands out from the others of the same image, whose share is shown by depth and "
        "whose places in the last layer as a map. Large ViTs keep global information in a few patches of little "
        "content, whose norms are many times the others', unless they have registers (Darcet et al. 2024): such "
        "tokens make maps and attention hard to read. Numbers are means over images, which n counts, with intervals"
        " over images; differences are judged together (Holm), and with fewer than 30 images none is resolved. "
        "Source: Darcet et al. 2024."
    ),
    question=Question(METRICS["outliers"], "{more} has more tokens of outlying norm than {less}"),
    unit="images",
    rows=rows,
    command=_command,
    run=_run,
    headline=headline,
    figure=norms_figure,
    chart=norms_chart,
    said=_said,
    live=Live(lambda setting: Norms()),
)
