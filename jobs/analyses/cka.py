"""`cvbench analyze cka`: the minibatch estimator through the unit framework, the full-data ones in this process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.cka.full import full_cka
from cvbench.engine.analyses.cka.measure import MIN_BATCH, SIZES, MinibatchCka, choose_batch
from cvbench.engine.analyses.cka.result import COMPARED
from cvbench.engine.arrays.array import Array, device_stream, to_device
from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.analyses.cka_view import QUESTIONS, resolve_view
from cvbench.jobs.analyses.measure import analyze, measuring
from cvbench.jobs.analyses.options import CKA, CkaOptions
from cvbench.jobs.extraction.memory import device_memory
from cvbench.jobs.figures.charts.cka import cka_chart
from cvbench.jobs.figures.cka import cka_figure, cka_overview
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import Reading, open_store
from cvbench.jobs.reading.views import view_words
from cvbench.jobs.results.command import command_words, selection_of
from cvbench.jobs.results.entry import Entry, Live, LiveSetting
from cvbench.jobs.results.keep import Analysed, keep
from cvbench.jobs.results.measured import left_out, verdict_text
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import DIFFERENCE, PAIR, Row, known
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Listener, silent
from cvbench.jobs.running.sizes import counted

__all__ = ["ENTRY", "ESTIMATORS", "CkaOptions", "cka"]

ESTIMATORS = ("minibatch", "debiased", "biased")


def cka(selection: Selection, options: CkaOptions, cluster: Cluster, listen: Listener = silent) -> Analysed:
    """CKA of every pair of the selected layers; the result is kept in the store. Its attributes name its `view`.

    Args:
        selection: Its view may be `AUTO`: all positions where the store has them, see `resolve_view`.
        options: How to measure.
        cluster: Where units are measured.
        listen: Receives progress.

    Raises:
        UsageError: An unknown estimator, or fewer than 4 samples in a batch.
    """
    if options.estimator not in ESTIMATORS:
        raise UnknownNameError.among("estimator", options.estimator, ESTIMATORS, fix=", ".join(ESTIMATORS))
    found, note = resolve_view(open_store(selection.store), selection, options.batch, options.estimator)
    if isinstance(found, Analysed):
        return found
    analysed = _measured(found, options, cluster, listen)
    attrs = analysed.result.attrs
    said = {"view": found.selected.view, "notes": [*attrs["notes"], *([note] if note else [])]}
    return replace(analysed, result=replace(analysed.result, attrs={**attrs, **said}))


def _measured(reading: Reading, options: CkaOptions, cluster: Cluster, listen: Listener) -> Analysed:
    if options.estimator != "minibatch":
        return _full(reading, options, cluster.device)
    selected = reading.selected
    largest, forward = max(len(unit) for unit in selected.units), reading.info.batch
    # By the forward batch, as during the extraction: one default for both. A tiny one would cost CKA its precision.
    piece = forward if forward >= SIZES[-1] else largest - largest % SIZES[-1] or largest
    batch = options.batch or choose_batch(piece, selected.samples)
    if batch > largest:
        raise UsageError(
            f"a CKA batch of {batch} does not fit a unit of {largest} samples",
            where="--cka-batch",
            fix=f"--cka-batch {largest} or less",
        )
    return analyze(MinibatchCka(batch=batch), reading, cluster, listen)


def _full(reading: Reading, options: CkaOptions, device: str) -> Analysed:
    """All rows as one batch, here; nothing is kept per unit, since rows of different units meet in every product."""
    selected, positions = reading.selected, reading.rows

    def read_rows(layer: Layer, rows: slice) -> Array:
        wanted = positions[rows]
        pieces = []
        for unit in selected.units:
            inside = wanted[(wanted >= unit.start) & (wanted < unit.stop)]
            if len(inside):
                pieces.append(reading.layers[layer].read(int(inside[0]), int(inside[-1]) + 1)[inside - inside[0]])
        return to_device(np.concatenate(pieces) if len(pieces) > 1 else pieces[0], device)

    with device_memory("blocks of rows of all layers", reading.where, "--device cpu"), device_stream(device):
        result = full_cka(selected.layers, read_rows, len(positions), estimator=options.estimator)  # type: ignore[arg-type]
    path = keep(reading, result, [options.estimator, reading.identity])
    return Analysed(result, selected, path, len(selected.units))


def rows(result: Result) -> Iterator[Row]:
    """The summary: means within each backbone and between two, and differences; then every pair of layers once.

    The metric names the features that it is of: CKA of others is another number.
    """
    attrs = result.attrs
    layers, named = attrs["layers"], f"linear CKA ({view_words(attrs)})"
    counts = {"n": attrs["batches"], "n_failed": left_out(result)}
    summary = _summary_templates(list(dict.fromkeys(layer["backbone"] for layer in layers)))
    for entry in attrs["summary"]:
        numbers = {name: entry.get(name) for name in ("value", "low", "high", "p")}
        said = verdict_text(entry["resolved"], entry["low"]) if "resolved" in entry else ""
        yield replace(summary[entry["name"]], metric=f"mean {named}", **numbers, verdict=said, **counts)
    names = [(layer["backbone"], layer["tap"]) for layer in layers]
    reasons = {(one["backbone"], one["tap"]): f"{one['tap']}: {one['reason']}" for one in attrs.get("undefined", ())}
    for at in zip(*np.triu_indices(len(layers)), strict=True):
        one, other = (names[i] for i in at)
        numbers = {column: known(result.data[name][1][at]) for column, name in _MATRICES.items()}
        yield Row(
            **dict(zip(("backbone", "layer", "backbone_b", "layer_b"), one + other, strict=True)),
            metric=named,
            kind=PAIR,
            **numbers,
            **counts,
            note="; ".join(reasons[name] for name in dict.fromkeys((one, other)) if name in reasons),
        )


_MATRICES = {"value": "cka", "low": "low", "high": "high"}


def _summary_templates(backbones: Sequence[str]) -> dict[str, Row]:
    """By the summary's own names, which hold those of the backbones: whose a number is, and of which layers."""
    found = {}
    for mean in COMPARED:
        for name in backbones:
            found[f"{mean}, {name}"] = Row(backbone=name, factor=mean)
        for name, other in itertools.permutations(backbones, 2):
            both = Row(backbone=name, backbone_b=other, factor=mean, kind=DIFFERENCE)
            found[f"difference, {mean}, {name} - {other}"] = both
    for name, other in itertools.permutations(backbones, 2):
        both = Row(backbone=name, backbone_b=other, factor="mean over all pairs of layers", kind=PAIR)
        found[f"mean, {name} against {other}"] = both
    return found


def headline(result: Result, found: Sequence[Row]) -> list[Row]:
    """The summary, what backbones differ by before all else."""
    return sorted((row for row in found if row.factor), key=lambda row: row.kind != DIFFERENCE)


def _said(result: Result) -> Iterator[str]:
    attrs = result.attrs
    layers = counted(len(attrs["layers"]), "layer")
    yield (
        f"view {attrs.get('view', 'unknown')}, {attrs['estimator']}: {layers}, {attrs['samples']} samples in "
        f"{attrs['batches']} batches of {attrs['batch_size']}; another view is another question"
    )
    if len(attrs["layers"]) == 1:
        yield "one layer: its CKA with itself is 1, and there is no other to compare it with: extract or name more"
    for one in attrs.get("undefined", ()):
        yield f"undefined: {one['backbone']}/{one['tap']}: {one['reason']}"


def _command(result: Result) -> list[str]:
    attrs = result.attrs
    batch = attrs["batch_size"] if attrs["estimator"] == "minibatch" else None
    return command_words("analyze cka", CKA, selection_of(result), CkaOptions(attrs["estimator"], batch))


def _run(selection: Selection, options: CkaOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    return [cka(selection, options, measuring(on, listen), listen)]


def live_batch(batch: int, samples: int) -> int:
    """Samples per CKA batch, as CKA needs a batch's layers side by side: as `analyze cka` chooses for stored maps.

    >>> live_batch(512, 50_000), live_batch(64, 640), live_batch(48, 5000)
    (256, 32, 16)

    Raises:
        UsageError: The forward batch is below 4.
    """
    if batch < MIN_BATCH:
        raise UsageError(
            f"live CKA needs batches of at least {MIN_BATCH} images, not {batch}",
            where="--batch-size",
            fix="a larger one",
        )
    return choose_batch(batch, max(samples, batch))


def _live(setting: LiveSetting) -> MinibatchCka:
    return MinibatchCka(batch=live_batch(setting.batch, setting.samples))


def _caution(result: Result) -> list[str]:
    attrs = result.attrs
    older = attrs["estimator"] == "minibatch" and "interval" not in attrs and attrs["batches"] > 1
    return ["of an earlier version: its intervals over few batches are too narrow; make it again"] if older else []


ENTRY = Entry(
    name="cka",
    title="Layerwise similarity: linear CKA",
    about=(
        "Linear centred kernel alignment compares two layers by how alike they arrange the same images: 1 means the "
        "same up to rotation and scale, 0 unrelated. Each panel has the layers of one backbone against those of "
        "another or the same one, the first layer at the bottom left; bright squares on the diagonal are stages of "
        "layers that change little, and a bright corner far from it says that early and late layers still agree. "
        f"{QUESTIONS} Intervals are a jackknife over batches, which n counts, with Student's t, and Hall's where these "
        "are skewed; verdicts on differences have Student's t and are judged together (Holm). The samples left out are "
        "unreadable or filled no batch. Source: Kornblith et al. 2019; minibatch estimator with the unbiased "
        "HSIC of Song et al. 2012 as in Nguyen et al. 2021; intervals: Tukey 1958, Hall 1992."
    ),
    question=Question(
        "mean linear CKA*",
        "Early and late layers of {more} are more alike than those of {less}",
        factor="first quarter against last quarter",
    ),
    unit="batches",
    rows=rows,
    command=_command,
    run=_run,
    headline=headline,
    figure=cka_figure,
    chart=cka_chart,
    overview=cka_overview,
    said=_said,
    named_by=("view",),
    live=Live(_live),
    caution=_caution,
)
