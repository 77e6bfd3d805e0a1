"""`cvbench analyze spectra`: Fourier spectra of the `maps` view, and their forms as JSON and as rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.checks import check_grid
from cvbench.engine.analyses.spectra.measure import WANTS, Spectra
from cvbench.engine.analyses.spectra.result import TABLE
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.running import outdated_notes
from cvbench.jobs.analyses.measure import analyze, measuring
from cvbench.jobs.analyses.options import SPECTRA
from cvbench.jobs.extraction.live import kept_live
from cvbench.jobs.figures.spectra import spectra_figure
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import open_store, read
from cvbench.jobs.results.entry import Entry, Live, LiveSetting
from cvbench.jobs.results.keep import Analysed
from cvbench.jobs.results.row import TidyRow
from cvbench.jobs.results.tidy import command_words, end_layers, interval_options, selection_of, tidy_row
from cvbench.jobs.results.words import CLASSES, estimates, measures, over_classes, verdict_of
from cvbench.jobs.running.executor import Cluster
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Listener, silent

VIEW = "maps"


def spectra(selection: Selection, options: IntervalOptions, cluster: Cluster, listen: Listener = silent) -> Analysed:
    """Spectra of every selected layer's maps, whatever view the selection names; the result is kept in the store.

    Raises:
        UnknownNameError: The store has no maps; says which `cvbench extract` adds them.
        UsageError: A layer without spatial extent, before anything is measured.
    """
    store, selection = open_store(selection.store), replace(selection, view=VIEW)
    if (kept := kept_live(store, "spectra", selection, notes=outdated_notes)) is not None:
        return kept
    reading = read(selection, store)
    reading.grids(WANTS)
    analysis = Spectra(tuple(reading.input_sizes.items()), options, reading.classes)
    return analyze(analysis, reading, cluster, listen)


def spectra_json(result: Result, dataset: str) -> dict[str, Any]:
    """The JSON form of `cvbench analyze spectra --format json`; undefined numbers are null.

    `layers`: per layer its names, grid, channels, `radial` and `diagonal` at its own bins, `profile` at the common
    `frequency`, and `measures` by name; each value with `low` and `high`, measures also with `class_low` and
    `class_high`, the interval over resampled classes.
    """
    layers = []
    for i, layer in enumerate(result.attrs["layers"]):
        axis = _numbers(result, "bin_frequency", i)
        length = sum(value is not None for value in axis)
        reach = sum(value is not None for value in _numbers(result, "diagonal", i))
        layers.append(
            {
                **layer,
                "radial": {
                    "frequency": axis[:length],
                    "cycles_per_pixel": _numbers(result, "cycles_per_pixel", i)[:length],
                    **_estimates(result, "radial", i, length),
                },
                "diagonal": {
                    "frequency": axis[:reach],
                    "notebook_frequency": _numbers(result, "notebook_frequency", i)[:reach],
                    **_estimates(result, "diagonal", i, reach),
                },
                "profile": estimates(result, "profile", i),
                "measures": list(_measures(result, i)),
            }
        )
    attrs = {key: value for key, value in result.attrs.items() if key != "layers"}
    return {"dataset": dataset, "frequency": result.coords["frequency"], "layers": layers, **attrs}


def spectra_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One row per layer, quantity and frequency; the frequency of a measure, and undefined numbers, are None.

    Quantities: `radial`, `diagonal` at the layer's own bins; `profile` on the axis of all layers; the measures, with
    the `reason` where the layer's grid is too small for one.
    """
    for i, layer in enumerate(result.attrs["layers"]):
        named = {"backbone": layer["backbone"], "tap": layer["tap"], "grid": "x".join(map(str, layer["grid"]))}
        axes = {"radial": "bin_frequency", "diagonal": "bin_frequency", "profile": None}
        for quantity, axis in axes.items():
            places = _numbers(result, axis, i) if axis else result.coords["frequency"]
            found = estimates(result, quantity, i)
            for at, value, low, high in zip(places, found["value"], found["low"], found["high"], strict=True):
                if value is not None:
                    row = {"quantity": quantity, "frequency": at, "value": value, "low": low, "high": high}
                    yield {**named, **row, **dict.fromkeys(_OF_MEASURES), "n_undefined": 0}
        for measure in _measures(result, i):
            yield {**named, "quantity": measure.pop("name"), "frequency": None, **measure}


_OF_MEASURES = ("class_low", "class_high", "n_undefined", "reason", "white_noise")
"""What a row of a measure has and one of a curve has not."""


def _measures(result: Result, layer: int) -> Iterator[dict[str, Any]]:
    noise, table = _numbers(result, "white_noise", layer), {measure.name: measure for measure in TABLE}
    grid = result.attrs["layers"][layer]["grid"]
    for measure, level in zip(measures(result, "measures", "n_undefined", layer, table, grid), noise, strict=True):
        own = {key: value for key, value in measure.items() if key not in ("p", "resolved", "class_resolved")}
        yield {**own, "white_noise": level}


def _estimates(result: Result, name: str, layer: int, length: int) -> dict[str, list[float | None]]:
    return {key: values[:length] for key, values in estimates(result, name, layer).items()}


def _numbers(result: Result, name: str, layer: int) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in result.data[name][1][layer].tolist()]


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


def tidy_rows(result: Result) -> Iterator[TidyRow]:
    """Every layer's curves and measures."""
    for row in spectra_rows(result):
        at = "" if row["frequency"] is None else f" at {row['frequency']:.4f} π"
        yield _row(result, row, f"{row['tap']}{at}")
        for found in over_classes(row):
            yield _row(result, found, row["tap"], CLASSES)
    yield from difference_rows(result)


def difference_rows(result: Result) -> Iterator[TidyRow]:
    """One backbone less another, at their deepest layers of one grid."""
    for row in result.attrs["differences"]:
        factor = f"{row['tap_a']} less {row['tap_b']}"
        pair = f"{row['backbone_a']} vs {row['backbone_b']}"
        left_out = result.attrs["samples"] - row["n"] + _unreadable(result)
        for found, marked in [(row, ""), *((found, CLASSES) for found in over_classes(row))]:
            said = f" ({row['reason']})" if row.get("reason") else verdict_of(found).mark
            metric = f"difference of {QUANTITIES[row['measure']]}{marked}{said}"
            estimate = (found["value"], found["low"], found["high"])
            yield tidy_row(result, pair, metric, factor, estimate, row["n"], left_out)


def headline_rows(result: Result) -> Iterator[TidyRow]:
    """What the backbones differ by; of first and last layers the energy above 0.5 π, and the top of the common axis.

    The share of DC is told where the grid of the compared layers has no frequency below 0.5 π.
    """
    wanted = [f"difference of {QUANTITIES[name]}" for name in ("share_above_0.5", "dc_share")]
    found = [row for row in difference_rows(result) if row.value is not None]
    first = next((name for name in wanted if any(row.metric.startswith(name) for row in found)), "")
    yield from (row for row in found if first and row.metric.startswith(first))
    layers, top = result.attrs["layers"], result.coords["frequency"][-1]
    ends = {(layers[i]["backbone"], layers[i]["tap"]) for i in end_layers(result)}
    rows = [row for row in spectra_rows(result) if (row["backbone"], row["tap"]) in ends]
    for row in rows:
        if row["quantity"] == "share_above_0.5" and not row["reason"]:
            yield _row(result, row, row["tap"])
    for row in rows:
        if row["quantity"] == "profile" and row["frequency"] == top:
            yield _row(result, row, f"{row['tap']} at {top:.4f} π")


def _row(result: Result, row: dict[str, Any], factor: str, ending: str = "") -> TidyRow:
    undefined = row["n_undefined"]
    metric = QUANTITIES[row["quantity"]] + ending + (f" ({row['reason']})" if row["reason"] else "")
    estimate = (row["value"], row["low"], row["high"])
    counts = (result.attrs["samples"] - undefined, _unreadable(result) + undefined)
    return tidy_row(result, row["backbone"], metric, factor, estimate, *counts)


def _unreadable(result: Result) -> int:
    return int(result.attrs.get("samples_in_units", result.attrs["samples"]) - result.attrs["samples"])


def _command(result: Result) -> list[str]:
    return command_words("analyze spectra", SPECTRA, selection_of(result), interval_options(result))


def _run(selection: Selection, options: IntervalOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    return [spectra(selection, options, measuring(on), listen)]


def _live(setting: LiveSetting) -> Spectra:
    for layer, shape in setting.shapes.items():
        check_grid(layer, shape, "--analyze spectra")
    return Spectra(tuple(setting.inputs.items()))


def draw_spectra(result: Result, stem: Path, formats: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Draw a result with its rows; see `spectra_figure`."""
    return spectra_figure(result, spectra_rows(result), stem, formats)


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
    rows=tidy_rows,
    command=_command,
    run=_run,
    figure=draw_spectra,
    headline=headline_rows,
    live=Live(_live, of_classes=True),
)
