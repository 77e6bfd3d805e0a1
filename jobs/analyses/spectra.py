"""`cvbench analyze spectra`: Fourier spectra of the `maps` view."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.spectra.measure import WANTS, Spectra
from cvbench.engine.analyses.spectra.result import TABLE
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.running import outdated_notes
from cvbench.jobs.analyses.measure import analyze, measuring
from cvbench.jobs.analyses.options import SPECTRA
from cvbench.jobs.extraction.live import kept_live
from cvbench.jobs.figures.charts.curves import spectra_chart
from cvbench.jobs.figures.spectra import spectra_figure
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import open_store, read
from cvbench.jobs.results.command import command_words, interval_options, selection_of
from cvbench.jobs.results.entry import Entry, Live, LiveSetting
from cvbench.jobs.results.keep import Analysed
from cvbench.jobs.results.measured import class_verdict, curve_rows, end_rows, left_out, measure_rows, verdict_text
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import DIFFERENCE, REFERENCE, VALUE, Row
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Listener, silent

VIEW = "maps"
RADIAL = "frequency, π"
"""What `at` of a curve is."""


def spectra(selection: Selection, options: IntervalOptions, cluster: Cluster, listen: Listener = silent) -> Analysed:
    """Spectra of every selected layer's maps, whatever view the selection names; the result is kept in the store.

    Raises:
        UnknownNameError: The store has no maps; says which `cvbench extract` adds them.
        UsageError: A layer without spatial extent that is named, or no layer with it, before anything is measured.
    """
    store, selection = open_store(selection.store), replace(selection, view=VIEW)
    if (kept := kept_live(store, "spectra", selection, notes=outdated_notes)) is not None:
        return kept
    reading = read(selection, store).with_grids(WANTS, selection.taps)
    analysis = Spectra(tuple(reading.input_sizes.items()), options, reading.classes)
    return analyze(analysis, reading, cluster, listen)


QUANTITIES = {
    "radial": "relative log amplitude (nat)",
    "diagonal": "relative log amplitude on the half-diagonal (nat)",
    "profile": "relative log amplitude on the common axis (nat)",
    "share_above_0.25": "energy share above 0.25 π",
    "share_above_0.5": "energy share above 0.5 π",
    "dc_share": "energy share of DC",
    "centroid": "mean radial frequency (π)",
    "corners": "relative log amplitude of the corners (nat)",
    "slope": "slope of log amplitude over log frequency",
    "variance": "spatial variance of a channel",
}


CURVES = {"radial": "bin_frequency", "diagonal": "bin_frequency", "profile": None}
"""Curve -> the variable that has its frequencies; None: those of all layers."""
MEASURED = {measure.name: measure for measure in TABLE}


def rows(result: Result) -> Iterator[Row]:
    """Every layer's curves and measures, what white noise would give, and the differences."""
    for i, layer in enumerate(result.attrs["layers"]):
        template = Row(backbone=layer["backbone"], layer=layer["tap"])
        counted = replace(template, n=result.attrs["samples"], n_failed=left_out(result), factor=RADIAL)
        for curve, axis in CURVES.items():
            places = result.coords["frequency"] if axis is None else result.data[axis][1][i].tolist()
            yield from curve_rows(result, curve, (i,), places, replace(counted, metric=QUANTITIES[curve]))
        measured = list(
            measure_rows(result, "measures", "n_undefined", (i,), MEASURED, layer["grid"], template, QUANTITIES)
        )
        yield from measured
        for row, level in zip(measured, result.data["white_noise"][1][i].tolist(), strict=True):
            if row.value is not None and math.isfinite(level):
                yield replace(template, metric=row.metric, kind=REFERENCE, factor="white noise", value=level)
    yield from _differences(result)


def _differences(result: Result) -> Iterator[Row]:
    """One backbone less another, at their deepest layers of one grid."""
    for found in result.attrs["differences"]:
        missing = result.attrs["samples"] - found["n"] + left_out(result)
        row = Row(
            backbone=found["backbone_a"],
            layer=found["tap_a"],
            backbone_b=found["backbone_b"],
            layer_b=found["tap_b"],
            metric=QUANTITIES[found["measure"]],
            kind=DIFFERENCE,
            **{name: found[name] for name in ("value", "low", "high", "class_low", "class_high", "n")},
            n_failed=missing,
            p=found.get("p"),
            note=found.get("reason") or "",
        )
        if row.value is None:
            yield row
        else:
            said = verdict_text(found["resolved"], row.low)
            yield replace(row, verdict=said, class_verdict=class_verdict(row, found.get("class_resolved")))


def headline(result: Result, found: Sequence[Row]) -> Iterator[Row]:
    """Differences of the backbones; of first and last layers the energy above 0.5 π, and the top of the common axis.

    The share of DC is shown where the grid of the compared layers has no frequency below 0.5 π.
    """
    differences = [row for row in found if row.kind == DIFFERENCE and row.value is not None]
    shares = [QUANTITIES[name] for name in ("share_above_0.5", "dc_share")]
    quantity = next((name for name in shares if any(row.metric == name for row in differences)), None)
    yield from (row for row in differences if row.metric == quantity)
    ends = list(end_rows(found))
    yield from (row for row in ends if (row.metric, row.kind, row.note) == (shares[0], VALUE, ""))
    top = result.coords["frequency"][-1]
    yield from (row for row in ends if row.metric == QUANTITIES["profile"] and row.at == top)


def _said(result: Result) -> Iterator[str]:
    yield f"log amplitude is relative to DC (nat); white noise is at +{result.attrs['null_level']:.3f}, not at 0"


def _command(result: Result) -> list[str]:
    return command_words("analyze spectra", SPECTRA, selection_of(result), interval_options(result))


def _run(selection: Selection, options: IntervalOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    return [spectra(selection, options, measuring(on, listen), listen)]


def _live(setting: LiveSetting) -> Spectra:
    return Spectra(tuple(setting.inputs.items()))


ENTRY = Entry(
    name="spectra",
    title="Fourier spectra of the feature maps",
    about=(
        "How much of each layer's maps is slow or fast over space. Above: amplitude by radial frequency, as a "
        "logarithm relative to the mean of the map (DC), one curve per layer from dark (first) to bright (last); "
        "white noise is the dashed line. Frequency 1 π is one cycle in two positions of the layer's own grid, so below "
        "that the same by cycles per pixel of the image. Then layer by frequency, and by depth the share of energy "
        "above half the Nyquist frequency, without DC (a layer that smooths lies below the dotted line of noise), and "
        "the amplitude at the highest frequency of all layers. Numbers are means over images, which n counts, with "
        "intervals over images; images left out are unreadable or constant. Differences are judged together (Holm); "
        "one whose interval contains 0 is not resolved. A measure that a grid is too small for is not printed. Source: "
        "Park and Kim 2022, with a true radial axis."
    ),
    question=Question("energy share above 0.5 π", "{more} keeps more of its energy in high frequencies than {less}"),
    unit="images",
    rows=rows,
    command=_command,
    run=_run,
    headline=headline,
    figure=spectra_figure,
    chart=spectra_chart,
    said=_said,
    live=Live(_live, of_classes=True, wants=WANTS),
)
