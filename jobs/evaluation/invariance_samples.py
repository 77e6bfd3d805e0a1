"""The samples of every setting of a transform: the same rows throughout, seen by the same backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from cvbench.engine.analyses.base import Layer
from cvbench.errors import CvbenchError, IntegrityError, UsageError
from cvbench.jobs.evaluation.options import EvalOptions
from cvbench.jobs.evaluation.samples import Samples, open_samples
from cvbench.jobs.evaluation.settings import Grid
from cvbench.jobs.reading.selection import Selection
from cvbench.storage.datasets.variant import RESOLUTION, Values, values_text
from cvbench.storage.features import FeatureStore

_KEPT = ("model", "weights_digest", "image_size", "preset", "preprocess", "precision", "kind")
_KEPT_RESIZED = ("model", "preset", "precision", "kind")  # position embeddings of another grid are other weights


@dataclass(frozen=True, eq=False)
class Setting:
    """The samples of one setting of one backbone."""

    samples: Samples
    layer: Layer


Settings = dict[str, dict[Values, Setting]]


def open_settings(store: FeatureStore, grid: Grid, options: EvalOptions) -> Settings:
    """The samples of all settings, the same rows for each.

    Raises:
        IntegrityError: The settings are of different samples.
        UsageError: They are of different weights, or no sample could be read in all.
        IncompleteError: As in `open_samples`.
    """
    wanted: dict[str, list[str]] = {}
    for own in grid.found.values():
        for group in own.values():
            wanted.setdefault(group.dataset, []).append(group.backbone)
    opened = {
        dataset: open_samples(store, Selection(store.url, dataset, grid.split, tuple(dict.fromkeys(names))), options)
        for dataset, names in wanted.items()
    }
    first = next(iter(opened.values()))
    for samples in opened.values():
        same = np.array_equal(samples.info.ids, first.info.ids) and np.array_equal(
            samples.info.labels, first.info.labels
        )
        if not same:
            raise IntegrityError(
                "the settings are not of the same samples in the same order",
                where=f"{samples.where} and {first.where}",
                why="the data set, its split or --seed differed between the extractions",
                fix="extract them again into one new store",
            )
    rows = reduce(np.intersect1d, [samples.rows for samples in opened.values()])
    if not len(rows):
        raise UsageError("no sample could be read in every setting", where=store.url)
    taken = {dataset: samples.take(np.isin(samples.rows, rows)) for dataset, samples in opened.items()}
    settings = {
        name: {
            values: Setting(taken[group.dataset], _layer(taken[group.dataset], group.backbone))
            for values, group in own.items()
        }
        for name, own in grid.found.items()
    }
    for name, ones in settings.items():
        _same_backbone(name, grid, ones)
    return settings


def _layer(samples: Samples, backbone: str) -> Layer:
    return next(layer for layer in samples.selected.layers if layer.backbone == backbone)


def _same_backbone(name: str, grid: Grid, own: Mapping[Values, Setting]) -> None:
    """Refuse to call a change of the weights an effect of the transform."""
    fields = _KEPT_RESIZED if grid.transform == RESOLUTION else _KEPT
    records = {
        values: {key: made.get(key) for key in fields}
        for values, one in own.items()
        for made in [one.samples.made_from()[one.layer.backbone]]
    }
    first = records[grid.start[name]]
    for values, record in records.items():
        differing = [key for key in fields if record[key] != first[key]]
        if differing:
            raise UsageError(
                f"{name} is not the same backbone at {grid.transform}={values_text(values)}: {', '.join(differing)}",
                where=f"{grid.dataset}/{grid.split}",
                why="a difference would be that of the backbones",
                fix="extract all with the same --weights, --image-size, --preprocess, --decoder and --precision",
            )


def home_of(store: FeatureStore, grid: Grid, fallback: Samples, options: EvalOptions) -> Samples:
    """Choose where the result is kept: under the data set itself if its own logits are there, else under a variant."""
    if fallback.info.dataset == grid.dataset:
        return fallback
    try:
        return open_samples(store, Selection(store.url, grid.dataset, grid.split), replace(options, partial=True))
    except CvbenchError:
        return fallback
