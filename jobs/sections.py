"""Which analyses the report knows, in its order, and what their sections share. Importing this imports none of them."""

from __future__ import annotations

import importlib
import math

from cvbench.engine.analyses.base import Result
from cvbench.jobs.section import Section, TidyRow

SECTIONS: dict[str, str] = {
    "cka": "cvbench.jobs.cka:SECTION",
    "similarity": "cvbench.jobs.similarity:SECTION",
    "similarity-images": "cvbench.jobs.similarity:IMAGES_SECTION",
    "spectra": "cvbench.jobs.spectra:SECTION",
    "maps": "cvbench.jobs.maps:SECTION",
    "cam": "cvbench.jobs.cam_rows:SECTION",
    "tsne": "cvbench.jobs.tsne:SECTION",
    "silhouette": "cvbench.jobs.silhouette_rows:SECTION",
    "accuracy": "cvbench.jobs.evaluation.accuracy:SECTION",
    "calibration": "cvbench.jobs.evaluation.calibration:SECTION",
    "imagenet-x": "cvbench.jobs.evaluation.imagenet_x:SECTION",
    "pug": "cvbench.jobs.evaluation.pug:SECTION",
    "robustness": "cvbench.jobs.evaluation.robustness:SECTION",
    "shape-bias": "cvbench.jobs.evaluation.shape_bias:SECTION",
    "invariance": "cvbench.jobs.evaluation.invariance:SECTION",
    "probe": "cvbench.jobs.probe:SECTION",
}
"""Name of an analysis, as in the store -> "module:attribute" of its `Section`. The report's order."""


def section_of(analysis: str) -> Section | None:
    """The section of an analysis; None if this version has none."""
    place = SECTIONS.get(analysis)
    if place is None:
        return None
    module, _, attribute = place.partition(":")
    section: Section = getattr(importlib.import_module(module), attribute)
    return section


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


def bootstrap_options(result: Result) -> list[str]:
    """`--resamples` and `--seed` where they differ from the defaults of the commands."""
    attrs = result.attrs
    resamples, seed = attrs.get("resamples", 2000), attrs.get("seed", 0)
    words = ["--resamples", str(resamples)] if resamples != 2000 else []
    return words + (["--seed", str(seed)] if seed else [])


def end_layers(result: Result) -> list[int]:
    """Numbers of the first and the last layer of each backbone: what a short table shows of many."""
    layers = result.attrs["layers"]
    ends = []
    for name in dict.fromkeys(layer["backbone"] for layer in layers):
        own = [i for i, layer in enumerate(layers) if layer["backbone"] == name]
        ends += [own[0], own[-1]] if len(own) > 1 else own
    return ends
