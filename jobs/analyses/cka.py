"""`cvbench analyze cka`: the minibatch estimator through the unit framework, the full-data ones in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.cka.full import full_cka
from cvbench.engine.analyses.cka.measure import MIN_BATCH, SIZES, MinibatchCka, choose_batch
from cvbench.engine.analyses.cka.result import QUARTERS, cka_json, cka_rows
from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.analyses.cka_view import QUESTIONS, resolve_view
from cvbench.jobs.analyses.measure import analyze, measuring
from cvbench.jobs.analyses.options import CKA, CkaOptions
from cvbench.jobs.figures.cka import cka_heatmaps, cka_views
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import Reading, open_store
from cvbench.jobs.reading.views import view_words
from cvbench.jobs.results.entry import Entry, Live, LiveSetting
from cvbench.jobs.results.keep import Analysed, keep
from cvbench.jobs.results.row import TidyRow
from cvbench.jobs.results.tidy import command_words, selection_of, tidy_row
from cvbench.jobs.results.words import verdict_of
from cvbench.jobs.running.executor import Cluster
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Listener, silent

__all__ = ["ENTRY", "ESTIMATORS", "CkaOptions", "cka", "cka_json", "cka_rows"]

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
        return _full(reading, options)
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


def _full(reading: Reading, options: CkaOptions) -> Analysed:
    """All rows as one batch; nothing is kept per unit, since rows of different units meet in every product."""
    selected, positions = reading.selected, reading.rows

    def read_rows(layer: Layer, rows: slice) -> NDArray[Any]:
        wanted = positions[rows]
        pieces = []
        for unit in selected.units:
            inside = wanted[(wanted >= unit.start) & (wanted < unit.stop)]
            if len(inside):
                pieces.append(reading.layers[layer].read(int(inside[0]), int(inside[-1]) + 1)[inside - inside[0]])
        return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]

    result = full_cka(selected.layers, read_rows, len(positions), estimator=options.estimator)  # type: ignore[arg-type]
    path = keep(reading, result, [options.estimator, reading.identity])
    return Analysed(result, selected, path, len(selected.units))


def tidy_rows(result: Result) -> Iterator[TidyRow]:
    """The summary numbers, then every pair of layers once."""
    yield from headline_rows(result)
    for row in cka_rows(result):
        first, second = row["backbone_a"], row["backbone_b"]
        backbone = first if first == second else f"{first} vs {second}"
        factor = f"{row['tap_a']} vs {row['tap_b']}"
        yield _row(result, backbone, "linear CKA", factor, row)


def headline_rows(result: Result) -> Iterator[TidyRow]:
    """Means within each backbone, of its first against its last quarter, across each pair of backbones; differences."""
    names = list(dict.fromkeys(layer["backbone"] for layer in result.attrs["layers"]))
    meaning = {}  # the summary's own names hold those of the backbones
    for name in names:
        meaning[f"mean of different layers, {name}"] = (name, "mean of different layers")
        meaning[f"{QUARTERS}, {name}"] = (name, QUARTERS)
        for other in names:
            meaning[f"mean, {name} against {other}"] = (f"{name} vs {other}", "mean over all pairs of layers")
            meaning[f"difference, {QUARTERS}, {name} - {other}"] = (f"{name} vs {other}", QUARTERS)
    for entry in result.attrs["summary"]:
        backbone, factor = meaning[entry["name"]]
        metric = f"difference of mean linear CKA{verdict_of(entry).mark}" if "resolved" in entry else "mean linear CKA"
        yield _row(result, backbone, metric, factor, entry, value="value")


def _row(
    result: Result, backbone: str, metric: str, factor: str, numbers: dict[str, Any], value: str = "cka"
) -> TidyRow:
    attrs = result.attrs
    unused = attrs.get("samples_in_units", attrs["samples"]) - attrs["samples"]
    estimate = (numbers[value], numbers["low"], numbers["high"])
    named = f"{factor}, {view_words(attrs)}"
    return tidy_row(result, backbone, metric, named, estimate, attrs["batches"], unused)


def _command(result: Result) -> list[str]:
    attrs = result.attrs
    batch = attrs["batch_size"] if attrs["estimator"] == "minibatch" else None
    return command_words("analyze cka", CKA, selection_of(result), CkaOptions(attrs["estimator"], batch))


def _run(selection: Selection, options: CkaOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    return [cka(selection, options, measuring(on), listen)]


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
    rows=tidy_rows,
    command=_command,
    run=_run,
    figure=cka_heatmaps,
    headline=headline_rows,
    overview=cka_views,
    named_by=("view",),
    live=Live(_live),
    caution=_caution,
)
