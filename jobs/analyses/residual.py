"""`cvbench analyze residual`: how much each residual branch adds to its skip connection, and what that changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.residual.result import CHANGES, TABLE, ResidualLayer, summarise_residual
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.jobs.analyses.passes.job import made_words, run_pass
from cvbench.jobs.analyses.passes.numbers import Tapped
from cvbench.jobs.analyses.passes.rows import block_rows, pair_rows
from cvbench.jobs.analyses.passes.tables import unit_tables
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.figures.charts.base import Panel, Twin
from cvbench.jobs.figures.charts.curves import DEPTH, Curves, curves_panel, depths, point
from cvbench.jobs.figures.residual import residual_figure
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.keep import Analysed, keep
from cvbench.jobs.results.measured import end_rows
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import DIFFERENCE, VALUE, Row
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Listener, silent
from cvbench.options import typed_words

if TYPE_CHECKING:
    from torch import Tensor

    from cvbench.engine.models.backbones import Backbone

METRICS = {
    "patches": "branch norm / skip norm, patches",
    "class_token": "branch norm / skip norm, class token",
    "registers": "branch norm / skip norm, registers",
    "high_frequency": "energy share above 0.5 π, behind the sum less before",
    "variance": "ln of the spatial variance, behind the sum over before",
}
"""Measure -> its metric."""
NAMES = [measure.name for measure in TABLE]


@dataclass(frozen=True)
class ResidualNumbers:
    """The pass: every residual sum of each image."""

    name: str = "residual"
    view: str = "residual"

    @property
    def made(self) -> Mapping[str, Any]:
        """The version of what computes the numbers."""
        return {"residual_version": 2}

    def layers(self, backbone: Backbone) -> tuple[dict[str, Tapped], list[str]]:
        """Every sum of a block's own input or last sum with a branch; see `engine.analyses.residual.sums`."""
        from cvbench.engine.analyses.residual.sums import residual_sums

        found, refused = residual_sums(backbone)
        kept = {}
        for tap, one in found.items():
            attrs = {"block": one.block, "number": one.number, "part": one.part, "measures": list(one.measures)}
            kept[tap] = Tapped((len(one.measures),), ("measure",), attrs)
        of = {why: [tap for tap, given in refused.items() if given == why] for why in dict.fromkeys(refused.values())}
        return kept, [f"{len(taps)} blocks are not measured, from {taps[0]} on: {why}" for why, taps in of.items()]

    def variants(self, backbone: Backbone) -> Sequence[Backbone]:
        """None."""
        return ()

    def measure(
        self, backbone: Backbone, variants: Sequence[Backbone], images: Tensor, taps: Mapping[str, Tapped]
    ) -> dict[str, Tensor]:
        """(B, measures) of each branch."""
        from cvbench.engine.analyses.residual.sums import measure_residual

        places = {tap: (one.attrs["block"], one.attrs["number"]) for tap, one in taps.items()}
        return measure_residual(backbone, images, places)


def residual(
    options: ExtractOptions, intervals: IntervalOptions, cluster: Cluster, listen: Listener = silent
) -> Analysed:
    """Measure the residual sums of the images that the store has no numbers of; the result is kept in the store.

    Raises:
        UsageError: No backbone has a residual sum.
        CvbenchError: As `run_pass`.
    """
    found = run_pass(ResidualNumbers(), options, cluster, listen)
    reading = found.reading
    layers = [ResidualLayer(at, one.attrs["part"], tuple(one.attrs["measures"])) for at, one in found.layers.items()]
    result = summarise_residual(layers, unit_tables(reading), intervals, reading.classes)
    result.attrs.update(
        notes=[*found.notes, *result.attrs["notes"]],
        unreadable=found.unreadable,
        command=made_words("residual", options, typed_words(intervals)),
    )
    path = keep(reading, result, [asdict(intervals), result.attrs["intervals"], reading.identity])
    return Analysed(result, reading.selected, path, found.computed)


def rows(result: Result) -> Iterator[Row]:
    """Every branch by kind of tokens and by what it changes, that over all branches of a kind, and the differences."""
    for i, layer in enumerate(result.attrs["layers"]):
        template = Row(backbone=layer["backbone"], layer=layer["tap"])
        yield from block_rows(result, "layers", i, NAMES, METRICS, template)
    for i, kind in enumerate(result.attrs.get("kinds", [])):
        template = Row(backbone=kind["backbone"], factor=f"all branches {kind['part']}".strip())
        yield from block_rows(result, "kinds", i, CHANGES, METRICS, template)
    yield from pair_rows(result, NAMES, METRICS)


def headline(result: Result, found: Sequence[Row]) -> Iterator[Row]:
    """The differences, what all branches of a kind change, then the first and the last branch of each backbone."""
    yield from (row for row in found if row.kind == DIFFERENCE)
    yield from (row for row in found if row.factor)
    ends = list(end_rows([row for row in found if not row.factor]))
    for metric in METRICS.values():
        yield from (row for row in ends if (row.kind, row.metric) == (VALUE, metric))


def residual_chart(result: Result, found: Sequence[Row]) -> Twin:
    """By depth, a panel for each kind of tokens, a curve for each backbone and kind of branch."""
    layers = result.attrs["layers"]
    place, parts = depths(layers), {(layer["backbone"], layer["tap"]): layer["part"] for layer in layers}
    panels: list[Panel] = []
    for metric in METRICS.values():
        own = [row for row in found if (row.metric, row.kind) == (metric, VALUE) and row.value is not None]
        points = [
            point(f"{row.backbone} {parts[key]}".strip(), place[key], row, name=f"{row.backbone} {row.layer}")
            for row in own
            if (key := (row.backbone, row.layer)) in place
        ]
        points.sort(key=lambda one: str(one["series"]))
        change = metric in map(METRICS.get, CHANGES)
        look = (
            Curves(metric, DEPTH, metric, level=0.0) if change else Curves(metric, DEPTH, metric, level=1.0, zero=True)
        )
        panels += [curves_panel(points, look)] if points else []
    return Twin(
        panels,
        about=(
            "At 1 the branch is as large as what it is added to; below 0 a sum has less high-frequency energy, or "
            "variance, behind it than before."
        ),
    )


def _command(result: Result) -> list[str]:
    return list(result.attrs["command"])


def _run(wanted: ExtractOptions, intervals: IntervalOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    return [residual(wanted, intervals, on.cluster(), listen)]


ENTRY = Entry(
    name="residual",
    title="Branches against skip connections",
    about=(
        "Of every residual sum: the norm of what the branch adds to a token (attention, MLP or a whole convolution "
        "block, behind its layer scale) divided by the norm of the token that the skip connection brings. Far below 1 "
        "a block hardly changes its tokens, and above 1 it replaces them. Of each image it is the median over the "
        "patches, and class token and registers apart. Raghu et al. 2021 show the inverse, and that in ViTs the class "
        "token passes through skip connections in the first half of the network, and patches in the second. Sums whose "
        "skip is a projection are left out. Below: what the sum changes, over the positions: the share of energy above "
        "0.5 π without DC, and the logarithm of the spatial variance of a channel, each behind the sum less before; "
        "`all branches` is the mean over those of a kind (Park and Kim 2022, of whom also that attention lowers both "
        "and convolutions raise them; a convolution block has its MLP in the same branch). "
        "Numbers are means over images, which n counts, with intervals over "
        "images; differences are judged together (Holm), and with fewer than 30 images none is resolved. "
        "Sources: Raghu et al. 2021, Park and Kim 2022."
    ),
    question=Question(METRICS["patches"], "Branches of {more} change its patches more than those of {less}"),
    unit="images",
    rows=rows,
    command=_command,
    run=_run,
    headline=headline,
    figure=residual_figure,
    chart=residual_chart,
)
