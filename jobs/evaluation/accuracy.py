"""`cvbench eval accuracy`: top-1, top-5, mean per class, ReaL, and every pair of backbones on the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cvbench.engine.analyses.base import Result
from cvbench.engine.metrics.accuracy import mean_per_class, multi_label, per_class, top_k
from cvbench.engine.metrics.scores import Scores
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.intervals import wilson
from cvbench.errors import UsageError
from cvbench.jobs.evaluation.compare import FAMILY, MEAN, TOP1, compare_class_means, compare_pairs
from cvbench.jobs.evaluation.labels import LabelSpace, are_wnids
from cvbench.jobs.evaluation.options import HEADLINES, AccuracyOptions, eval_words
from cvbench.jobs.evaluation.samples import VIEW, Samples, open_samples
from cvbench.jobs.evaluation.shared import (
    Evaluated,
    check_chance,
    content_digest,
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
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import VALUE, Row
from cvbench.jobs.results.table import Table, again, of_metrics, table_result, table_rows
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Started, silent

NAME = "accuracy"
TOP5, REAL = "top5", "ReaL top1"
MEASURES = (TOP1, TOP5, MEAN, REAL)
METRICS = dict(zip(HEADLINES, (TOP1, MEAN), strict=True))
"""Option -> metric. The latter is common for flowers102, pets and caltech101, whose classes differ in size."""


def accuracy(selections: Sequence[Selection], options: AccuracyOptions, listen: Listener = silent) -> list[Evaluated]:
    """Accuracy of the selected backbones on each data set; every result is kept in the store.

    Memory: one block of logits, and 48 bytes per sample and backbone.

    Raises:
        UsageError: The classifier has other classes than the data set.
        EvaluationSuspectError: An accuracy is near chance.
        IncompleteError: A part of the data set only.
    """
    store = open_store(selections[0].store)
    found = [open_samples(store, selection, options.shared) for selection in selections]  # all, before any is scored
    return [_one(samples, options, listen) for samples in found]


def _one(samples: Samples, options: AccuracyOptions, listen: Listener) -> Evaluated:
    layers = samples.selected.layers
    table = Table(samples.info.dataset, samples.info.split, samples.failed)
    notes, protocol, correct = list(samples.notes), {}, {}
    real = _real(samples, options)
    if real is not None and not all(real):
        without = sum(not accepted for accepted in real)
        notes.append(f"{without:,} of {len(real):,} images have no ReaL label and are left out of {REAL}")
    listen(Started("eval accuracy", samples.where, len(samples.rows) * len(layers), len(layers), 0))
    for number, layer in enumerate(layers):
        space = space_of(samples, layer, masked=options.masked)
        scores = score_samples(samples, layer, space)
        note = check_chance(samples, layer, space, scores, options.shared)
        notes += [note] if note else []
        has_logits = samples.kind(layer) == VIEW
        if not has_logits:
            notes.append(f"{layer.backbone}: imported predictions ({samples.kind(layer)}); top5 is not defined")
        _add(table, layer.backbone, samples, scores, space, options, has_logits)
        if real is not None:
            table.add(layer.backbone, REAL, "", _real_top1(samples, scores, space, real))
        protocol[layer.backbone], correct[layer.backbone] = space.protocol, scores.correct
        listen(Advanced("eval accuracy", number, len(samples.rows)))
    listen(Ended("eval accuracy"))
    table.chance(TOP1, 1 / space.width)
    verdicts = compare_pairs(correct, table)
    if options.headline != "top1":
        verdicts = compare_class_means(correct, samples.labels, table)
    attrs = {
        "notes": notes,
        "headline": METRICS[options.headline],
        "verdicts": verdicts,
        "protocol": protocol,
        "ties": "equal logits: the lower class index first",
        "intervals": "accuracies: Wilson score, 95 %, over samples; differences: Tango's paired score; mean per class "
        "and its differences: the same at the effective size of a stratified mean; "
        + FAMILY.format("the pairs of backbones"),
        "options": [*selection_words(samples), *eval_words(options)],
        **options.shared.as_dict(),
    }
    identity = [samples.identity(), options.shared.as_dict(), options.per_class, options.masked, content_digest(real)]
    identity += [options.headline] if options.headline != "top1" else []
    return keep_table(samples, table_result(NAME, table.rows, attrs), identity)


def _add(
    table: Table,
    backbone: str,
    samples: Samples,
    scores: Scores,
    space: LabelSpace,
    options: AccuracyOptions,
    has_logits: bool,
) -> None:
    labels = samples.labels
    table.add(backbone, TOP1, "", wilson(int(scores.correct.sum()), len(scores)))
    table.add(backbone, TOP5, "", top_k(scores, 5, space.width) if has_logits else Estimate())
    table.add(backbone, MEAN, "", mean_per_class(scores.correct, labels))
    if options.per_class:
        for name, estimate in zip(
            samples.info.classes, per_class(scores.correct, labels, len(samples.info.classes)), strict=True
        ):
            table.add(backbone, TOP1, name, estimate)


def _real(samples: Samples, options: AccuracyOptions) -> list[tuple[int, ...]] | None:
    """The accepted labels of each sample, or None if they are not asked for."""
    if options.real is None:
        return None
    from cvbench.storage.annotations import image_stem, load_real

    accepted = load_real(Path(options.real))
    stems = [image_stem(name) for name in samples.ids]
    if not are_wnids(samples.info.classes) or not all(stem in accepted for stem in stems):
        raise UsageError(
            f"ReaL labels are of ImageNet's validation images, not of {samples.where}",
            where="--real",
            why=f"its samples are called {samples.ids[0]!r} and so on",
            fix="--dataset imagenet-val",
        )
    return [tuple(accepted[stem]) for stem in stems]


def _real_top1(samples: Samples, scores: Scores, space: LabelSpace, accepted: Sequence[tuple[int, ...]]) -> Estimate:
    from cvbench.storage.datasets.readers.imagenet_classes import imagenet_columns

    labels = space.labels(scores.predicted)
    index = np.append(imagenet_columns(samples.info.classes), -1)[labels]  # -1: none of the data set's classes
    return multi_label(index, accepted)


def _headline(result: Result, rows: Sequence[Row]) -> list[Row]:
    """The main rows, those of the headline's metric first."""
    first = result.attrs.get("headline", TOP1)
    return sorted(of_metrics(*MEASURES)(result, rows), key=lambda row: row.metric != first)


def _line(row: Row) -> str | None:
    return row.metric if row.metric in MEASURES and row.kind == VALUE and not row.factor else None


PANEL = IntervalPanel(
    title="accuracy with 95 % intervals",
    axis="accuracy",
    line=_line,
    percent=True,
)

ENTRY = Entry(
    name=NAME,
    title="Accuracy",
    about="Share of the images whose class gets the largest logit (top1), or one of the five largest (top5), and the "
    "mean over classes of their accuracy. Intervals are Wilson's, and Tango's for differences on the same images; for "
    "means over classes both are taken at the effective number of images. Two backbones are compared on the same "
    "images by McNemar's test: one is said to be above the other only if the p value, adjusted for the number of "
    "pairs, is below 0.05, the interval of the difference leaves out 0, and there are 30 images.",
    question=Question("*", "{more} is right more often than {less}", percent=True),
    unit="images",
    rows=table_rows,
    run=accuracy,
    command=lambda result: again(result, NAME),
    figure=interval_figure(PANEL),
    chart=interval_chart(PANEL),
    headline=_headline,
)
