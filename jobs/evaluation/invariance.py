"""`cvbench eval invariance`: accuracy and probability of the true class as images are scaled, shifted or resized."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cvbench.engine.metrics.invariance import change_difference, setting
from cvbench.engine.metrics.scores import Scores
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.verdict import judge
from cvbench.errors import EvaluationSuspectError, UsageError
from cvbench.jobs.evaluation.compare import EXACT, FAMILY, TOP1, state
from cvbench.jobs.evaluation.invariance_samples import Settings, home_of, open_settings
from cvbench.jobs.evaluation.options import InvarianceOptions, eval_words
from cvbench.jobs.evaluation.samples import VIEW
from cvbench.jobs.evaluation.settings import TRANSFORMS, Grid, choose_dataset, find_settings, nothing_found
from cvbench.jobs.evaluation.shared import Evaluated, check_chance, keep_table, score_samples, space_of
from cvbench.jobs.figures.charts.evaluations import invariance_chart
from cvbench.jobs.figures.evaluation_invariance import invariance_figure
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import open_store
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import DIFFERENCE
from cvbench.jobs.results.table import Table, again, of_metrics, table_result, table_rows
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.storage.datasets.variant import RESOLUTION, Values, values_text
from cvbench.storage.features import FeatureStore

NAME = "invariance"
PROBABILITY, SAME = "true-class probability", "same prediction as reference"
CHANGE, PROBABILITY_CHANGE = "top1 less reference", "true-class probability less reference"


def invariance(
    store: str,
    dataset: str | None,
    split: str | None,
    backbones: Sequence[str],
    options: InvarianceOptions,
    listen: Listener = silent,
) -> list[Evaluated]:
    """One result for each transform, over the samples that every setting of every backbone could read.

    Memory: one block of logits, and 48 bytes per sample, setting and backbone.

    Raises:
        UnknownNameError: No such transform, data set or backbone.
        UsageError: A value that cannot be read, a classifier of other classes, or settings of different weights.
        DataUnavailableError: There is nothing to compare; says which commands add it.
        IntegrityError: The settings are of different samples.
        EvaluationSuspectError: A reference is near chance, of a transform that was named or of all; else a note says
            which transform is left out.
        IncompleteError: As in `accuracy`.
    """
    if (options.grid or options.reference) and len(options.transforms) != 1:
        raise UsageError("--grid and --reference are of one transform", fix=f"--transform {TRANSFORMS[0]}")
    opened = open_store(store)
    place = choose_dataset(opened, dataset, split, options.transforms)
    names = tuple(dict.fromkeys(options.transforms)) or TRANSFORMS
    grids = [_find(opened, place, name, backbones, options) for name in names]
    usable = [_comparable(grid) for grid in grids]
    empty = [grid for grid, use in zip(grids, usable, strict=True) if not use.found]
    if len(empty) == len(grids) or (options.transforms and empty):
        raise nothing_found(opened, place, empty)
    jobs = [
        (grid, use, open_settings(opened, use, options.shared))
        for grid, use in zip(grids, usable, strict=True)
        if use.found
    ]
    found: list[Evaluated] = []
    suspects: list[EvaluationSuspectError] = []
    for grid, use, settings in jobs:
        try:
            found.append(_one(opened, grid, use, settings, options, listen))
        except EvaluationSuspectError as error:
            if options.transforms:  # it was asked for
                raise
            suspects.append(error)
            listen(Ended(_title(grid)))
            listen(
                Note(
                    f"{grid.transform} is left out: {error.what} ({error.where}); --transform {grid.transform} explains"
                )
            )
    if not found:
        raise suspects[0]
    return found


def _title(grid: Grid) -> str:
    return f"eval {NAME} {grid.transform}"


def _find(
    store: FeatureStore, place: tuple[str, str], name: str, backbones: Sequence[str], options: InvarianceOptions
) -> Grid:
    if name == RESOLUTION:  # a backbone is one of several sizes there, however it is named
        backbones = list(dict.fromkeys(backbone.partition("@")[0] for backbone in backbones))
    return find_settings(store, place, name, backbones, options.grid, options.reference)


def _comparable(grid: Grid) -> Grid:
    """The grid without backbones that have nothing to compare."""
    found = {name: own for name, own in grid.found.items() if grid.start[name] in own and len(own) > 1}
    return replace(grid, found=found, start={name: grid.start[name] for name in found})


def _one(
    store: FeatureStore, asked: Grid, grid: Grid, settings: Settings, options: InvarianceOptions, listen: Listener
) -> Evaluated:
    every = [one for own in settings.values() for one in own.values()]
    n, title = len(every[0].samples.rows), _title(grid)
    failed = max(one.samples.selected.samples for one in every) - n
    table = Table(grid.dataset, grid.split, failed)
    notes = list(dict.fromkeys(note for one in every for note in one.samples.notes))
    protocol: dict[str, str] = {}
    scores: dict[str, dict[Values, Scores]] = {}
    listen(Started(title, f"{grid.dataset}/{grid.split}", n * len(every), len(every), 0))
    done = itertools.count()
    for name, own in settings.items():
        first = own[grid.start[name]]
        space = space_of(first.samples, first.layer)
        scores[name] = {}
        for values, one in own.items():
            scores[name][values] = score_samples(one.samples, one.layer, space)
            listen(Advanced(title, next(done), n))
        # Far transforms may well take a good backbone to chance: only the start must be above it.
        note = check_chance(first.samples, first.layer, space, scores[name][grid.start[name]], options.shared)
        notes += [note] if note else []
        protocol[name] = space.protocol
        full = all(one.samples.kind(one.layer) == VIEW for one in own.values())
        if not full:
            notes.append(f"{name}: imported predictions; the probability of the true class is not known")
        _rows_of(table, name, grid, scores[name], full)
    listen(Ended(title))
    verdicts = _between(table, grid, scores)
    # What is missing is said, not kept: it is no part of what was found.
    for text in (*notes, *(f"not there: {command}" for command in asked.commands())):
        listen(Note(text))
    parts = {one.samples.where: one.samples for one in every}
    presets = [made.get("preset", "model") for samples in parts.values() for made in samples.made_from().values()]
    attrs = _attrs(grid, notes, verdicts, protocol, options) | {"preprocessing": _preprocessing(dict.fromkeys(presets))}
    result = table_result(NAME, table.rows, attrs)
    home = home_of(store, grid, every[0].samples, options.shared)
    identity = [[samples.identity() for samples in parts.values()], grid.transform, result.attrs["options"]]
    return keep_table(home, result, [identity, options.shared.as_dict()])


def _rows_of(table: Table, name: str, grid: Grid, scores: Mapping[Values, Scores], full: bool) -> None:
    start = grid.start[name]
    settings = {values: setting(own, scores[start]) for values, own in scores.items()}
    changes = {values: found.change.difference for values, found in settings.items() if values != start}
    judged = dict(zip(changes, judge(list(changes.values())), strict=True))
    for values, found in settings.items():
        factor = factor_text(grid.transform, values)
        table.add(name, TOP1, factor, found.top1)
        table.add(name, PROBABILITY, factor, found.probability if full else Estimate())
        itself = Estimate(0.0, 0.0, 0.0, len(scores[start]))
        if values == start:
            table.add(name, CHANGE, factor, itself, kind=DIFFERENCE)
        else:
            table.difference((name, ""), CHANGE, factor, judged[values])
        change = itself if values == start else found.probability_change
        table.add(name, PROBABILITY_CHANGE, factor, change if full else Estimate(), kind=DIFFERENCE)
        table.add(name, SAME, factor, found.consistency)
    for values, found_change in changes.items():
        table.test(name, EXACT, factor_text(grid.transform, values), found_change.p, found_change.n)


def _between(table: Table, grid: Grid, scores: Mapping[str, Mapping[Values, Scores]]) -> list[str]:
    """Compare the losses of two backbones, at each setting that both have; adjusted for all settings and pairs."""
    found: list[tuple[tuple[str, str], str, Estimate]] = []
    for a, b in itertools.combinations(scores, 2):
        starts = grid.start[a], grid.start[b]
        for values in [values for values in scores[a] if values in scores[b] and values not in starts]:
            pairs = [(scores[name][values], scores[name][start]) for name, start in zip((a, b), starts, strict=True)]
            change = change_difference(pairs[0], pairs[1])
            found.append(((a, b), factor_text(grid.transform, values), change))
    sentences = []
    for (pair, factor, _), judged in zip(found, judge([change for *_, change in found]), strict=True):
        table.difference(pair, CHANGE, factor, judged)
        sentences.append(state(f"{grid.dataset}, {factor}, change of top1", pair, judged, points=True))
    return sentences


def _attrs(
    grid: Grid, notes: list[str], verdicts: list[str], protocol: dict[str, str], options: InvarianceOptions
) -> dict[str, Any]:
    words = ["--dataset", grid.dataset, "--split", grid.split, "--transform", grid.transform]
    for values in sorted({values for own in grid.found.values() for values in own}):
        words += ["--grid", values_text(values)]
    words += ["--reference", options.reference] if options.reference is not None else []
    words += [word for name in grid.found for word in ("--backbone", name)]
    return {
        "transform": grid.transform,
        "means": grid.means,
        "start": {name: values_text(values) for name, values in grid.start.items()},
        "notes": notes,
        "verdicts": verdicts,
        "protocol": protocol,
        "intervals": "top1 and same prediction: Wilson score, 95 %, over samples; probabilities the same at their "
        "effective size; differences to the reference: Tango's paired score, with McNemar's p beside its adjustment "
        "over the settings of a backbone (Holm); differences of changes: delta method with two pseudo-images (Bonett & "
        "Price), Student's t; " + FAMILY.format("the settings and pairs of backbones"),
        "options": [*words, *eval_words(options.shared)],
        **options.shared.as_dict(),
    }


def _preprocessing(presets: Iterable[str]) -> str:
    own = "each backbone's own (resize, crop, filter, normalisation) in the place of one for all"
    shared = "the preset {}: the study's resize, crop, filter and normalisation for all"
    return "; ".join(own if preset == "model" else shared.format(preset) for preset in presets)


def factor_text(transform: str, values: Values) -> str:
    """A setting as the tables name it: "scale=1.25"."""
    return f"{transform}={values_text(values)}"


def _run(selection: Selection, options: InvarianceOptions, listen: Listener) -> list[Evaluated]:
    place = selection.store, selection.dataset, selection.split, selection.backbones
    return invariance(*place, options, listen)


ENTRY = Entry(
    name=NAME,
    title="Invariance",
    about="Accuracy and the mean softmax probability of the true class as the object is enlarged (scale), moved "
    "(shift), or shown at another input resolution, and how they differ from those of the same images at scale 1, "
    "shift 0 or the model's own resolution, the hollow marks (Vishniakov et al. 2024). The study's shift crops aside "
    "in the original image, along its longer axis only: its effect depends on the size of the image. shift-frame "
    "moves the crop after the resize. Bands are 95 % intervals over images; verdicts are adjusted for the number of "
    "settings and pairs (Holm).",
    question=Question(
        CHANGE, "At {where} {less} falls to {less_value}, {more} to {more_value}", own=TOP1, percent=True, widest=True
    ),
    unit="images",
    rows=table_rows,
    run=_run,
    command=lambda result: again(result, NAME),
    figure=invariance_figure,
    chart=invariance_chart,
    headline=of_metrics(TOP1, PROBABILITY, CHANGE),
    named_by=("transform",),
)
