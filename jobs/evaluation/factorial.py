"""`cvbench eval factorial`: backbones that cross two factors, and what of their accuracy is of which factor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.metrics.scores import Scores
from cvbench.engine.statistics.measure import Measure, indicator, share
from cvbench.engine.statistics.verdict import FAMILY
from cvbench.jobs.evaluation.compare import TOP1
from cvbench.jobs.evaluation.options import FactorialOptions, eval_words
from cvbench.jobs.evaluation.samples import VIEW, Samples, open_samples
from cvbench.jobs.evaluation.shared import (
    Evaluated,
    check_chance,
    keep_table,
    score_samples,
    selection_words,
    space_of,
)
from cvbench.jobs.figures.charts.intervals import interval_chart
from cvbench.jobs.figures.evaluation_intervals import IntervalPanel, interval_figure
from cvbench.jobs.reading.reading import open_store
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.results.cells import Cells, crossed
from cvbench.jobs.results.effects import EFFECTS, INTERVALS, add_decompositions, effect_of, spread_of
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.row import DIFFERENCE, Row
from cvbench.jobs.results.table import Table, again, of_metrics, table_result, table_rows
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Started, silent

NAME = "factorial"
PROBABILITY = "probability of the true class"
MEASURES: tuple[Measure, ...] = (
    indicator(TOP1, "the true class has the largest logit"),
    share(PROBABILITY, "softmax probability of the true class"),
)


def factorial(selections: Sequence[Selection], options: FactorialOptions, listen: Listener = silent) -> list[Evaluated]:
    """Decompose the accuracy of backbones that cross two factors, on each data set; kept in the store.

    Memory: one block of logits, and 16 bytes per sample and backbone.

    Raises:
        UsageError: The cells are no full crossing of two factors, or a classifier has other classes.
        UnknownNameError: The store has no logits of a backbone.
        EvaluationSuspectError: An accuracy is near chance.
        IncompleteError: A part of the data set only.
    """
    cells = crossed(options.cells, options.factors)
    store = open_store(selections[0].store)
    asked = [replace(selection, backbones=cells.backbones) for selection in selections]
    found = [open_samples(store, selection, options.shared) for selection in asked]  # all, before any is scored
    return [
        _one(samples, cells.stored([layer.backbone for layer in samples.selected.layers]), options, listen)
        for samples in found
    ]


def _one(samples: Samples, cells: Cells, options: FactorialOptions, listen: Listener) -> Evaluated:
    by_name = {layer.backbone: layer for layer in samples.selected.layers}
    table = Table(samples.info.dataset, samples.info.split, samples.failed)
    notes, protocol = list(samples.notes), {}
    whole = all(samples.kind(layer) == VIEW for layer in by_name.values())
    measures = MEASURES if whole else MEASURES[:1]
    values = np.empty((len(measures), len(samples.rows), *cells.shape))
    listen(Started("eval factorial", samples.where, len(samples.rows) * len(by_name), len(by_name), 0))
    for number, (name, at) in enumerate(cells.place.items()):
        layer = by_name[name]
        space = space_of(samples, layer, masked=options.masked)
        scores = score_samples(samples, layer, space)
        note = check_chance(samples, layer, space, scores, options.shared)
        notes += [note] if note else []
        protocol[name] = space.protocol
        for measured, one in zip(values, measures, strict=True):
            measured[(slice(None), *at)] = _of(scores, one)
        listen(Advanced("eval factorial", number, len(samples.rows)))
    listen(Ended("eval factorial"))
    if not whole:
        notes.append(f"imported classes have no {PROBABILITY}: only {TOP1} is decomposed")
    add_decompositions(table, cells, list(zip(measures, values, strict=True)))
    attrs = {
        "notes": notes,
        "protocol": protocol,
        "factors": list(cells.factors),
        "cells": {name: list(cells.levels_of(name)) for name in cells.place},
        "effects": EFFECTS,
        "intervals": INTERVALS,
        "family": FAMILY,
        "options": [*selection_words(samples, backbones=False), *eval_words(options)],
        **options.shared.as_dict(),
    }
    identity = [
        "all effects are one family",
        samples.identity(),
        options.shared.as_dict(),
        options.masked,
        list(cells.factors),
        attrs["cells"],
    ]
    return keep_table(samples, table_result(NAME, table.rows, attrs), identity)


def _of(scores: Scores, measure: Measure) -> NDArray[np.float64]:
    return scores.correct.astype(np.float64) if measure.name == TOP1 else scores.probability


def _line(row: Row) -> str | None:
    return row.factor if row.metric == effect_of(TOP1) and row.kind == DIFFERENCE else None


PANEL = IntervalPanel(
    title="effects on top-1 accuracy with 95 % intervals",
    axis="above the mean of all cells, points",
    line=_line,
    reference=(0.0, "no effect"),
    percent=True,
)

ENTRY = Entry(
    name=NAME,
    title="Two factors apart",
    about="Backbones that cross two factors, such as architecture and training objective, every combination once and "
    "on the same images: how much of the spread between their accuracies is of the one, of the other, and of both "
    "together. An effect of a level is what its backbones have above the mean of all; a sum of squared effects says "
    "how much of the spread a part has.",
    rows=table_rows,
    run=factorial,
    command=lambda result: again(result, NAME),
    figure=interval_figure(PANEL),
    chart=interval_chart(PANEL),
    headline=of_metrics(spread_of(TOP1), effect_of(TOP1)),
)
