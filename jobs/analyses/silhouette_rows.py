"""How the report shows silhouettes: tidy rows, the few of the short table, the command, the figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from cvbench.jobs.results.tidy import end_layers, tidy_row

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.silhouette.companions import COMPANIONS
from cvbench.engine.analyses.silhouette.pairs import CLASSES as RESAMPLED
from cvbench.engine.analyses.silhouette.pairs import difference_rows
from cvbench.jobs.figures.silhouette import silhouette_figure, single_layers
from cvbench.jobs.results.keep import Analysed
from cvbench.jobs.results.row import TidyRow
from cvbench.jobs.results.words import CLASSES, verdict_of

NAMES = {
    "micro": "silhouette, mean over samples",
    "macro": "silhouette, mean of class means",
    "negative": "share of samples with negative silhouette",
}
DIFFERENCE = "difference of silhouette"


def tidy_rows(result: Result) -> Iterator[TidyRow]:
    """Every layer and metric: the means and the share below 0, then every class; companions; pairs of backbones."""
    data = result.data
    members, scored = data["members"][1], data["scored"][1]
    for i, j in np.ndindex(*data["micro"][1].shape):
        yield from (_number(result, i, j, name) for name in NAMES)
        over = tuple(float(data[f"macro{end}"][1][i, j]) for end in ("", "_over_classes_low", "_over_classes_high"))
        yield _row(result, i, j, f"silhouette, mean of class means{CLASSES}", over, n=len(members))
        for c, name in enumerate(result.coords["class"]):
            own = tuple(float(data[f"per_class{end}"][1][i, j, c]) for end in ("", "_low", "_high"))
            yield _row(result, i, j, "silhouette of a class", own, scored[c], f": {name}")
    yield from companion_rows(result)
    yield from pair_rows(result)


def companion_rows(result: Result) -> Iterator[TidyRow]:
    """The companions of every layer, of all samples."""
    attrs = result.attrs
    for i, place in enumerate(attrs["layers"]):
        for name, text in COMPANIONS.items():
            if name in result.data:
                value, low, high = (float(result.data[f"{name}{end}"][1][i]) for end in ("", "_low", "_high"))
                factor = f"{place['tap']}, euclidean, {attrs['space']}"
                yield tidy_row(
                    result, place["backbone"], text, factor, (value, low, high), attrs["samples"], _left_out(result)
                )


def pair_rows(result: Result) -> Iterator[TidyRow]:
    """Paired differences between the last layers of two backbones, by every metric, and of the companions."""
    attrs = result.attrs
    for row in difference_rows(result):
        over_classes = row["interval"] == RESAMPLED
        if row["mean"] in COMPANIONS:
            metric, n = f"difference of {COMPANIONS[row['mean']]}", attrs["samples"]
        else:
            what = "over samples" if row["mean"] == "micro" else "of class means"
            metric = f"{DIFFERENCE}, mean {what}{CLASSES if over_classes else ''}"
            n = len(result.coords["class"]) if over_classes else attrs["scored_samples"]
        metric += verdict_of(row).mark
        factor = f"{row['tap_a']} - {row['tap_b']}, {row['metric']}, {row['space']}"
        estimate = (row["difference"], row["low"], row["high"])
        yield tidy_row(result, f"{row['a']} vs {row['b']}", metric, factor, estimate, n, _left_out(result))


def headline_rows(result: Result) -> Iterator[TidyRow]:
    """Differences of means, for these classes and for classes like these; then means and shares below 0 of each
    backbone's first and last layer, by every metric.
    """
    kinds = (f"{DIFFERENCE}, mean over samples", f"{DIFFERENCE}, mean of class means{CLASSES}")
    yield from (row for row in pair_rows(result) if row.metric.startswith(kinds))
    for name in NAMES:
        for metric in range(len(result.attrs["metrics"])):
            for layer in end_layers(result):
                yield _number(result, layer, metric, name)


def _number(result: Result, layer: int, metric: int, name: str) -> TidyRow:
    found = tuple(float(result.data[f"{name}{end}"][1][layer, metric]) for end in ("", "_low", "_high"))
    return _row(result, layer, metric, NAMES[name], found)


def _row(
    result: Result, layer: int, metric: int, text: str, found: tuple[float, ...], n: int | None = None, of: str = ""
) -> TidyRow:
    attrs = result.attrs
    place = attrs["layers"][layer]
    value, low, high = found
    factor = f"{place['tap']}, {attrs['metrics'][metric]}, {attrs['space']}{of}"
    count = attrs["scored_samples"] if n is None else n
    return tidy_row(result, place["backbone"], text, factor, (value, low, high), count, _left_out(result))


def _left_out(result: Result) -> int:
    attrs = result.attrs
    return int(attrs.get("samples_in_units", attrs["samples"]) - attrs["samples"])


def result_figure(result: Result, stem: Path, formats: Sequence[str]) -> list[Path]:
    """One result in one figure."""
    return silhouette_figure([result], stem, formats)


def outcomes_figure(outcomes: Sequence[Analysed], folder: Path) -> list[Path]:
    """The results of one command in one figure, in `folder`; the files written, the CSV last."""
    results, places = [], []
    for outcome in outcomes:
        selected = outcome.selected
        place = {"dataset": selected.dataset, "split": selected.split, "view": selected.view}
        results.append(replace(outcome.result, attrs={**outcome.result.attrs, **place}))
        places.append("-".join(place.values()))
    name = places[0] if len(set(places)) == 1 else outcomes[0].selected.view
    return silhouette_figure(results, folder / f"silhouette-{name}")


def overview(results: Sequence[Result], stem: Path, formats: Sequence[str]) -> list[Path]:
    """All data sets and spaces in one figure, as in Table 1 of the study; nothing if there is one result."""
    shown = single_layers(results)
    return silhouette_figure(shown, stem, formats) if len(shown) > 1 else []


def caution(result: Result) -> list[str]:
    """What is known to be wrong with a result of an earlier version."""
    older = "given the mean distances" in result.attrs["interval"]
    return ["of an earlier version: its intervals within classes are too narrow; make it again"] if older else []
