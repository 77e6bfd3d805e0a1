"""What the sections of the analyses share: tidy rows, and the options that make a result again."""

from __future__ import annotations

import math

from cvbench.engine.analyses.base import Result
from cvbench.engine.statistics.options import USUAL, IntervalOptions
from cvbench.jobs.results.section import TidyRow


def tidy_row(
    result: Result,
    backbone: str,
    metric: str,
    factor: str,
    estimate: tuple[float | None, float | None, float | None],
    n: int,
    n_failed: int = 0,
) -> TidyRow:
    """One row of `result`; `estimate` is value, low, high, where NaN becomes None."""
    attrs = result.attrs
    value, low, high = (None if v is None or not math.isfinite(v) else float(v) for v in estimate)
    place = (attrs["run"], attrs["dataset"], attrs["split"])
    return TidyRow(*place, backbone, metric, factor, value, low, high, int(n), int(n_failed))


def selection_options(result: Result) -> list[str]:
    """The options that select the layers of `result` again, the view apart.

    One pattern of `--taps` holds for all backbones, so the names of all layers together select exactly these. They are
    left out if `attrs["all_taps"]` says that the result has every layer that the store has.
    """
    attrs = result.attrs
    words = ["--dataset", attrs["dataset"], "--split", attrs["split"]]
    for backbone in dict.fromkeys(layer["backbone"] for layer in attrs["layers"]):
        words += ["--backbone", backbone]
    if not attrs.get("all_taps", False):
        for tap in dict.fromkeys(layer["tap"] for layer in attrs["layers"]):
            words += ["--taps", tap]
    return words


def interval_words(options: IntervalOptions) -> list[str]:
    """The options of the intervals as they are typed, those at their default left out."""
    words = ["--resamples", str(options.resamples)] if options.resamples != USUAL.resamples else []
    return words + (["--seed", str(options.seed)] if options.seed != USUAL.seed else [])


def bootstrap_options(result: Result) -> list[str]:
    """`interval_words` of a result."""
    given = {name: result.attrs[name] for name in ("resamples", "seed") if name in result.attrs}
    return interval_words(IntervalOptions(**given))


def end_layers(result: Result) -> list[int]:
    """Numbers of the first and the last layer of each backbone: what a short table shows of many."""
    layers = result.attrs["layers"]
    ends = []
    for name in dict.fromkeys(layer["backbone"] for layer in layers):
        own = [i for i, layer in enumerate(layers) if layer["backbone"] == name]
        ends += [own[0], own[-1]] if len(own) > 1 else own
    return ends
