"""`cvbench eval shape-bias`: decisions on images whose shape and texture are of different classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.engine.metrics.shape_bias import category_decisions, shape_bias
from cvbench.engine.metrics.suspect import chance_of
from cvbench.errors import UsageError
from cvbench.jobs.evaluation.compare import FAMILY, compare_shares
from cvbench.jobs.evaluation.options import EvalOptions, eval_words
from cvbench.jobs.evaluation.samples import VIEW, Samples, open_samples
from cvbench.jobs.evaluation.shared import Evaluated, keep_table, refuse_kind, selection_words, suspect
from cvbench.jobs.figures.charts.intervals import interval_chart
from cvbench.jobs.figures.evaluation_intervals import IntervalPanel, interval_figure
from cvbench.jobs.reading.reading import open_store
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import VALUE, Row
from cvbench.jobs.results.table import Table, again, of_metrics, table_result, table_rows
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Started, silent
from cvbench.storage.annotations import shape_indices

NAME = "shape-bias"
DATASET = "cue-conflict"
BIAS, SHAPE, TEXTURE = "shape bias", "decided by shape", "decided by texture"


def evaluate(selection: Selection, options: EvalOptions, listen: Listener = silent) -> Evaluated:
    """Shape bias of every backbone, pooled and per shape category, kept in the store.

    Raises:
        UsageError: A classifier that is not one of ImageNet-1k (or of the data set's classes, if the categories are
            these); or a data set without shape and texture.
        EvaluationSuspectError: Decisions match shape or texture hardly more often than by chance.
        IncompleteError: A part of the data set only.
    """
    store = open_store(selection.store)
    samples = open_samples(store, replace(selection, dataset=selection.dataset or DATASET), options)
    indices = _indices(samples)
    categories = list(indices)
    shape, texture = (_positions(samples, name, categories) for name in ("shape", "texture"))
    table = Table(samples.info.dataset, samples.info.split, samples.failed)
    notes, decisions = list(samples.notes), {}
    layers = samples.selected.layers
    listen(Started("eval shape-bias", samples.where, len(samples.rows) * len(layers), len(layers), 0))
    for number, layer in enumerate(layers):
        decided = _decide(samples, layer, indices)
        found = shape_bias(decided, shape, texture, categories)
        chance = chance_of(found.bias.n, found.conflicts, 2 / len(categories), decided)
        if chance.near:
            notes.append(suspect(samples, layer, len(categories) // 2, chance, options))
        table.add(layer.backbone, BIAS, "", found.bias)
        table.add(layer.backbone, SHAPE, "", found.shape)
        table.add(layer.backbone, TEXTURE, "", found.texture)
        for name, estimate in found.per_category.items():
            table.add(layer.backbone, BIAS, name, estimate)
        decisions[layer.backbone] = decided
        listen(Advanced("eval shape-bias", number, len(samples.rows)))
    listen(Ended("eval shape-bias"))
    conflict = shape != texture
    parts = {
        name: ((decided == shape)[conflict], (decided == texture)[conflict]) for name, decided in decisions.items()
    }
    verdicts = compare_shares(parts, table, BIAS)
    attrs = {
        "notes": notes,
        "verdicts": verdicts,
        "conflicts": int(conflict.sum()),
        "protocol": f"softmax over {_width(indices)} classes, mean over each category's classes, argmax of the "
        f"{len(categories)} means; images without a conflict are left out",
        "intervals": "Wilson score, 95 %, over the images decided by shape or texture; differences: delta method over "
        "images, paired, with two pseudo-images (Bonett & Price), Student's t; "
        + FAMILY.format("the pairs of backbones"),
        "options": [*selection_words(samples), *eval_words(options)],
        **options.as_dict(),
    }
    identity = [samples.identity(), options.as_dict()]
    return keep_table(samples, table_result(NAME, table.rows, attrs), identity)


def _indices(samples: Samples) -> Mapping[str, tuple[int, ...]]:
    """Category -> its outputs: sets of ImageNet's classes for the 16 categories, else the data set's own classes."""
    known, classes = shape_indices(), samples.info.classes
    if set(samples.factor("shape").tolist()) <= set(known) or set(classes) <= set(known):
        return known
    return {name: (label,) for label, name in enumerate(classes)}


def _width(indices: Mapping[str, tuple[int, ...]]) -> int:
    """The number of outputs of a classifier of these categories."""
    return len(indices) if all(len(outputs) == 1 for outputs in indices.values()) else 1000


def _decide(samples: Samples, layer: Layer, indices: Mapping[str, tuple[int, ...]]) -> NDArray[np.int64]:
    where, width = f"{samples.where}: {layer.backbone}", _width(indices)
    if samples.outputs(layer) != width:
        of = f"the {width} outputs of ImageNet-1k" if width == 1000 else f"an output for each of {width} classes"
        raise UsageError(
            f"the shape bias needs {of}, the classifier has {samples.outputs(layer):,}",
            where=where,
            why=f"the {len(indices)} categories are {'sets of ImageNet-1k' if width == 1000 else 'its'} classes",
            fix=f"a backbone fine-tuned on {'ImageNet-1k' if width == 1000 else 'these classes'}",
        )
    if samples.kind(layer) != VIEW:
        refuse_kind(samples, layer, "the shape bias")
    parts = [category_decisions(values, indices) for _, values in samples.blocks(layer)]
    return np.concatenate(parts)


def _positions(samples: Samples, factor: str, categories: list[str]) -> NDArray[np.int64]:
    """(n,) int64 position of each sample's shape or texture among the categories."""
    place = {name: i for i, name in enumerate(categories)}
    values = samples.factor(factor).tolist()
    unknown = next((value for value in values if value not in place), None)
    if unknown is not None:
        raise UsageError(
            f"{unknown!r} is none of the {len(categories)} categories", where=f"{samples.where}: factor {factor}"
        )
    return np.array([place[value] for value in values], dtype=np.int64)


def _line(row: Row) -> str | None:
    return (row.factor or "all categories") if row.metric == BIAS and row.kind == VALUE else None


PANEL = IntervalPanel(
    title="shape bias with 95 % intervals",
    axis="decided by shape, of those decided by shape or texture",
    line=_line,
    reference=(50.0, "as often by texture"),
    percent=True,
)

ENTRY = Entry(
    name=NAME,
    title="Shape or texture (cue conflict)",
    about="Images with the shape of one object and the texture of another (Geirhos et al. 2019): of those decided as "
    "one of the two, the share decided by shape. The decision is the largest mean probability over the classes of "
    "each of 16 categories. The value of all images is pooled; it is not the mean of the categories.",
    question=Question(BIAS, "{more} decides by shape more often than {less}", percent=True),
    unit="images",
    rows=table_rows,
    run=lambda selection, options, listen: [evaluate(selection, options, listen)],
    command=lambda result: again(result, NAME),
    figure=interval_figure(PANEL),
    chart=interval_chart(PANEL),
    headline=of_metrics(BIAS, SHAPE, TEXTURE),
)
