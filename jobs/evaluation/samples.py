"""The samples of a data set that an evaluation counts, and their logits, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.errors import IncompleteError, IntegrityError, UsageError
from cvbench.jobs.evaluation.imported import PREDICTIONS, expand, outputs
from cvbench.jobs.evaluation.options import EvalOptions
from cvbench.jobs.reading.again import extract_again
from cvbench.jobs.reading.completeness import check_complete
from cvbench.jobs.reading.lineage import warnings
from cvbench.jobs.reading.reading import Reading, read, readable_rows
from cvbench.jobs.reading.selection import Selected, Selection
from cvbench.storage.datasets import spec_of_key
from cvbench.storage.datasets.variant import base_name
from cvbench.storage.features import FeatureLayer, FeatureStore, SplitInfo

VIEW = "logits"

_BLOCK = 4096
_MADE_FROM = ("model", "weights_digest", "image_size", "preset", "preprocess", "precision", "imported", "kind")
I64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of a data set that count: committed, readable and labelled, the same for every backbone.

    Attributes:
        rows: (n,) int64 store positions, ascending; what is per sample is in this order.
        failed: Committed samples that do not count.
        notes: What a reader must know.
    """

    reading: Reading
    rows: I64
    failed: int
    notes: tuple[str, ...] = ()

    @property
    def selected(self) -> Selected:
        """The layers and units."""
        return self.reading.selected

    @property
    def info(self) -> SplitInfo:
        """The frozen settings and sample table of the split."""
        return self.reading.info

    @property
    def where(self) -> str:
        """Data set and split."""
        return self.reading.where

    @property
    def labels(self) -> I64:
        """(n,) int64."""
        labels: I64 = self.info.labels[self.rows]
        return labels

    @property
    def ids(self) -> list[str]:
        """(n,) ids."""
        return [str(name) for name in self.info.ids[self.rows]]

    def factor(self, name: str) -> NDArray[Any]:
        """(n,) of a factor.

        Raises:
            UsageError: The data set has no such factor.
        """
        if name not in self.info.factors:
            held = ", ".join(self.info.factors) or "none"
            raise UsageError(
                f"{self.where} has no factor {name!r}", where=self.reading.store.url, why=f"its factors: {held}"
            )
        values: NDArray[Any] = self.info.factors[name][self.rows]
        return values

    def outputs(self, layer: Layer) -> int:
        """Width of the logits."""
        stored = self.reading.layers[layer]
        return outputs(stored.attrs, self.where) or stored.shape[1]

    def kind(self, layer: Layer) -> str:
        """Kind of the logits: "logits", or that of the imported predictions."""
        return str(self.reading.layers[layer].attrs.get(PREDICTIONS, VIEW))

    def take(self, chosen: NDArray[np.bool_]) -> Samples:
        """Some of the samples, by a mask over `rows`."""
        return replace(self, rows=self.rows[chosen])

    def blocks(self, layer: Layer) -> Iterator[tuple[slice, NDArray[Any]]]:
        """(which of `rows`, (m, outputs) logits), in order.

        Raises:
            IntegrityError: Values that are not finite.
        """
        stored, done = self.reading.layers[layer], 0
        for start, stop in _ranges(self.rows, self.info.unit):
            values = stored.read(start, stop)
            inside = self.rows[done : done + np.searchsorted(self.rows[done:], stop)] - start
            if len(inside) < len(values):
                values = values[inside]
            bad = int((~np.isfinite(values).all(axis=1)).sum())
            if bad:
                raise IntegrityError(
                    f"the logits of {bad} readable samples are not finite",
                    where=f"{self.where}: {layer.backbone}",
                    fix="extract them again with --precision fp32 or bf16",
                )
            width = outputs(stored.attrs, self.where)
            if width is not None:
                values = expand(values, width, f"{self.where}: {layer.backbone}")
            yield slice(done, done + len(inside)), values
            done += len(inside)

    def made_from(self) -> dict[str, dict[str, Any]]:
        """Backbone -> what its numbers depend on: model, weights, image size, preprocessing, or the imported file."""
        records = {}
        for layer in self.selected.layers:
            fingerprint = self.reading.fingerprints[self.selected.group(layer).path]["fingerprint"]
            records[layer.backbone] = {name: fingerprint[name] for name in _MADE_FROM if name in fingerprint}
        return records

    def identity(self) -> dict[str, Any]:
        """Identity of these samples, for the results that depend on them."""
        return self.reading.identity


def open_samples(store: FeatureStore, selection: Selection, options: EvalOptions) -> Samples:
    """The samples of a data set, with the logits of the selected backbones.

    Raises:
        IncompleteError: Logits of a part of the data set only, and `options.partial` is not set.
        UsageError: No sample has a label.
        UnknownNameError, DataUnavailableError: See `select`.
    """
    reading = read(replace(selection, view=VIEW, taps=()), store, imported=True)
    selected, info = reading.selected, reading.info
    notes = []
    if selected.samples < info.n:
        if not options.partial:
            raise _partial(store, selected, info)
        notes.append(f"partial: {selected.samples:,} of the {info.n:,} samples of {info.dataset}/{info.split}")
    spec = spec_of_key(base_name(info.dataset))
    notes += check_complete(spec, info.split, info.n, where=store.url, partial=options.partial)
    notes += warnings(reading.commits)
    own = {layer.backbone: _readable(stored, selected) for layer, stored in reading.layers.items()}
    rows = reading.rows
    labelled = rows[info.labels[rows] >= 0]
    if not len(labelled):
        raise UsageError(
            f"no readable sample of {info.dataset}/{info.split} has a label", where=store.url, why="every label is -1"
        )
    if len(labelled) < len(rows):
        notes.append(f"{len(rows) - len(labelled):,} samples of {info.dataset} have no label and do not count")
    failed = selected.samples - len(labelled)
    notes += _lacking(own, len(rows), f"{info.dataset}/{info.split}")
    return Samples(reading, labelled, failed, tuple(notes))


def _readable(layer: FeatureLayer, selected: Selected) -> I64:
    """(m,) int64 store positions, ascending."""
    return np.concatenate([unit.start + readable_rows([layer], unit) for unit in selected.units]).astype(np.int64)


def _lacking(own: Mapping[str, I64], kept: int, where: str) -> Iterator[str]:
    """Backbones without samples that another has: they make the n of every backbone smaller."""
    some = len(reduce(np.union1d, own.values()))
    if kept < some:
        for backbone, rows in own.items():
            if len(rows) < some:
                yield (
                    f"{backbone} lacks {some - len(rows):,} samples of {where} that another backbone has; all are "
                    f"scored on the {kept:,} that every one has"
                )


def _ranges(rows: I64, unit: int) -> Iterator[tuple[int, int]]:
    """Ranges of the store that hold all of the rows, each within a unit and of `_BLOCK` rows at most."""
    size = min(unit, _BLOCK)
    for index in np.unique(rows // unit).tolist():
        inside = rows[np.searchsorted(rows, index * unit) : np.searchsorted(rows, (index + 1) * unit)]
        first, last = int(inside[0]), int(inside[-1]) + 1
        for start in range(first, last, size):
            yield start, min(start + size, last)


def _partial(store: FeatureStore, selected: Selected, info: SplitInfo) -> IncompleteError:
    names: Sequence[str] = list(dict.fromkeys(layer.backbone for layer in selected.layers))
    return IncompleteError(
        f"logits of {selected.samples:,} of the {info.n:,} samples of {info.dataset}/{info.split} are there",
        where=f"{store.url}: {', '.join(names)}",
        why="a benchmark's number is over its whole data set",
        fix=f"{extract_again(store, (info.dataset, info.split), backbones=names, view=VIEW)}  # all; or --partial",
    )
