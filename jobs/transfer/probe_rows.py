"""The rows, the JSON form and the entry of `cvbench transfer probe`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from cvbench.jobs.results.tidy import command_words, selection_of, tidy_row
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Result
from cvbench.engine.probe.result import NUMBERS
from cvbench.jobs.figures.probe import probe_figure
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.keep import Analysed
from cvbench.jobs.results.row import TidyRow
from cvbench.jobs.transfer.probe_options import PROBE, ProbeOptions, ProbeRequest, Schedule

LABELS = {"top1": "top-1", "top5": "top-5", "mean_per_class": "mean per class"}


def probe_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One flat row per layer: names, each number with its interval and the spread of the seeds, the penalties."""
    for i, layer in enumerate(result.attrs["layers"]):
        row: dict[str, Any] = {"backbone": layer["backbone"], "tap": layer["tap"], "recipe": result.attrs["recipe"]}
        for name in NUMBERS:
            for end in ("", "_low", "_high"):
                row[f"{name}{end}"] = _plain(result.data[f"{name}{end}"][1][i])
            row[f"{name}_seed_std"] = _spread(result.data[f"seed_{name}"][1][i])
        row["penalty"] = " ".join(f"{value:.3g}" for value in result.data["penalty"][1][i])
        row["seeds"] = len(result.coords["seed"])
        row["samples"] = result.attrs["samples"]
        yield {**row, "variant": result.attrs["variant"]}


def probe_json(outcomes: Sequence[Analysed]) -> dict[str, Any]:
    """The JSON form of `cvbench transfer probe --format json`; undefined numbers are null.

    "rows" are tidy; "results" has the same and more, one entry per data set and layer.
    """
    results = []
    for outcome in outcomes:
        result = outcome.result
        recall = [result.data[f"recall{end}"][1] for end in ("", "_low", "_high")]
        for i, row in enumerate(probe_rows(result)):
            classes = [
                {"class": name, "samples": int(n), **dict(zip(("recall", "low", "high"), values, strict=True))}
                for name, n, *values in zip(
                    result.coords["class"],
                    result.data["members"][1],
                    *(part[i].tolist() for part in recall),
                    strict=True,
                )
            ]
            tried = result.attrs["tried"][i]
            seeds = {name: result.data[f"seed_{name}"][1][i].tolist() for name in NUMBERS}
            names = {
                "dataset": outcome.selected.dataset,
                "split": outcome.selected.split,
                "view": outcome.selected.view,
            }
            results.append({**names, **row, "per_seed": seeds, "tried": tried, "per_class": classes})
    attrs = outcomes[0].result.attrs
    keys = ("options", "confidence", "interval")
    notes = [f"{outcome.selected.dataset}: {note}" for outcome in outcomes for note in outcome.result.attrs["notes"]]
    rows = [asdict(row) for row in probe_tidy(outcomes)]
    return {"rows": rows, "results": results, **{key: attrs[key] for key in keys}, "notes": notes}


def probe_tidy(outcomes: Sequence[Analysed]) -> list[TidyRow]:
    """Every number in the one schema of all tables."""
    return [row for outcome in outcomes for row in tidy_rows(outcome.named)]


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _spread(values: NDArray[np.float64]) -> float | None:
    return _plain(values.std(ddof=1)) if len(values) > 1 else None


def tidy_rows(result: Result) -> Iterator[TidyRow]:
    """Every layer's numbers, then the recall of every class."""
    yield from headline_rows(result)
    attrs = result.attrs
    for i, layer in enumerate(attrs["layers"]):
        for c, name in enumerate(result.coords["class"]):
            found = tuple(result.data[f"recall{end}"][1][i, c] for end in ("", "_low", "_high"))
            n = int(result.data["members"][1][c])
            factor = f"{layer['tap']}, {attrs['recipe']}: {name}"
            yield tidy_row(result, layer["backbone"], "linear probe, recall of a class", factor, found, n)


def headline_rows(result: Result) -> Iterator[TidyRow]:
    """Top-1, top-5 and mean per class of every layer."""
    attrs = result.attrs
    for i, layer in enumerate(attrs["layers"]):
        for name, label in LABELS.items():
            found = tuple(result.data[f"{name}{end}"][1][i] for end in ("", "_low", "_high"))
            factor = f"{layer['tap']}, {attrs['variant']}"
            metric = f"linear probe, {label}"
            yield tidy_row(result, layer["backbone"], metric, factor, found, attrs["samples"], attrs["failed"])


def _command(result: Result) -> list[str]:
    attrs = result.attrs
    layers = selection_of(result)
    request = ProbeRequest(
        store=layers.store,
        datasets=(attrs["dataset"],),
        backbones=layers.backbones,
        view=layers.view,
        taps=layers.taps,
        train=attrs["train_split"],
        val=attrs["val_asked"] or None,
        test=attrs["split"],
        partial=attrs.get("partial", False),
    )
    options = ProbeOptions(**{**attrs["options"], "schedule": Schedule(**attrs["options"]["schedule"])})
    return command_words("transfer probe", PROBE, request, options)


def draw_probes(results: Sequence[Result], stem: Path, formats: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Draw results beside each other; `attrs` names `dataset`. See `probe_figure`."""
    rows = [{"dataset": result.attrs["dataset"], **row} for result in results for row in probe_rows(result)]
    return probe_figure(rows, results[0].attrs["confidence"], stem, formats)


def _figure(result: Result, stem: Path, formats: Sequence[str]) -> list[Path]:
    return draw_probes([result], stem, formats)


def _overview(results: Sequence[Result], stem: Path, formats: Sequence[str]) -> list[Path]:
    """All data sets in one figure; nothing if there is one."""
    places = {result.attrs["dataset"] for result in results}
    return draw_probes(results, stem, formats) if len(places) > 1 else []


ENTRY = Entry(
    name="probe",
    title="Transfer: linear probe",
    about=(
        "How well a linear classifier on the frozen features tells the classes of a data set apart: the features stay, "
        "only the classifier is fitted, on the training split, with its penalty chosen on validation samples, and is "
        "tested once. Shown are top-1 and the mean of the classes' recalls, over the seeds; intervals are over the "
        "test samples, given the fitted probes: Wilson's, at the effective number of samples. The recipe, the splits "
        "and the solver stand with each number: compare only what has the same. Sources: Radford et al. 2021 "
        "(clip_lbfgs), CLIP_benchmark (clip_benchmark)."
    ),
    rows=tidy_rows,
    command=_command,
    figure=_figure,
    headline=headline_rows,
    overview=_overview,
)
