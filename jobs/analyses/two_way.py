"""`cvbench analyze two-way`: backbones that cross two factors, and what of their inside is of which factor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Partial, Result
from cvbench.engine.analyses.similarity.result import UNRESOLVED
from cvbench.engine.statistics.measure import Grid, Measure, grid_notes
from cvbench.engine.statistics.running import interval_notes
from cvbench.engine.statistics.verdict import FAMILY
from cvbench.errors import UsageError
from cvbench.jobs.analyses.measure import measure_units, measuring
from cvbench.jobs.analyses.options import TWO_WAY, TwoWayOptions
from cvbench.jobs.analyses.two_way_measured import OF, Measured
from cvbench.jobs.figures.charts.intervals import interval_chart
from cvbench.jobs.figures.evaluation_intervals import IntervalPanel, interval_figure
from cvbench.jobs.reading.options import DEFAULT_STORE, Selection
from cvbench.jobs.reading.reading import Reading, open_store, read
from cvbench.jobs.reading.selection import Selected
from cvbench.jobs.results.cells import Cells, crossed
from cvbench.jobs.results.command import command_words
from cvbench.jobs.results.effects import EFFECTS, INTERVALS, add_decompositions, effect_of, spread_of
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.keep import Analysed, keep, partials_of
from cvbench.jobs.results.measured import grid_text
from cvbench.jobs.results.row import DIFFERENCE, Row
from cvbench.jobs.results.table import Table, of_metrics, table_result, table_rows
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Listener, silent

F64 = NDArray[np.float64]
NAME, VIEW = "two-way", "maps"


def decompose(selection: Selection, options: TwoWayOptions, cluster: Cluster, listen: Listener = silent) -> Analysed:
    """Take apart what is measured of every image in the last selected layer of each backbone; kept in the store.

    Memory: one partial, and 16 bytes for each image, backbone and measure.

    Raises:
        UsageError: The cells are no full crossing of two factors; a layer without spatial extent, or no layer with it;
            a backbone without any of the taps.
        UnknownNameError: The store has no maps of a backbone.
    """
    cells, measured = crossed(options.cells, options.factors), OF[options.of]
    reading, cells = _last(selection, cells, measured)
    made = measured.make(reading, options)
    key, count = measure_units(made.analysis, reading, cluster, listen, made.recipe)
    partials = partials_of(reading.store, key, reading.selected.units)
    values = _values(partials, reading.selected.layers, cells, measured)
    layers = _described(reading, measured)
    taken, notes = _measurable(values, layers, measured, made.common)
    selected = reading.selected
    table = Table(selected.dataset, selected.split, selected.samples - len(values))
    add_decompositions(table, cells, taken)
    attrs = {
        "of": options.of,
        "factors": list(cells.factors),
        "cells": {name: list(cells.levels_of(name)) for name in cells.place},
        "layers": layers,
        "samples": len(values),
        "notes": [*interval_notes(len(values)), *notes, *made.notes, *selected.notes],
        "effects": EFFECTS,
        "intervals": INTERVALS,
        "family": FAMILY,
        "options": _typed(selection, selected, options),
    }
    result = table_result(NAME, table.rows, attrs)
    path = keep(reading, result, [key.name, 1, attrs["cells"], attrs["factors"]])
    return Analysed(result, selected, path, count)


def _typed(selection: Selection, selected: Selected, options: TwoWayOptions) -> list[str]:
    """The options that make the result again."""
    place = replace(selection, store=DEFAULT_STORE, dataset=selected.dataset, split=selected.split, backbones=())
    return command_words("", TWO_WAY, place, replace(options, data_root=None))


def _last(selection: Selection, cells: Cells, measured: Measured) -> tuple[Reading, Cells]:
    """The last selected layer of each cell's backbone, and the cells by the names that the store has."""
    found = read(replace(selection, view=VIEW, backbones=cells.backbones), open_store(selection.store))
    cells = cells.stored(list(dict.fromkeys(layer.backbone for layer in found.selected.layers)))
    reading = found.with_grids(measured.wants, selection.taps)
    lacking = [name for name in cells.backbones if name not in {layer.backbone for layer in reading.selected.layers}]
    if lacking:
        raise UsageError(
            f"no selected layer of {', '.join(lacking)} has a grid of positions",
            where=found.where,
            fix="--taps that name one",
        )
    return reading.of_last_layers(), cells


def _values(partials: Iterable[Partial], layers: Sequence[Layer], cells: Cells, measured: Measured) -> F64:
    """(n, a, b, m) in the order of the images; of one partial at a time, which holds matrices and profiles, too."""
    blocks = []
    for part in partials:
        numbers = [measured.numbers(part, i) for i in range(len(layers))]
        block = np.empty((len(numbers[0]), *cells.shape, numbers[0].shape[1]))
        for layer, own in zip(layers, numbers, strict=True):
            block[(slice(None), *cells.place[layer.backbone])] = own
        blocks.append(block)
    return np.concatenate(blocks)


def _described(reading: Reading, measured: Measured) -> list[dict[str, Any]]:
    grids = reading.grids(measured.wants)
    return [{"backbone": one.backbone, "tap": one.tap, "grid": list(grids[one])} for one in reading.selected.layers]


def _measurable(
    values: F64, layers: Sequence[dict[str, Any]], measured: Measured, common: tuple[int, int] | None
) -> tuple[list[tuple[Measure, F64]], list[str]]:
    """The measures that every layer's grid is large enough for, with their values; and notes on the others."""
    grids = {f"{one['backbone']}/{one['tap']}": one["grid"] for one in layers}
    places: dict[str, Grid] = {"common": common} if common is not None else {**grids}
    table = measured.table[: values.shape[-1]]
    notes, taken = grid_notes(table, places), []
    if common is not None:
        notes.append(f"measured on the common grid {grid_text(common)}")
    elif len({tuple(one["grid"]) for one in layers}) > 1:
        shown = ", ".join(f"{name} {grid_text(grid)}" for name, grid in grids.items())
        notes.append(
            f"grids differ ({shown}): effects are of all that differs between these layers, their stride too; --taps "
            "names layers of one grid"
        )
    for at, measure in enumerate(table):
        if not all(measure.on(grid) for grid in places.values()):
            continue
        own = values[..., at]
        if measure.name in measured.floors and not (_means(own) >= measured.floors[measure.name]).all():
            notes.append(f"{measure.name}: {UNRESOLVED}, in a cell at least; it has no effects")
            continue
        taken.append((measure, own))
    return taken, notes


def _means(values: F64) -> F64:
    """(a, b) means over the images that define a number; NaN of a cell in which none does."""
    defined = np.isfinite(values)
    count = defined.sum(axis=0)
    sums: F64 = np.where(defined, values, 0.0).sum(axis=0)
    return sums / np.where(count > 0, count, np.nan)


def _shown(rows: Sequence[Row]) -> str:
    """The measure that the short table and the figure show: the main one, or the first if no grid had room for it."""
    named = [row.metric for row in rows if row.kind == DIFFERENCE and row.value is not None]
    mains = [effect_of(main) for one in OF.values() for main in one.mains]
    chosen = next((metric for metric in mains if metric in named), next(iter(named), ""))
    return chosen.removeprefix(effect_of(""))


def _headline(result: Result, rows: Sequence[Row]) -> list[Row]:
    shown = _shown(rows)
    return of_metrics(spread_of(shown), effect_of(shown))(result, rows)


def _panel(rows: Sequence[Row]) -> IntervalPanel:
    shown = _shown(rows)
    return IntervalPanel(
        title=f"effects on {shown}, with 95 % intervals",
        axis="above the mean of all cells",
        line=lambda row: row.factor if row.metric == effect_of(shown) and row.kind == DIFFERENCE else None,
        reference=(0.0, "no effect"),
    )


def _command(result: Result) -> list[str]:
    return ["analyze", NAME, *map(str, result.attrs["options"])]


def _run(selection: Selection, options: TwoWayOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    return [decompose(selection, options, measuring(on, listen), listen)]


ENTRY = Entry(
    name=NAME,
    title="Two factors apart, inside",
    about="Backbones that cross two factors, such as architecture and training objective, every combination once and "
    "on the same images: how much of the spread between their last layers is of the one, of the other, and of both "
    "together. What is measured of every image is what `analyze spectra`, `similarity` or `maps` measures. An effect "
    "of a level is what its backbones have above the mean of all; a sum of squared effects says how much of the spread "
    "a part has.",
    rows=table_rows,
    run=_run,
    command=_command,
    figure=lambda result, rows: interval_figure(_panel(rows))(result, rows),
    chart=lambda result, rows: interval_chart(_panel(rows))(result, rows),
    headline=_headline,
    named_by=("of",),
)
