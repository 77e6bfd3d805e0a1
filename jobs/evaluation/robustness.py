"""`cvbench eval robustness`: accuracy on shifted data sets, beside the clean one under the same scoring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.metrics.accuracy import top_k
from cvbench.engine.metrics.scores import Scores
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.intervals import difference, mean_of_proportions, wilson
from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.evaluation.compare import FAMILY, TOP1, Pair, add_pair, judge_pairs, pairs_of
from cvbench.jobs.evaluation.labels import label_space
from cvbench.jobs.evaluation.lacking import extract_other
from cvbench.jobs.evaluation.options import ROBUSTNESS, EvalOptions, RobustnessRequest
from cvbench.jobs.evaluation.samples import VIEW, Samples, open_samples
from cvbench.jobs.evaluation.shared import Evaluated, check_chance, keep_table, refuse_kind, score_samples, space_of
from cvbench.jobs.figures.charts.intervals import interval_chart
from cvbench.jobs.figures.evaluation_intervals import IntervalPanel, interval_figure
from cvbench.jobs.reading.options import DEFAULT_STORE
from cvbench.jobs.reading.reading import open_store
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.results.command import command_words
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import DIFFERENCE, VALUE, Row
from cvbench.jobs.results.table import Table, again, of_metrics, table_result, table_rows
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.storage.datasets import dataset_info, key_of_spec, registered, spec_of_key
from cvbench.storage.features import FeatureStore

NAME = "robustness"
CLEAN = "imagenet-val"
SETS = (
    "imagenetv2-matched-frequency",
    "imagenetv2-threshold-0.7",
    "imagenetv2-top-images",
    "imagenet-a",
    "imagenet-r",
    "imagenet-sketch",
)
TOP5, COUNTERPART, DROP, MEAN = "top5", "clean top1", "top1 less clean", "mean top1 over sets"

SCENES, SCENES_SETS = "scenes", ("scenes-v2", "scenes-a", "scenes-r", "scenes-sketch")
_FAMILIES = {CLEAN: SETS, SCENES: SCENES_SETS}
"""Clean set -> those that shift it."""

_V2 = "imagenetv2-"


@dataclass(frozen=True, eq=False)
class _Sets:
    """The clean samples (None if there are none) and the shifted ones."""

    clean: Samples | None
    shifted: list[Samples]


def robustness(
    store: str,
    datasets: Sequence[str],
    clean: str | None,
    backbones: Sequence[str],
    options: EvalOptions,
    listen: Listener = silent,
) -> Evaluated:
    """Accuracy on shifted data sets and its difference to the clean one; the result is kept under the clean data set.

    A set of fewer classes (ImageNet-A, ImageNet-R) is compared with the clean images of its classes, scored over the
    same columns. The mean over sets counts ImageNetV2 once, as the study does: its matched-frequency variant, if there.

    Args:
        datasets: Shifted sets; empty: those of `SETS` that the store has logits of, else those of `SCENES_SETS`.
        clean: The clean set; None: what they shift if the store has its logits, else no comparison.
        backbones: Empty: all that have logits.

    Raises:
        UsageError: There is no shifted set; or a classifier of other classes.
        EvaluationSuspectError, IncompleteError: As in `accuracy`.
    """
    opened = open_store(store)
    held = {group.dataset for group in opened.groups() if group.view == VIEW}
    names = list(dict.fromkeys(datasets)) or _shifted(sorted(held), clean)
    if not names:
        raise UsageError(
            "the store has logits of no shifted data set",
            where=opened.url,
            why=f"it has logits of {', '.join(sorted(held)) or 'none'}",
            fix=f"{extract_other(opened, _first(opened, clean), backbones)}  # or --dataset with one it has",
        )
    known = [kind for sets in _FAMILIES.values() for kind in sets]
    others = [] if datasets else sorted(name for name in held - {*names} if registered(name) in known)
    if others:
        listen(Note(f"left out, as they shift another data set: {', '.join(others)}; --dataset names them"))
    reference = clean or _clean(sorted(held), names)
    chosen = Selection(opened.url, backbones=tuple(backbones))
    shifted = [open_samples(opened, replace(chosen, dataset=name), options) for name in names]
    split = _split(opened, reference) if reference else None
    base = open_samples(opened, replace(chosen, dataset=reference, split=split), options) if reference else None
    return _evaluate(_Sets(base, shifted), options, listen)


def _shifted(held: Sequence[str], clean: str | None) -> list[str]:
    """The sets to look at if none are given: those that shift the clean set, or else the first family that is held."""
    given = None if clean is None else registered(key_of_spec(clean))
    for family, sets in _FAMILIES.items():
        found = [name for kind in sets for name in held if registered(name) == kind]
        if found and (given == family or given not in _FAMILIES):
            return found
    return []


def _first(store: FeatureStore, clean: str | None) -> str:
    """The set to extract where there is none: of the clean one, or of what the store has."""
    held = [key_of_spec(clean)] if clean else [group.dataset for group in store.groups()]
    known = [*map(registered, held)]
    return next((sets[0] for family, sets in _FAMILIES.items() if family in known), SETS[0])


def _clean(held: Sequence[str], names: Sequence[str]) -> str | None:
    """The data set that these sets shift, if the store has it."""
    family = next((clean for clean, sets in _FAMILIES.items() if registered(key_of_spec(names[0])) in sets), CLEAN)
    return next((name for name in held if registered(name) == family), None)


def _split(store: FeatureStore, dataset: str) -> str | None:
    """The split for tests among several of the clean set; None if that does not say which."""
    splits = {group.split for group in store.groups() if group.dataset == key_of_spec(dataset)}
    try:
        usual = dataset_info(spec_of_key(key_of_spec(dataset))).default_split
    except UnknownNameError:
        return None
    return usual if len(splits) > 1 and usual in splits else None


def _evaluate(sets: _Sets, options: EvalOptions, listen: Listener) -> Evaluated:
    home = sets.clean or sets.shifted[0]
    table = Table(home.info.dataset, home.info.split, home.failed)
    notes = [note for samples in (*sets.shifted, sets.clean) if samples for note in samples.notes]
    pairs: list[tuple[Samples, Pair]] = []
    protocol: dict[str, str] = {}
    hits: dict[str, dict[str, tuple[int, int]]] = {}
    clean = _Clean(sets.clean, options)
    total = sum(len(samples.rows) * len(samples.selected.layers) for samples in sets.shifted)
    listen(Started("eval robustness", home.where, total, len(sets.shifted), 0))
    for number, samples in enumerate(sets.shifted):
        table.place(samples.info.dataset, samples.info.split, samples.failed)
        correct = {}
        for layer in samples.selected.layers:
            space = space_of(samples, layer)
            scores = score_samples(samples, layer, space)
            note = check_chance(samples, layer, space, scores, options)
            notes += [note] if note else []
            top1 = _set_rows(table, samples, layer, scores, space.width)
            counterpart = clean.top1(layer.backbone, samples.info.classes)
            if counterpart is not None:
                table.n_failed = sets.clean.failed if sets.clean else 0
                table.add(layer.backbone, COUNTERPART, "", counterpart)
                table.n_failed = samples.failed
                table.add(layer.backbone, DROP, "", difference(top1, counterpart), kind=DIFFERENCE)
            hits.setdefault(layer.backbone, {})[samples.info.dataset] = int(scores.correct.sum()), len(scores)
            correct[layer.backbone] = scores.correct
            protocol[f"{samples.where}: {layer.backbone}"] = space.protocol
        table.chance(TOP1, 1 / space.width)
        pairs += [(samples, pair) for pair in pairs_of(samples.info.dataset, correct)]
        listen(Advanced("eval robustness", number, len(samples.rows) * len(samples.selected.layers)))
    listen(Ended("eval robustness"))
    verdicts = []
    for (samples, pair), judged in zip(pairs, judge_pairs([pair for _, pair in pairs]), strict=True):
        table.place(samples.info.dataset, samples.info.split, samples.failed)
        verdicts.append(add_pair(table, pair, judged))
    averaged = in_mean([samples.info.dataset for samples in sets.shifted])
    failed = sum(samples.failed for samples in sets.shifted if samples.info.dataset in averaged)
    table.place(home.info.dataset, home.info.split, failed)
    for backbone, counts in hits.items():
        if all(name in counts for name in averaged):
            right, n = np.array([counts[name] for name in averaged]).T
            table.add(backbone, MEAN, ", ".join(averaged), mean_of_proportions(right, n))
    left_out = [samples.info.dataset for samples in sets.shifted if samples.info.dataset not in averaged]
    if left_out:
        notes.append(f"the mean over sets counts ImageNetV2 once, without {', '.join(left_out)}")
    notes += clean.notes
    return _keep(home, sets, table, notes, verdicts, protocol, options)


def in_mean(names: Sequence[str]) -> list[str]:
    """The sets that the mean is over: of ImageNetV2, whose variants re-draw one set, only the first in `SETS`.

    >>> in_mean(["imagenetv2-top-images", "imagenet-a", "imagenetv2-matched-frequency"])
    ['imagenet-a', 'imagenetv2-matched-frequency']
    """
    variants = [name for name in SETS if name.startswith(_V2) and name in names]
    return [name for name in names if name not in variants[1:]]


def _keep(
    home: Samples,
    sets: _Sets,
    table: Table,
    notes: list[str],
    verdicts: list[str],
    protocol: dict[str, str],
    options: EvalOptions,
) -> Evaluated:
    asked = RobustnessRequest(
        store=DEFAULT_STORE,
        datasets=tuple(samples.info.dataset for samples in sets.shifted),
        clean=sets.clean.info.dataset if sets.clean else None,
        backbones=tuple(dict.fromkeys(layer.backbone for layer in home.selected.layers)),
    )
    every = [samples for samples in (*sets.shifted, sets.clean) if samples]
    attrs = {
        "notes": [*notes, *_other_transforms(every)],
        "made_from": {samples.where: samples.made_from() for samples in every},
        "verdicts": verdicts,
        "protocol": protocol,
        "clean": sets.clean.where if sets.clean else "",
        "sets": [samples.info.dataset for samples in sets.shifted],
        "intervals": "accuracies: Wilson score, 95 %, over images; differences to clean: Newcombe, of independent "
        "images; pairs of backbones: Tango's paired score; the mean over sets: Wilson's at its effective size; "
        + FAMILY.format("the sets and pairs of backbones"),
        "options": command_words("", ROBUSTNESS, asked, options),
        **options.as_dict(),
    }
    identity = [[samples.identity() for samples in every], options.as_dict()]
    return keep_table(home, table_result(NAME, table.rows, attrs), identity)


def _other_transforms(every: Sequence[Samples]) -> Iterator[str]:
    """Backbones whose images were not prepared alike in all sets: their differences are not of the sets alone."""
    records = [(samples.where, samples.made_from()) for samples in every]
    for backbone in dict.fromkeys(name for _, made in records for name in made):
        own = [(where, made[backbone]) for where, made in records if backbone in made]
        other = [where for where, made in own if made != own[0][1]]
        if other:
            yield f"{backbone}: other weights or preprocessing for {', '.join(other)} than for {own[0][0]}"


def _set_rows(table: Table, samples: Samples, layer: Layer, scores: Scores, width: int) -> Estimate:
    top1 = wilson(int(scores.correct.sum()), len(scores))
    table.add(layer.backbone, TOP1, "", top1)
    if samples.kind(layer) == VIEW:
        table.add(layer.backbone, TOP5, "", top_k(scores, 5, width))
    if "rendition" in samples.info.factors:
        kinds = samples.factor("rendition")
        for kind in np.unique(kinds).tolist():
            of_kind: NDArray[np.bool_] = kinds == kind
            table.add(layer.backbone, TOP1, kind, wilson(int(scores.correct[of_kind].sum()), int(of_kind.sum())))
    return top1


class _Clean:
    """Accuracy on the clean images of the classes of a shifted set, over the same columns; once per set of classes."""

    def __init__(self, samples: Samples | None, options: EvalOptions) -> None:
        self.samples, self.options = samples, options
        self.notes: list[str] = []
        self._known: dict[tuple[Layer, tuple[str, ...]], Estimate] = {}

    def top1(self, backbone: str, classes: tuple[str, ...]) -> Estimate | None:
        """None without clean logits of this backbone.

        Raises:
            UsageError: The clean set lacks some of the classes.
        """
        layers = self.samples.selected.layers if self.samples else ()
        layer = next((layer for layer in layers if layer.backbone == backbone), None)
        if self.samples is None or layer is None:
            return None
        if (layer, classes) not in self._known:
            scores = self._score(self.samples, layer, classes)
            self._known[layer, classes] = wilson(int(scores.correct.sum()), len(scores))
        return self._known[layer, classes]

    def _score(self, clean: Samples, layer: Layer, classes: tuple[str, ...]) -> Scores:
        lacking = [name for name in classes if name not in clean.info.classes]
        if lacking:
            raise UsageError(
                f"{len(lacking)} classes of the shifted set are not in {clean.where}",
                where=f"--clean {clean.info.dataset}",
                why=f"such as {lacking[0]}; a difference needs the same classes on both sides",
                fix="another --clean, or none",
            )
        new = {name: label for label, name in enumerate(classes)}
        relabel = np.array([new.get(name, -1) for name in clean.info.classes], dtype=np.int64)
        inside = clean.take(relabel[clean.labels] >= 0)
        space = label_space(classes, clean.outputs(layer), f"{clean.where}: {layer.backbone}")
        if space.columns is not None and clean.kind(layer) != VIEW:
            refuse_kind(clean, layer, "a score over some of the outputs")
        targets = np.where(relabel >= 0, space.targets[np.maximum(relabel, 0)], -1)
        scores = score_samples(inside, layer, replace(space, targets=targets))
        note = check_chance(inside, layer, replace(space, targets=targets), scores, self.options)
        if note:
            self.notes.append(note)
        return scores


def _headline(result: Result, rows: Sequence[Row]) -> list[Row]:
    found = of_metrics(TOP1, COUNTERPART, DROP, MEAN)(result, rows)
    return [row for row in found if row.metric == MEAN or not row.factor]


def _line(row: Row) -> str | None:
    if row.metric == MEAN:
        return "mean over sets"
    of_all = row.kind == VALUE and not row.factor
    return row.dataset if of_all and row.metric in (TOP1, COUNTERPART) else None


def _run(request: RobustnessRequest, options: EvalOptions, listen: Listener) -> list[Evaluated]:
    return [robustness(request.store, request.datasets, request.clean, request.backbones, options, listen)]


PANEL = IntervalPanel(
    title="accuracy on shifted data sets with 95 % intervals",
    axis="top-1 accuracy",
    line=_line,
    hollow=lambda row: row.metric == COUNTERPART,
    hollow_means="clean images of the same classes",
    percent=True,
)

ENTRY = Entry(
    name=NAME,
    title="Robustness",
    about="Accuracy on data sets that shift ImageNet's distribution: new photographs (ImageNetV2), natural photographs "
    "that a ResNet-50 gets wrong (ImageNet-A), renditions such as art, toys and sculptures (ImageNet-R), and pencil "
    "sketches (ImageNet-Sketch). Beside each stands the accuracy on the clean validation images of the same classes, "
    "scored over the same outputs (200 for ImageNet-A and -R). Intervals: Wilson's, and Newcombe's for differences to "
    "the clean images. Backbones are compared on the same images; p values are adjusted for all sets and pairs (Holm).",
    question=Question(
        TOP1,
        "The widest gap is on {where}: {more} is right in {more_value} of the images, {less} in {less_value}",
        percent=True,
        widest=True,
    ),
    unit="images",
    rows=table_rows,
    run=_run,
    command=lambda result: again(result, NAME),
    figure=interval_figure(PANEL),
    chart=interval_chart(PANEL),
    headline=_headline,
)
