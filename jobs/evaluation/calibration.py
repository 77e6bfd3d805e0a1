"""`cvbench eval calibration`: ECE, reliability, NLL, Brier, before and after a temperature fitted on held-out rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.engine.metrics.calibration import (
    Calibration,
    CalibrationError,
    Temperature,
    calibration,
    fit_temperature,
)
from cvbench.engine.metrics.scores import Scores, join_scores, score_block
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.intervals import outer_difference
from cvbench.engine.statistics.verdict import judge
from cvbench.errors import UsageError
from cvbench.jobs.evaluation.compare import FAMILY, state
from cvbench.jobs.evaluation.labels import LabelSpace
from cvbench.jobs.evaluation.options import CalibrationOptions, eval_words
from cvbench.jobs.evaluation.samples import VIEW, Samples, open_samples
from cvbench.jobs.evaluation.shared import (
    Evaluated,
    check_chance,
    keep_table,
    refuse_kind,
    score_samples,
    selection_words,
    space_of,
)
from cvbench.jobs.figures.charts.evaluations import reliability_chart
from cvbench.jobs.figures.evaluation_reliability import reliability_figure
from cvbench.jobs.reading.reading import open_store
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import DIFFERENCE
from cvbench.jobs.results.table import Table, again, of_metrics, table_result, table_rows
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Started, silent

NAME = "calibration"
ECE, OVER, NLL, BRIER, TOP1 = "ECE", "confidence less accuracy", "NLL", "Brier", "top1"
DEBIASED, TEST = "ECE, debiased", "calibration test p"
PLAIN_ECE = (
    "the plain {} is too large by what chance adds in each bin, and has no interval; '{}' has: the median-unbiased "
    "estimate of the same error of the population, by test inversion; '{}' is how often a calibrated model would have "
    "a plain one as large (consistency resampling)"
)
TEMPERATURE, BIN_ACCURACY, BIN_CONFIDENCE = "temperature", "bin accuracy", "bin confidence"
WHOLE, BEFORE, AFTER = "", "held-out half, T = 1", "held-out half, T fitted"


def calibrate(
    selections: Sequence[Selection], options: CalibrationOptions, listen: Listener = silent
) -> list[Evaluated]:
    """Calibration of the selected backbones on each data set; every result is kept in the store.

    The temperature is fitted on the samples at even places of the store, whose order is a random permutation, and
    judged on those at odd places, with and without it.

    Memory: one block of logits, 48 bytes per sample and backbone, and the data sets drawn for an interval.

    Raises:
        UsageError: Imported predictions without probabilities; fewer than two samples.
        EvaluationSuspectError, IncompleteError: As in `accuracy`.
    """
    store = open_store(selections[0].store)
    found = [open_samples(store, selection, options.shared) for selection in selections]
    return [_one(samples, options, listen) for samples in found]


def _one(samples: Samples, options: CalibrationOptions, listen: Listener) -> Evaluated:
    if len(samples.rows) < 2:
        raise UsageError("a temperature needs two samples at least", where=samples.where)
    layers = samples.selected.layers
    table = Table(samples.info.dataset, samples.info.split, samples.failed)
    notes, protocol = list(samples.notes), {}
    errors: dict[str, dict[str, Estimate]] = {}
    listen(Started("eval calibration", samples.where, len(samples.rows) * len(layers), len(layers), 0))
    for number, layer in enumerate(layers):
        if samples.kind(layer) == "class":
            refuse_kind(samples, layer, "calibration")
        space = space_of(samples, layer, masked=options.masked)
        scores = score_samples(samples, layer, space)
        note = check_chance(samples, layer, space, scores, options.shared)
        notes += [note] if note else []
        found, said = _backbone_rows(table, samples, layer, space, scores, options)
        errors[layer.backbone] = {factor: one.ece.debiased for factor, one in found.items()}
        notes += said
        protocol[layer.backbone] = space.protocol
        listen(Advanced("eval calibration", number, len(samples.rows)))
    listen(Ended("eval calibration"))
    attrs = {
        "notes": notes,
        "verdicts": _compare(errors, table, options.intervals.confidence),
        "family": FAMILY.format("all pairs of backbones, with and without a temperature"),
        "protocol": protocol,
        "binning": f"{options.bins} bins of equal width on [0, 1], lower < confidence <= upper; top-1 confidence",
        "temperature": "least NLL on the samples at even places of the store's random order; judged on those at odd",
        "softmax": "float32, summed in float64",
        "intervals": "accuracies: Wilson score, 95 %; Brier and confidence less accuracy: score intervals at their "
        "effective size; NLL: Student's t after Hall's transformation; the temperature: normal, of log T, by the "
        "sandwich standard error over samples (delta method); differences of debiased errors: from the ends of "
        "both that lie farthest apart (Schenker & Gentleman 2001); " + PLAIN_ECE.format(ECE, DEBIASED, TEST),
        "options": [*selection_words(samples), *eval_words(options)],
        **options.shared.as_dict(),
        **asdict(options.intervals),
    }
    parameters = [options.bins, options.masked, options.shared.as_dict(), asdict(options.intervals)]
    identity = ["with differences", samples.identity(), *parameters]
    return keep_table(samples, table_result(NAME, table.rows, attrs), identity)


def _backbone_rows(
    table: Table, samples: Samples, layer: Layer, space: LabelSpace, scores: Scores, options: CalibrationOptions
) -> tuple[dict[str, Calibration], list[str]]:
    """Add the rows of a backbone; what was found by the part of the samples, and what must be said of it."""
    intervals, name = options.intervals, layer.backbone
    full = samples.kind(layer) == VIEW
    overall = calibration(scores, intervals, options.bins)
    found = {WHOLE: overall}
    _numbers(table, name, WHOLE, overall, full)
    for one in overall.bins:
        factor = f"({one.lower:.4g}, {one.upper:.4g}]"
        table.add(name, BIN_ACCURACY, factor, one.accuracy)
        table.add(name, BIN_CONFIDENCE, factor, Estimate(one.confidence, n=one.n))
    if not full:
        said = f"{name}: only the winner's probability was imported; NLL, Brier and the temperature are not defined"
        return found, [said]
    if (space.targets[samples.labels] < 0).any():
        said = f"{name}: a class without an output has no likelihood; NLL, Brier and the temperature are not defined"
        return found, [said]
    fitted = samples.take(samples.rows % 2 == 0)
    judged = samples.take(samples.rows % 2 == 1)
    if not len(fitted.rows) or not len(judged.rows):
        return found, [f"{name}: too few samples for a held-out half"]
    temperature = fit_temperature(lambda: _blocks(fitted, layer, space))
    table.add(name, TEMPERATURE, "", temperature.estimate(intervals.confidence))
    cooled = _scaled(judged, layer, space, temperature)
    for factor, half in ((BEFORE, scores[samples.rows % 2 == 1]), (AFTER, cooled)):
        found[factor] = calibration(half, intervals, options.bins)
        _numbers(table, name, factor, found[factor], full)
    if not temperature.bounded:
        return found, []
    end = f"{temperature.value:.3g} is the end of the range searched"
    return found, [f"{name}: no temperature has the least NLL; {end}"]


def _compare(errors: Mapping[str, Mapping[str, Estimate]], table: Table, confidence: float) -> list[str]:
    """Add the differences of debiased errors, of all samples and once a temperature is fitted; a sentence for each."""
    pairs = [
        (a, b, factor)
        for a, b in itertools.combinations(errors, 2)
        for factor in (WHOLE, AFTER)
        if factor in errors[a] and factor in errors[b]
    ]
    found = [outer_difference(errors[a][factor], errors[b][factor], confidence) for a, b, factor in pairs]
    sentences = []
    for (a, b, factor), judged in zip(pairs, judge(found, confidence=confidence), strict=True):
        table.difference((a, b), DEBIASED, factor, judged)
        what = ", ".join(part for part in (table.dataset, DEBIASED, factor) if part)
        sentences.append(state(what, (a, b), judged))
    return sentences


def _numbers(table: Table, backbone: str, factor: str, found: Calibration, full: bool) -> None:
    table.add(backbone, TOP1, factor, found.accuracy)
    add_calibration_error(table, backbone, factor, found.ece, (ECE, DEBIASED, TEST))
    table.add(backbone, OVER, factor, found.overconfidence, kind=DIFFERENCE)
    if full:
        table.add(backbone, NLL, factor, found.nll)
        table.add(backbone, BRIER, factor, found.brier)


def add_calibration_error(
    table: Table, backbone: str, factor: str, found: CalibrationError, metrics: tuple[str, str, str]
) -> None:
    """The rows of a calibration error: plain, debiased with its interval, and the p value of the test."""
    table.add(backbone, metrics[0], factor, found.plain)
    table.add(backbone, metrics[1], factor, found.debiased)
    table.test(backbone, metrics[2], factor, found.p, found.plain.n)


def _blocks(samples: Samples, layer: Layer, space: LabelSpace) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
    targets = space.targets[samples.labels]
    for rows, values in samples.blocks(layer):
        yield values if space.columns is None else values[:, space.columns], targets[rows]


def _scaled(samples: Samples, layer: Layer, space: LabelSpace, temperature: Temperature) -> Scores:
    by = np.float32(temperature.value)
    return join_scores([score_block(z / by, targets) for z, targets in _blocks(samples, layer, space)])


ENTRY = Entry(
    name=NAME,
    title="Calibration",
    about="Whether a confidence of 0.8 is right in 8 of 10 cases. The expected calibration error (ECE) is the mean gap "
    "between confidence and accuracy over 15 bins of equal width, weighted by their samples; 0 is perfect, and a "
    "calibrated model of few samples never reaches it: chance adds to the gap of every bin. The debiased ECE leaves "
    "that out and has the interval; the test says whether a calibrated model could have the plain value. One "
    "temperature is fitted on half of the samples by the least negative log-likelihood and judged on the other half "
    "(Guo et al. 2017). NLL is in nats; Brier is the sum over classes.",
    question=Question(DEBIASED, "{less} is better calibrated than {more}", factor=""),
    unit="images",
    rows=table_rows,
    run=calibrate,
    command=lambda result: again(result, NAME, draws=True),
    figure=reliability_figure,
    chart=reliability_chart,
    headline=of_metrics(ECE, DEBIASED, TEST, OVER, NLL, BRIER, TEMPERATURE),
)
