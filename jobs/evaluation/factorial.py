"""`cvbench eval factorial`: backbones that cross two factors, and what of their accuracy is of which factor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.metrics.scores import Scores
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.factorial import TwoWay, two_way
from cvbench.engine.statistics.measure import Measure, indicator, share
from cvbench.engine.statistics.verdict import FAMILY, judge
from cvbench.jobs.evaluation.cells import Cells, crossed
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
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.row import DIFFERENCE, Row
from cvbench.jobs.results.table import Table, again, of_metrics, table_result, table_rows
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Started, silent

F64 = NDArray[np.float64]
NAME = "factorial"
PROBABILITY = "probability of the true class"
MEASURES: tuple[Measure, ...] = (
    indicator(TOP1, "the true class has the largest logit"),
    share(PROBABILITY, "softmax probability of the true class"),
)


def effect_of(measure: str) -> str:
    """The metric of an effect on a measure."""
    return f"effect on {measure}"


def spread_of(measure: str) -> str:
    """The metric of a part's share of the spread between cells."""
    return f"sum of squared effects on {measure}"


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
    return [_one(samples, cells, options, listen) for samples in found]


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
    for measure, measured in zip(measures, values, strict=True):
        add_decomposition(table, cells, measure, measured)
    attrs = {
        "notes": notes,
        "protocol": protocol,
        "factors": list(cells.factors),
        "cells": {name: list(cells.levels_of(name)) for name in cells.place},
        "effects": "of a level: the mean of its cells less that of all cells, every cell weighing the same; together: "
        "what the two do not add up to (Scheffe 1959, ch. 4). Of two levels one is shown, the other is its negative",
        "intervals": "effects: of paired means over images; sums of squared effects: U-statistic over pairs of images, "
        "below 0 where there is only noise, with the interval of the length of the vector of effects, 95 % or more. "
        "They are of these backbones: what another training of a cell would give they do not say",
        "family": FAMILY,
        "options": [*selection_words(samples, backbones=False), *eval_words(options)],
        **options.shared.as_dict(),
    }
    identity = [
        "squares by their length",
        samples.identity(),
        options.shared.as_dict(),
        options.masked,
        list(cells.factors),
        attrs["cells"],
    ]
    return keep_table(samples, table_result(NAME, table.rows, attrs), identity)


def _of(scores: Scores, measure: Measure) -> F64:
    return scores.correct.astype(np.float64) if measure.name == TOP1 else scores.probability


def add_decomposition(table: Table, cells: Cells, measure: Measure, values: F64) -> None:
    """Add the rows of one measure: parts of the spread between cells, then effects, judged together.

    Args:
        table: To add to.
        cells: Names of levels.
        measure: What the values are.
        values: (n, a, b) float64.
    """
    found = two_way(values, measure)
    for part in _parts(found, cells):
        table.add("", spread_of(measure.name), part.name, part.squares)
    effects = list(_effects(found, cells))
    judged = judge([estimate for _, estimate in effects])
    for (name, _), one in zip(effects, judged, strict=True):
        table.difference(("", ""), effect_of(measure.name), name, one)


@dataclass(frozen=True)
class _Part:
    name: str
    squares: Estimate


def _parts(found: TwoWay, cells: Cells) -> list[_Part]:
    first, second = cells.factors
    return [
        _Part(first, found.first_spread.squares),
        _Part(second, found.second_spread.squares),
        _Part(f"{first} and {second} together", found.together_spread.squares),
    ]


def _effects(found: TwoWay, cells: Cells) -> list[tuple[str, Estimate]]:
    """(name, effect) of every level; of a factor of two levels one, since the other is its negative."""
    (a, b), (first, second) = cells.levels, cells.factors
    shown_a, shown_b = (levels[:1] if len(levels) == 2 else levels for levels in (a, b))
    effects = [(f"{first}: {level}", found.first[i]) for i, level in enumerate(shown_a)]
    effects += [(f"{second}: {level}", found.second[j]) for j, level in enumerate(shown_b)]
    for i, row in enumerate(shown_a):
        effects += [(f"together: {row}, {column}", found.together[i][j]) for j, column in enumerate(shown_b)]
    return effects


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
