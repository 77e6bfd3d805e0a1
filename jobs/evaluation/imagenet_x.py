"""`cvbench eval imagenet-x`: error ratios of the sixteen factors that ImageNet-X annotates."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.engine.metrics.accuracy import worst_classes
from cvbench.engine.metrics.calibration import calibration_error
from cvbench.engine.metrics.imagenet_x import compare_factors, factor_errors, metaclass_correct
from cvbench.engine.metrics.scores import Scores
from cvbench.engine.statistics.estimate import Estimate
from cvbench.errors import DataUnavailableError, IncompleteError, UsageError
from cvbench.hints import command
from cvbench.jobs.evaluation.calibration import PLAIN_ECE, add_calibration_error
from cvbench.jobs.evaluation.compare import FAMILY, judge_factors
from cvbench.jobs.evaluation.labels import answer_columns, answers, label_space
from cvbench.jobs.evaluation.options import ImageNetXOptions, eval_words
from cvbench.jobs.evaluation.samples import Samples, open_samples
from cvbench.jobs.evaluation.shared import (
    Evaluated,
    check_chance,
    content_digest,
    keep_table,
    score_samples,
    selection_words,
)
from cvbench.jobs.figures.charts.intervals import interval_chart
from cvbench.jobs.figures.evaluation_intervals import IntervalPanel, interval_figure
from cvbench.jobs.reading.reading import open_store
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import VALUE, Row
from cvbench.jobs.results.table import Table, again, of_metrics, table_result, table_rows
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.storage.predictions import write_predictions

if TYPE_CHECKING:
    from cvbench.storage.annotations import ImageNetX

NAME = "imagenet-x"
DATASET = "imagenet-val"
RATIO, ACCURACY, OVERALL, AVERAGE = "error ratio", "factor accuracy", "accuracy overall", "mean error ratio"
CALIBRATION, DEBIASED, TEST = "calibration error", "calibration error, debiased", "calibration test p"
WORST_FACTOR, WORST_CLASSES = "worst factor accuracy", "accuracy of the 100 worst classes"
INTERVALS = (
    "error ratios: percentile bootstrap over images, numerator and denominator together (Wilson's of the factor's "
    "errors where all of its images are right, or all wrong); their differences: delta method over images, paired, "
    "with two pseudo-images (Bonett & Price), Student's t; accuracies: Wilson score, 95 %, their differences Tango's "
    "paired score with exact McNemar p; "
    + FAMILY.format("the factors and pairs of backbones")
    + "; calibration errors (15 bins): "
    + PLAIN_ECE.format(CALIBRATION, DEBIASED, TEST)
    + f"; the {WORST_FACTOR} and {WORST_CLASSES}: none, they were chosen on the same images"
)


def imagenet_x(selection: Selection, options: ImageNetXOptions, listen: Listener = silent) -> Evaluated:
    """Error ratios of every backbone, kept in the store under the validation set.

    Raises:
        DataUnavailableError: No annotations there.
        UsageError: The data set's images are not those that are annotated.
        IncompleteError: Some annotated images have no logits, and `partial` is not set.
        EvaluationSuspectError: An accuracy is near chance.
    """
    annotated = _from_files(options)  # first: the mistake that is cheapest to find
    store = open_store(selection.store)
    samples = open_samples(store, replace(selection, dataset=selection.dataset or DATASET), options.shared)
    annotated = annotated or _of_samples(samples, options)
    joined = _join(samples, annotated, options)
    table = Table(samples.info.dataset, samples.info.split, len(annotated.names) - int(joined.annotated.sum()))
    notes, correct = [*samples.notes, *joined.notes], {}
    layers = samples.selected.layers
    listen(Started("eval imagenet-x", samples.where, len(samples.rows) * len(layers), len(layers), 0))
    for number, layer in enumerate(layers):
        scores, seen, own = _see(samples, layer, options)
        notes += own
        correct[layer.backbone] = _correct(seen, joined)
        _add(table, layer.backbone, seen, correct[layer.backbone], joined, options)
        if options.export is not None:
            path = Path(options.export) / f"{layer.backbone}.csv"
            write_predictions(path, samples.ids, seen.predicted, scores.confidence)
            listen(Note(f"predictions: {path}"))
        listen(Advanced("eval imagenet-x", number, len(samples.rows)))
    listen(Ended("eval imagenet-x"))
    attrs = {
        "notes": notes,
        "verdicts": _by_factor(correct, joined, table, options),
        "factors": options.which,
        "overall": options.overall,
        "error": options.error,
        "annotated": int(joined.annotated.sum()),
        "prototypes_left_out": annotated.prototypes,
        "intervals": INTERVALS,
        "options": [*selection_words(samples), *eval_words(options, "export")],
        **options.shared.as_dict(),
        **asdict(options.intervals),
    }
    read = content_digest(joined.annotated, joined.flags, joined.accepted, joined.metaclasses, joined.counts)
    identity = [samples.identity(), options.overall, options.error, read, options.shared.as_dict()]
    identity.append(asdict(options.intervals))
    return keep_table(samples, table_result(NAME, table.rows, attrs), identity)


@dataclass(frozen=True, eq=False)
class _Seen:
    """(n,) int64 ImageNet indices, of the true class and of the predicted one; its probability, None if not known."""

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64] | None


def _see(samples: Samples, layer: Layer, options: ImageNetXOptions) -> tuple[Scores, _Seen, list[str]]:
    """The scores of a backbone, what it sees, and what must be said of it."""
    columns = answer_columns(samples.info.classes)
    # Annotated classes are ImageNet indices: argmax over all 1000, whatever class folders there are.
    every = label_space(answers(samples.info.classes), samples.outputs(layer), f"{samples.where}: {layer.backbone}")
    space = replace(every, targets=every.targets[columns])
    scores = score_samples(samples, layer, space)
    note = check_chance(samples, layer, space, scores, options.shared)
    notes = [note] if note else []
    sure = scores.confidence if samples.kind(layer) != "class" else None
    if sure is None:
        notes.append(f"{layer.backbone}: only the class was imported; the calibration error is not defined")
    return scores, _Seen(columns[samples.labels], every.labels(scores.predicted), sure), notes


@dataclass(frozen=True, eq=False)
class _Joined:
    """Annotations in the order of the samples.

    Attributes:
        annotated: (n,) bool.
        flags: (n, 16) bool, all False where not annotated.
        accepted: For "real_class": the labels accepted of each sample.
        counts: (n,) bool, False for samples that are left out.
        metaclasses: For "metaclass": of each of 1000 classes.
        notes: What a reader must know.
    """

    annotated: NDArray[np.bool_]
    flags: NDArray[np.bool_]
    accepted: list[tuple[int, ...]] | None
    counts: NDArray[np.bool_]
    metaclasses: tuple[str, ...] | None
    notes: tuple[str, ...]


def _from_files(options: ImageNetXOptions) -> ImageNetX | None:
    """Annotations of the files that are named; None if none are."""
    from cvbench.storage.annotations import load_imagenet_x

    if options.annotations is None:
        return None
    return load_imagenet_x(Path(options.annotations), which=options.which, keep_prototypes=options.keep_prototypes)


def _of_samples(samples: Samples, options: ImageNetXOptions) -> ImageNetX:
    """Annotations that stand in the sample table."""
    from cvbench.storage.annotations import flags_in_table

    info = samples.info
    found = flags_in_table([str(name) for name in info.ids], info.labels, info.factors, options.which)
    if found is None or options.error != "class":
        what = "the sample table has no columns x_<factor>" if found is None else f"it has no labels of {options.error}"
        raise UsageError(
            "the files of ImageNet-X's annotations are needed", where=samples.where, why=what, fix="--annotations DIR"
        )
    return found


def _join(samples: Samples, annotations: ImageNetX, options: ImageNetXOptions) -> _Joined:
    from cvbench.storage.annotations import image_stem, load_metaclasses, load_real

    stems = [image_stem(name) for name in samples.ids]
    place = {stem: row for row, stem in enumerate(annotations.stems)}
    at = np.array([place.get(stem, -1) for stem in stems], dtype=np.int64)
    there = at >= 0
    if not there.any():
        raise UsageError(
            f"none of the images of {samples.where} is annotated by ImageNet-X",
            where=options.annotations,
            why=f"samples are called {stems[0]!r}, annotated images {annotations.stems[0]!r}",
            fix=f"--dataset {DATASET}",
        )
    missing = len(annotations.stems) - int(there.sum())
    if missing > samples.failed and not options.shared.partial:
        raise IncompleteError(
            f"{missing:,} of the {len(annotations.stems):,} annotated images have no logits",
            where=samples.where,
            fix="extract the whole validation set, or --partial",
        )
    notes = [f"{missing:,} annotated images have no logits; they do not count"] if missing else []
    labels = answer_columns(samples.info.classes)[samples.labels]
    other = int((labels[there] != annotations.labels[at[there]]).sum())
    if other:
        raise UsageError(
            f"{other:,} images have another class in {samples.where} than in ImageNet-X",
            where=options.annotations,
            why="the class folders are not those of ImageNet's validation set",
            fix=command("datasets verify", "imagenet-val"),
        )
    flags = np.where(there[:, None], annotations.factors[at], False)
    accepted, counts = None, np.ones(len(stems), dtype=bool)
    if options.error == "real_class":
        listed = load_real(Path(options.real or options.annotations or ""))
        absent = next((stem for stem in stems if stem not in listed), None)
        if absent is not None:
            raise DataUnavailableError(f"the ReaL labels lack {absent}", where=options.real or options.annotations)
        accepted = [tuple(listed[stem]) for stem in stems]
        labelled = np.array([bool(labels) for labels in accepted])
        counts = labelled if options.unlabelled == "leave-out" else counts
        without = int((there & ~labelled).sum())
        done = "are left out" if options.unlabelled == "leave-out" else "count as wrong"
        notes += [f"{without:,} of {int(there.sum()):,} annotated images have no ReaL label and {done}"]
    metaclasses = load_metaclasses(Path(options.annotations or "")) if options.error == "metaclass" else None
    return _Joined(there, flags, accepted, counts, metaclasses, tuple(notes))


def _add(
    table: Table,
    backbone: str,
    seen: _Seen,
    correct: NDArray[np.bool_],
    joined: _Joined,
    options: ImageNetXOptions,
) -> None:
    from cvbench.storage.annotations import IMAGENET_X_FACTORS

    intervals, counts = options.intervals, joined.counts
    found = factor_errors(correct, joined.flags & counts[:, None], intervals, _counted(joined, options))
    for name, ratio, accuracy in zip(IMAGENET_X_FACTORS, found.ratio, found.accuracy, strict=True):
        table.add(backbone, RATIO, name, ratio)
        table.add(backbone, ACCURACY, name, accuracy)
    table.add(backbone, AVERAGE, "", found.mean_ratio)
    table.add(backbone, OVERALL, "", found.overall)
    if found.worst is not None:
        worst = found.accuracy[found.worst]
        table.add(backbone, WORST_FACTOR, IMAGENET_X_FACTORS[found.worst], Estimate(worst.value, n=worst.n))
    inside = joined.annotated & counts
    if seen.confidence is not None:
        for name, has in (("", inside), *zip(IMAGENET_X_FACTORS, (joined.flags & inside[:, None]).T, strict=True)):
            error = calibration_error(seen.confidence[has], correct[has], intervals)
            add_calibration_error(table, backbone, name, error, (CALIBRATION, DEBIASED, TEST))
    table.add(backbone, WORST_CLASSES, "", worst_classes(correct[inside], seen.labels[inside], 100))


def _counted(joined: _Joined, options: ImageNetXOptions) -> NDArray[np.bool_]:
    """(n,) bool, the images that "overall" is over."""
    return joined.counts & (joined.annotated if options.overall == "annotated" else True)


def _correct(seen: _Seen, joined: _Joined) -> NDArray[np.bool_]:
    """(n,) bool: the sample is right."""
    if joined.accepted is not None:
        hit = [label in accepted for label, accepted in zip(seen.predicted.tolist(), joined.accepted, strict=True)]
        return np.array(hit)
    if joined.metaclasses is not None:
        return metaclass_correct(seen.predicted, seen.labels, joined.metaclasses)
    right: NDArray[np.bool_] = seen.predicted == seen.labels
    return right


def _by_factor(
    correct: Mapping[str, NDArray[np.bool_]], joined: _Joined, table: Table, options: ImageNetXOptions
) -> list[str]:
    """Every pair of backbones, factor by factor, on the same images: by error ratio, and by accuracy."""
    from cvbench.storage.annotations import IMAGENET_X_FACTORS

    ratios: dict[tuple[str, str], dict[str, Estimate]] = {}
    accuracies: dict[tuple[str, str], dict[str, Estimate]] = {}
    flags, counted = joined.flags & joined.counts[:, None], _counted(joined, options)
    for a, b in itertools.combinations(correct, 2):
        found = compare_factors(correct[a], correct[b], flags, counted)
        ratios[a, b] = dict(zip(IMAGENET_X_FACTORS, found.ratio, strict=True))
        accuracies[a, b] = {name: one.difference for name, one in zip(IMAGENET_X_FACTORS, found.accuracy, strict=True)}
    return judge_factors(ratios, table, RATIO) + judge_factors(accuracies, table, ACCURACY)


def _line(row: Row) -> str | None:
    if row.metric == AVERAGE:
        return "mean of the ratios"
    return f"{row.factor.replace('_', ' ')} ({row.n:,})" if row.metric == RATIO and row.kind == VALUE else None


PANEL = IntervalPanel(
    title="error ratio of each factor, 95 % intervals over images",
    axis="error ratio: errors with the factor / errors overall",
    line=_line,
    reference=(1.0, "as overall"),
    difference=RATIO,
)

ENTRY = Entry(
    name=NAME,
    title="Error factors (ImageNet-X)",
    about="How much more often a backbone errs on validation images in which annotators saw a factor (Idrissi et al. "
    "2022): (1 - accuracy with the factor) / (1 - accuracy overall). Above 1, images with the factor are harder. They "
    "are unmodified photographs, not perturbed ones. Several factors have fewer than 130 images, so read the intervals "
    "(bootstrap over images) and not the ratios alone. Backbones are compared factor by "
    "factor on the same images; p values are adjusted for the number of factors (Holm). Overall is over all annotated "
    "images, or with --overall full_val over the whole validation set, the study's wording. The calibration error "
    "(ECE, 15 bins) of each factor is among the rows.",
    question=Question(
        RATIO, "With {where} {more} errs more often than {less}, each against its own average", widest=True
    ),
    unit="images",
    rows=table_rows,
    run=lambda selection, options, listen: [imagenet_x(selection, options, listen)],
    command=lambda result: again(result, NAME, draws=True),
    figure=interval_figure(PANEL),
    chart=interval_chart(PANEL),
    headline=of_metrics(RATIO, AVERAGE, OVERALL),
    unsaid=("export",),
)
