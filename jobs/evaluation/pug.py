"""`cvbench eval pug`: accuracy where one factor of a rendered scene varies at a time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.metrics.pug import PugAccuracies, compare_factors, pug_accuracies
from cvbench.engine.metrics.scores import score_block
from cvbench.engine.metrics.suspect import chance_of
from cvbench.engine.statistics.intervals import FEW_UNITS
from cvbench.jobs.evaluation.compare import FAMILY, TOP1, compare_clusters, judge_factors
from cvbench.jobs.evaluation.labels import LabelSpace, label_space
from cvbench.jobs.evaluation.options import PugOptions, eval_words
from cvbench.jobs.evaluation.samples import Samples, open_samples
from cvbench.jobs.evaluation.shared import Evaluated, content_digest, keep_table, selection_words, suspect
from cvbench.jobs.figures.charts.intervals import interval_chart
from cvbench.jobs.figures.evaluation_intervals import IntervalPanel
from cvbench.jobs.figures.evaluation_pug import pug_figure
from cvbench.jobs.reading.reading import open_store
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import VALUE, Row
from cvbench.jobs.results.table import Table, again, of_metrics, table_result, table_rows
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Started, silent
from cvbench.storage.annotations import PUG_GROUPS, PUG_SUBSETS, PugClasses, load_pug_classes
from cvbench.storage.datasets.readers.imagenet_classes import imagenet_wnids

NAME = "pug"
DATASET = "pug-imagenet"
GROUP, SUBSET, AT_VALUE, MEAN, REFERENCE = (
    "factor accuracy",
    "subset accuracy",
    "accuracy at a value",
    "mean accuracy over subsets",
    "subset accuracy, reference labels",
)
VARIES = {
    "Worlds": "world_name",
    "Camera_Pitch": "camera_pitch",
    "Camera_Yaw": "camera_yaw",
    "Camera_Roll": "camera_roll",
    "Object_Pitch": "character_rotation_pitch",
    "Object_Yaw": "character_rotation_yaw",
    "Object_Roll": "character_rotation_roll",
    "Object_Scale": "character_scale",
    "Object_Texture": "character_texture",
    "Scene_Light": "scene_light",
}
"""Subset -> the factor of the sample table that varies in it; another subset has that factor's name."""


def pug(selection: Selection, options: PugOptions, listen: Listener = silent) -> Evaluated:
    """Accuracy of every backbone per subset, factor and value, kept in the store.

    The prediction is the argmax over all 1000 classes, without masking; without the labels' file, over the data set's
    own classes, which must be the classifier's.

    Raises:
        DataUnavailableError: The labels' file is not there.
        UsageError: A classifier of other classes; or a data set without the factors.
        EvaluationSuspectError, IncompleteError: As in `accuracy`.
    """
    store = open_store(selection.store)
    classes = None if options.labels is None else load_pug_classes(Path(options.labels))
    samples = open_samples(store, replace(selection, dataset=selection.dataset or DATASET), options.shared)
    answers = samples.info.classes if classes is None else imagenet_wnids()
    right, by_reference = (_hits(samples, classes, mode) for mode in (options.mode, "reference"))
    subset, objects = samples.factor("subset"), samples.factor("character_name")
    curves, groups = _curves(samples, subset), _groups(subset)
    table = Table(samples.info.dataset, samples.info.split, samples.failed)
    notes, correct, level = list(samples.notes), {}, float(right[samples.labels].mean())
    layers = samples.selected.layers
    listen(Started("eval pug", samples.where, len(samples.rows) * len(layers), len(layers), 0))
    for number, layer in enumerate(layers):
        space = label_space(answers, samples.outputs(layer), f"{samples.where}: {layer.backbone}")
        predicted = _predicted(samples, layer, space)
        hit = right[samples.labels, predicted]
        chance = chance_of(int(hit.sum()), len(hit), level, predicted)
        if chance.near:
            notes.append(suspect(samples, layer, len(answers), chance, options.shared))
        _add(table, layer.backbone, pug_accuracies(hit, subset, objects, groups, curves))
        if classes is not None:
            reference = by_reference[samples.labels, predicted]
            for name, estimate in pug_accuracies(reference, subset, objects, groups, {}).subsets.items():
                table.add(layer.backbone, REFERENCE, name, estimate)
        correct[layer.backbone] = hit
        listen(Advanced("eval pug", number, len(samples.rows)))
    listen(Ended("eval pug"))
    for metric in (MEAN, GROUP, TOP1):
        table.chance(metric, level)
    # Renders of one object are alike, and McNemar's test takes them for independent: the objects are the units.
    verdicts = compare_clusters(correct, objects, table)
    verdicts += _by_factor(correct, subset, objects, groups, table)
    few = len(np.unique(objects)) < FEW_UNITS
    notes += [f"no interval: n too small (fewer than {FEW_UNITS} objects)"] if few else []
    attrs = {
        "notes": notes,
        "verdicts": verdicts,
        "mode": options.mode,
        "protocol": "argmax over all 1000 ImageNet classes, mapped to the labels; other classes are wrong"
        if classes is not None
        else f"argmax over all {len(answers)} outputs; output i is class i",
        "aggregation": "a factor is the plain mean of its subsets",
        "intervals": "over objects (the 3D assets), 95 %: Wilson's, and Tango's for differences, at the effective "
        "size by the jackknife over objects, Student's t; "
        + FAMILY.format("the pairs of backbones, and over the factors and pairs"),
        "options": [*selection_words(samples), *eval_words(options)],
        **options.shared.as_dict(),
    }
    identity = [samples.identity(), options.mode, content_digest(right, by_reference), options.shared.as_dict()]
    return keep_table(samples, table_result(NAME, table.rows, attrs), identity)


def _predicted(samples: Samples, layer: Any, space: LabelSpace) -> NDArray[np.int64]:
    """(n,) ImageNet-1k index of the largest logit."""
    none = np.full(len(samples.rows), -1)
    parts = [score_block(values, none[rows], space.columns).predicted for rows, values in samples.blocks(layer)]
    return space.labels(np.concatenate(parts))


def _curves(samples: Samples, subset: NDArray[np.str_]) -> dict[str, NDArray[np.str_]]:
    """Subset -> (n,) text of what varies there; "default" for the default."""
    present = np.unique(subset).tolist()
    columns = {name: name for name in present if name not in VARIES} | VARIES
    curves = {}
    for name, column in columns.items():
        if name in present:
            values = samples.factor(column)
            numeric = values.dtype.kind == "f"
            curves[name] = np.array(["default" if v != v else f"{v:g}" for v in values]) if numeric else values
    return curves


def _groups(subset: NDArray[np.str_]) -> Mapping[str, Sequence[str]]:
    """The factors and the subsets of each: PUG's, or of other subsets each for itself, named by what varies in it."""
    own = [name for name in dict.fromkeys(subset.tolist()) if name not in PUG_SUBSETS]
    return {name: (name,) for name in sorted(own)} or PUG_GROUPS


def _hits(samples: Samples, classes: PugClasses | None, mode: str) -> NDArray[np.bool_]:
    """(classes, outputs) bool: whether predicting an output is right for an image of a class."""
    if classes is None:
        return np.eye(len(samples.info.classes), dtype=np.bool_)
    return classes.hits("reference" if mode == "reference" else "set", samples.info.classes)


def _add(table: Table, backbone: str, found: PugAccuracies) -> None:
    table.add(backbone, MEAN, "", found.mean)
    for name, estimate in found.groups.items():
        table.add(backbone, GROUP, name, estimate)
    for name, estimate in found.subsets.items():
        table.add(backbone, SUBSET, name, estimate)
    for subset, curve in found.values.items():
        for value, estimate in curve.items():
            table.add(backbone, AT_VALUE, f"{subset}={value}", estimate)


def _by_factor(
    correct: Mapping[str, NDArray[np.bool_]],
    subset: NDArray[np.str_],
    objects: NDArray[np.str_],
    groups: Mapping[str, Sequence[str]],
    table: Table,
) -> list[str]:
    """Every pair of backbones, factor by factor, on the same images."""
    found = {}
    for a, b in itertools.combinations(correct, 2):
        found[a, b] = compare_factors(correct[a], correct[b], subset, objects, groups)
    return judge_factors(found, table, GROUP)


def _line(row: Row) -> str | None:
    return row.factor if (row.metric, row.kind) == (GROUP, VALUE) else None


FACTORS = IntervalPanel(
    title="accuracy by factor, 95 % intervals over objects",
    axis="accuracy",
    line=_line,
    percent=True,
    difference=GROUP,
)

ENTRY = Entry(
    name=NAME,
    title="Factors of rendered scenes (PUG: ImageNet)",
    about="Accuracy on renders in which one thing varies at a time: camera, orientation of the object, its size, its "
    "texture, the background, the light (Bordes et al. 2023). A factor is the plain mean of its subsets; curves show "
    "every value of what varies. Renders of one object are alike, so the intervals are over objects. Backbones are "
    "compared factor by factor on the same images; p values are adjusted for the number of factors (Holm).",
    question=Question(
        GROUP,
        "The widest gap is of {where}: {more} is right in {more_value} of the renders, {less} in {less_value}",
        percent=True,
        widest=True,
    ),
    unit="renders",
    rows=table_rows,
    run=lambda selection, options, listen: [pug(selection, options, listen)],
    command=lambda result: again(result, NAME),
    figure=pug_figure,
    chart=interval_chart(FACTORS),
    headline=of_metrics(GROUP, MEAN, TOP1),
)
