"""`cvbench analyze randomisation`: do class activation maps depend on what the networks have learnt?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.cam.randomisation import TABLE, summarise_randomisation
from cvbench.jobs.analyses.options import RandomisationOptions
from cvbench.jobs.analyses.passes.job import made_words, run_pass
from cvbench.jobs.analyses.passes.maps import target_of
from cvbench.jobs.analyses.passes.numbers import Tapped
from cvbench.jobs.analyses.passes.rows import block_rows, pair_rows
from cvbench.jobs.analyses.passes.tables import unit_tables
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.figures.charts.base import Twin
from cvbench.jobs.figures.charts.curves import Curves, curves_panel, point
from cvbench.jobs.figures.randomisation import randomisation_figure
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
    "raw": "rank correlation with the map of shuffled parameters",
    "evidence": "rank correlation with the map of shuffled parameters, positive part",
}
"""Measure -> its metric, when all parameters are shuffled."""
SHARE = "share of the parts shuffled, from the classifier down"


@dataclass(frozen=True)
class RandomisationNumbers:
    """The pass: the map of each image beside the maps of networks that are shuffled step by step."""

    method: str
    targets: tuple[str, ...]
    steps: int
    seed: int
    name: str = "randomisation"

    @property
    def view(self) -> str:
        """One for each method, number of steps and seed."""
        return f"{self.name}.{self.method}.{self.steps}.{self.seed}"

    @property
    def made(self) -> Mapping[str, Any]:
        """Everything that the correlations depend on."""
        chosen = {"method": self.method, "steps": self.steps, "shuffled": self.seed, "class": "predicted"}
        return {**chosen, "randomisation_version": 1}

    def layers(self, backbone: Backbone) -> tuple[dict[str, Tapped], list[str]]:
        """The target of the maps, by family or as named; tried on an image of noise."""
        from cvbench.engine.analyses.cam.randomised import COLUMNS

        target = target_of(backbone, self.method, self.targets)
        return {target: Tapped((len(COLUMNS), self.steps), ("map", "step"))}, []

    def variants(self, backbone: Backbone) -> Sequence[Backbone]:
        """The shuffled networks, one for each step."""
        from cvbench.engine.analyses.cam.randomised import shuffled_backbones

        return shuffled_backbones(backbone, self.steps, self.seed)

    def measure(
        self, backbone: Backbone, variants: Sequence[Backbone], images: Tensor, taps: Mapping[str, Tapped]
    ) -> dict[str, Tensor]:
        """(B, 2, steps) of the target."""
        from cvbench.engine.analyses.cam.randomised import randomised_correlations

        return {tap: randomised_correlations(backbone, variants, tap, self.method, images) for tap in taps}


def randomisation(
    options: ExtractOptions, asked: RandomisationOptions, cluster: Cluster, listen: Listener = silent
) -> Analysed:
    """Compare the maps of the images that the store has no correlations of; the result is kept in the store.

    Memory: each actor holds `steps` networks more for every backbone.

    Raises:
        UnknownNameError: No such method or target.
        UsageError: A model without a classifier, or a dead target.
        CvbenchError: As `run_pass`.
    """
    from cvbench.engine.analyses.cam.methods import find_method

    method = find_method(asked.method)
    numbers = RandomisationNumbers(asked.method, asked.targets, asked.steps, asked.intervals.seed)
    found = run_pass(numbers, options, cluster, listen, head=True)
    reading = found.reading
    result = summarise_randomisation(
        tuple(found.layers), unit_tables(reading), asked.steps, asked.intervals, reading.classes
    )
    result.attrs.update(
        notes=[*found.notes, *result.attrs["notes"]],
        unreadable=found.unreadable,
        method=asked.method,
        title=method.title,
        command=made_words("randomisation", options, typed_words(asked)),
    )
    path = keep(reading, result, [asdict(asked), result.attrs["intervals"], reading.identity])
    return Analysed(result, reading.selected, path, found.computed)


def rows(result: Result) -> Iterator[Row]:
    """Every backbone's correlations, at the end and at each step, and the differences."""
    names = [measure.name for measure in TABLE]
    steps = result.attrs["steps"]
    shares = [step / steps for step in range(1, steps + 1)]
    for i, layer in enumerate(result.attrs["layers"]):
        template = Row(backbone=layer["backbone"], layer=layer["tap"])
        yield from block_rows(result, "layers", i, names, METRICS, template)
        for j, name in enumerate(names):
            counted = replace(template, metric=METRICS[name], factor=SHARE)
            counted = replace(counted, n=result.attrs["samples"], n_failed=left_out(result))
            yield from curve_rows(result, "curves", (len(names) * i + j,), shares, counted)
    yield from pair_rows(result, names, METRICS)


def headline(result: Result, found: Sequence[Row]) -> Iterator[Row]:
    """Differences of backbones, then what each is left with."""
    yield from (row for row in found if row.kind == DIFFERENCE)
    yield from (row for row in found if row.kind not in (CURVE, DIFFERENCE))


def _said(result: Result) -> Iterator[str]:
    yield f"{result.attrs['title']} of each image's top-1, in {result.attrs['steps']} steps"
    yield "near 0: the map needs what was learnt; near 1: the same network without it would show the same"


def randomisation_chart(result: Result, found: Sequence[Row]) -> Twin:
    """A panel for the map and one for its positive part, a curve for each backbone."""
    panels = []
    for name, metric in METRICS.items():
        points = [
            point(row.backbone, row.at, row)
            for row in found
            if (row.kind, row.metric) == (CURVE, metric) and row.at is not None
        ]
        title = "map" if name == "raw" else "positive part"
        panels.append(curves_panel(points, Curves(title, SHARE, "rank correlation", level=0.0)))
    return Twin(panels)


def _command(result: Result) -> list[str]:
    return list(result.attrs["command"])


def _run(wanted: ExtractOptions, asked: RandomisationOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    return [randomisation(wanted, asked, on.cluster(), listen)]


ENTRY = Entry(
    name="randomisation",
    title="Do the maps depend on the parameters: randomisation test",
    about=(
        "From the classifier down to the first layer, the entries of each parameter are shuffled among themselves, and "
        "the class activation map of the same class of the same image is made again. The number is Spearman's rank "
        "correlation of the two maps over their positions, of the signed map and of its positive part, which is what "
        "is shown. Near 0 the map depends on what was learnt; a map that stays alike shows the image and the "
        "architecture. It is a necessary condition of a map that explains a network, not a sufficient one. Numbers "
        "are means over images, which n counts, with intervals over images; a map that is the same everywhere has no "
        "ranks and is left out. Differences are judged together (Holm), and with fewer than 30 images none is "
        "resolved; maps on grids of other sizes have correlations of other spreads. Source: Adebayo et al. 2018."
    ),
    question=Question(METRICS["evidence"], "Maps of {less} depend more on its parameters than those of {more}"),
    unit="images",
    rows=rows,
    command=_command,
    run=_run,
    headline=headline,
    figure=randomisation_figure,
    chart=randomisation_chart,
    said=_said,
    named_by=("method",),
)
