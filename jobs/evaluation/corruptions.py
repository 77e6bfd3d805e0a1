"""`cvbench eval corruptions`: errors under the corruptions of ImageNet-C, and the mean corruption error."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.metrics.corruption import (
    ALEXNET,
    DIGITAL,
    NOISE,
    WEATHER,
    corruption_errors,
    image_errors,
    noise_excess,
)
from cvbench.engine.statistics.measure import Column, Measure, share
from cvbench.engine.statistics.running import INTERVAL, RunningMeans
from cvbench.engine.statistics.verdict import judge
from cvbench.errors import IntegrityError, UsageError
from cvbench.jobs.evaluation.compare import FAMILY, state
from cvbench.jobs.evaluation.lacking import extract_other
from cvbench.jobs.evaluation.options import CORRUPTIONS, CorruptionsRequest, EvalOptions
from cvbench.jobs.evaluation.samples import VIEW, Samples, open_samples
from cvbench.jobs.evaluation.shared import Evaluated, check_chance, keep_table, score_samples, space_of
from cvbench.jobs.figures.charts.intervals import interval_chart
from cvbench.jobs.figures.evaluation_intervals import IntervalPanel, interval_figure
from cvbench.jobs.reading.options import DEFAULT_STORE
from cvbench.jobs.reading.reading import open_store
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.results.command import command_words
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import DIFFERENCE, Row
from cvbench.jobs.results.table import Table, again, of_metrics, table_result, table_rows
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Started, silent
from cvbench.storage.datasets import registered

NAME = "corruptions"
DATASET = "imagenet-c"
SEVERITIES = 5
ERROR, CE, MCE, MEAN = "error", "corruption error", "mean corruption error", "mean error over corruptions"
EXCESS = "mean error under noise less that under weather and digital corruptions"
_RATIOS = {
    CE: Measure(CE, "error over AlexNet's", least=0.0, most=1 / min(ALEXNET.values())),
    MCE: Measure(MCE, "mean of the 15 corruption errors", least=0.0, most=1 / min(ALEXNET.values())),
}
_ERRORS = {name: share(name, "share of severities that are wrong") for name in (ERROR, MEAN)}
_EXCESS = {EXCESS: Measure(EXCESS, "of the shares that are wrong", least=-1.0, most=1.0)}


@dataclass(frozen=True, eq=False)
class _Errors:
    """Errors of one backbone.

    Attributes:
        errors: (images, corruptions) float64.
        counts: As many int64, severities that are there.
    """

    errors: NDArray[np.float64]
    counts: NDArray[np.int64]


def corruptions(
    store: str, datasets: Sequence[str], backbones: Sequence[str], options: EvalOptions, listen: Listener = silent
) -> Evaluated:
    """Errors under each corruption, and what they are on average; the result is kept under the first data set.

    An image counts if all its severities of all corruptions can be read. Memory: 16 bytes per image, corruption and
    backbone, and what `score_samples` takes of one data set.

    Args:
        datasets: Forms of ImageNet-C in the store; empty: all of them.
        backbones: Empty: all that have logits.

    Raises:
        UsageError: There is no corruption, one is there twice, or a classifier of other classes.
        EvaluationSuspectError, IncompleteError: As in `accuracy`.
    """
    opened = open_store(store)
    held = sorted({group.dataset for group in opened.groups() if group.view == VIEW})
    names = list(dict.fromkeys(datasets)) or [name for name in held if registered(name) == DATASET]
    if not names:
        raise UsageError(
            "the store has logits of no corrupted images",
            where=opened.url,
            why=f"it has logits of {', '.join(held) or 'none'}",
            fix=f"{extract_other(opened, f'{DATASET}:fog', backbones)}  # or imagenet-c, all 15",
        )
    chosen = Selection(opened.url, backbones=tuple(backbones))
    return _evaluate([open_samples(opened, replace(chosen, dataset=name), options) for name in names], options, listen)


def _evaluate(sets: Sequence[Samples], options: EvalOptions, listen: Listener) -> Evaluated:
    home = sets[0]
    kinds = _kinds(sets)
    images, numbers = np.unique(np.concatenate([_numbers(samples) for samples in sets]), return_inverse=True)
    starts = np.cumsum([0, *(len(samples.rows) for samples in sets)])
    names = [layer.backbone for layer in home.selected.layers]
    _refuse_others(sets, names)
    notes = [note for samples in sets for note in samples.notes]
    found: dict[str, _Errors] = {}
    protocol: dict[str, str] = {}
    listen(Started("eval corruptions", home.where, int(starts[-1]) * len(names), len(names), 0))
    place = {kind: number for number, kind in enumerate(kinds)}
    under = np.concatenate([[place[kind] for kind in samples.factor("corruption").tolist()] for samples in sets])
    for number, name in enumerate(names):
        wrong = np.empty(int(starts[-1]), dtype=np.bool_)
        for samples, start in zip(sets, starts.tolist(), strict=False):
            (layer,) = (layer for layer in samples.selected.layers if layer.backbone == name)
            space = space_of(samples, layer)
            scores = score_samples(samples, layer, space)
            note = check_chance(samples, layer, space, scores, options)
            notes += [note] if note else []
            wrong[start : start + len(scores)] = ~scores.correct
            protocol[name] = space.protocol
        found[name] = _Errors(*image_errors(wrong, numbers, under, (len(images), len(kinds))))
        listen(Advanced("eval corruptions", number, int(starts[-1])))
    listen(Ended("eval corruptions"))
    whole = np.logical_and.reduce([(one.counts == SEVERITIES).all(axis=1) for one in found.values()])
    if not whole.any():
        raise UsageError(
            "no image is there under every severity of every corruption",
            where=", ".join(samples.where for samples in sets),
            fix="extract all of each corruption: an error is a mean over its five severities",
        )
    table = Table(home.info.dataset, home.info.split, len(images) - int(whole.sum()))
    if lacking := [name for name in ALEXNET if name not in kinds]:
        notes.append(f"no {MCE}: it is over 15 corruptions, and the store lacks {', '.join(lacking)}")
    verdicts = _add(table, {name: one.errors[whole] for name, one in found.items()}, kinds)
    return _keep(sets, names, table, notes, verdicts, protocol, options)


def _kinds(sets: Sequence[Samples]) -> list[str]:
    """The corruptions, in the benchmark's order, others behind.

    Raises:
        UsageError: One is there twice.
    """
    own = [sorted(set(samples.factor("corruption").tolist())) for samples in sets]
    every = list(itertools.chain.from_iterable(own))
    twice = next((kind for kind in every if every.count(kind) > 1), None)
    if twice is not None:
        both = [samples.info.dataset for samples, kinds in zip(sets, own, strict=True) if twice in kinds]
        raise UsageError(
            f"{twice} is there twice: in {' and '.join(both)}",
            where=sets[0].reading.store.url,
            fix=f"name what counts: --dataset {both[0]}",
        )
    known = list(ALEXNET)
    return sorted(every, key=lambda kind: (known.index(kind) if kind in known else len(known), kind))


def _numbers(samples: Samples) -> NDArray[np.int64]:
    """(n,) the number of the validation image behind each sample, as its name says.

    Raises:
        IntegrityError: A name says none.
    """
    names = samples.ids
    try:
        return np.array([int(name.rpartition("_")[2].partition(".")[0]) for name in names], dtype=np.int64)
    except ValueError:
        bad = next(name for name in names if not name.rpartition("_")[2].partition(".")[0].isdigit())
        raise IntegrityError(
            "the name of a sample does not say which image it is",
            where=f"{samples.where}: {bad}",
            why="expected names such as fog/3/n01440764/ILSVRC2012_val_00000293.JPEG",
        ) from None


def _refuse_others(sets: Sequence[Samples], names: Sequence[str]) -> None:
    for samples in sets:
        lacking = {*names} ^ {layer.backbone for layer in samples.selected.layers}
        if lacking:
            raise UsageError(
                f"not every data set has the logits of {', '.join(sorted(lacking))}",
                where=samples.reading.store.url,
                why="backbones are compared over the same corruptions",
                fix=f"--backbone, only those of all, or extract {samples.info.dataset} through it",
            )


def _add(table: Table, errors: Mapping[str, NDArray[np.float64]], kinds: Sequence[str]) -> list[str]:
    """The rows of every backbone and pair; one sentence for each pair."""
    known = [kind for kind in kinds if kind in ALEXNET]
    whole = len(known) == len(ALEXNET)
    labels = [(ERROR, kind) for kind in kinds] + [(CE, kind) for kind in known]
    labels += [(MEAN, "")] if len(kinds) > 1 else []
    labels += [(MCE, "")] if whole else []
    labels += [(EXCESS, "")] if {*NOISE, *WEATHER, *DIGITAL} <= {*kinds} else []
    measures = [{**_ERRORS, **_RATIOS, **_EXCESS}[metric] for metric, _ in labels]
    judged_by = MCE if whole else MEAN if len(kinds) > 1 else ERROR
    pairs = list(itertools.combinations(range(len(errors)), 2))
    columns = [Column(measure, True) for _ in errors for measure in measures]
    width = len(measures)
    compared = [i for i, (metric, _) in enumerate(labels) if metric in (judged_by, EXCESS, CE if whole else ERROR)]
    columns += [Column(measures[i], True, (a * width + i, b * width + i)) for a, b in pairs for i in compared]
    numbers = np.concatenate([_of_images(one, kinds, labels) for one in errors.values()], axis=1)
    apart = [numbers[:, a * width + i] - numbers[:, b * width + i] for a, b in pairs for i in compared]
    running = RunningMeans(columns)
    running.add(np.concatenate([numbers, np.stack(apart, axis=1)], axis=1) if apart else numbers)
    means = running.means()
    for number, name in enumerate(errors):
        for i, (metric, factor) in enumerate(labels):
            table.add(name, metric, factor, means.at(number * width + i))
    start = len(errors) * width
    found = [means.at(start + k) for k in range(len(pairs) * len(compared))]
    sentences = []
    named = list(errors)
    places = [(a, b, i) for a, b in pairs for i in compared]
    for (a, b, i), judged in zip(places, judge(found), strict=True):
        metric, factor = labels[i]
        table.difference((named[a], named[b]), metric, factor, judged)
        if metric == judged_by:
            sentences.append(state(metric + (f", {factor}" if factor else ""), (named[a], named[b]), judged))
    return sentences


def _of_images(
    errors: NDArray[np.float64], kinds: Sequence[str], labels: Sequence[tuple[str, str]]
) -> NDArray[np.float64]:
    """(images, labels) what each image has."""
    ratios = corruption_errors(errors, kinds)
    there = [kind in ALEXNET for kind in kinds]
    of_all = [errors.mean(axis=1), ratios[:, there].mean(axis=1), noise_excess(errors, kinds)]
    columns = [*errors.T, *ratios.T, *of_all]
    place = {(ERROR, kind): i for i, kind in enumerate(kinds)}
    place |= {(CE, kind): len(kinds) + i for i, kind in enumerate(kinds)}
    place |= {(metric, ""): 2 * len(kinds) + i for i, metric in enumerate((MEAN, MCE, EXCESS))}
    return np.stack([columns[place[label]] for label in labels], axis=1)


def _keep(
    sets: Sequence[Samples],
    names: Sequence[str],
    table: Table,
    notes: list[str],
    verdicts: list[str],
    protocol: dict[str, str],
    options: EvalOptions,
) -> Evaluated:
    asked = CorruptionsRequest(DEFAULT_STORE, tuple(samples.info.dataset for samples in sets), tuple(names))
    attrs = {
        "notes": list(dict.fromkeys(notes)),
        "verdicts": verdicts,
        "protocol": protocol,
        "reference": "AlexNet's errors as the benchmark's authors publish them (Hendrycks & Dietterich 2019)",
        "intervals": f"{INTERVAL}; an image stands for all its corruptions and severities; "
        + FAMILY.format("the corruptions and pairs of backbones"),
        "options": command_words("", CORRUPTIONS, asked, options),
        **options.as_dict(),
    }
    identity = [[samples.identity() for samples in sets], options.as_dict(), EXCESS]  # an earlier version had it not
    return keep_table(sets[0], table_result(NAME, table.rows, attrs), identity)


def _line(row: Row) -> str | None:
    shown = row.kind != DIFFERENCE and row.metric in (ERROR, MEAN)
    return (row.factor.replace("_", " ") or "mean") if shown else None


def _run(request: CorruptionsRequest, options: EvalOptions, listen: Listener) -> list[Evaluated]:
    return [corruptions(request.store, request.datasets, request.backbones, options, listen)]


PANEL = IntervalPanel(
    title="error under corruptions with 95 % intervals",
    axis="error, mean over severities",
    line=_line,
    percent=True,
)

ENTRY = Entry(
    name=NAME,
    title="Common corruptions",
    about="Errors on ImageNet-C: the validation images under noise, blur, weather and digital corruptions, each at five"
    " severities. A corruption error is that error over AlexNet's, and the mean corruption error their mean over "
    "the 15 corruptions: 1 is as bad as AlexNet. What noise costs beyond weather and digital corruptions says how a "
    "network takes high frequencies. An image stands under all corruptions, so intervals are over "
    "images, not over the 3.75 million samples. Differences are judged together (Holm). Source: Hendrycks and "
    "Dietterich 2019.",
    question=Question(MCE, "{more} errs more often under corruptions than {less}"),
    unit="images",
    rows=table_rows,
    run=_run,
    command=lambda result: again(result, NAME),
    figure=interval_figure(PANEL),
    chart=interval_chart(PANEL),
    headline=of_metrics(MCE, MEAN, EXCESS, CE),
)
