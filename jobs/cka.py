"""`cvbench analyze cka`: the minibatch estimator through the unit framework, the full-data ones in this process."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.cka import MinibatchCka, choose_batch
from cvbench.engine.analyses.cka_full import full_cka
from cvbench.engine.analyses.cka_result import cka_json, cka_rows
from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.analyze import Analysed, Selected, Selection, analyze, features_identity, keep, readable_rows, select
from cvbench.jobs.executor import Cluster
from cvbench.jobs.progress import Listener, silent
from cvbench.jobs.request import absolute
from cvbench.storage.features import FeatureStore

__all__ = ["ESTIMATORS", "CkaOptions", "cka", "cka_json", "cka_rows"]

ESTIMATORS = ("minibatch", "debiased", "biased")


@dataclass(frozen=True)
class CkaOptions:
    """Attributes:
    estimator: "minibatch" (HSIC1 summed over batches, with intervals), "debiased" or "biased" (all rows at once).
    batch: Samples per batch; None chooses so that there are at least 30 batches, if there can be.
    resamples, seed: Of the bootstrap.
    """

    estimator: str = "minibatch"
    batch: int | None = None
    resamples: int = 2000
    seed: int = 0


def cka(selection: Selection, options: CkaOptions, cluster: Cluster, listen: Listener = silent) -> Analysed:
    """CKA of every pair of the selected layers; the result is kept in the store.

    Raises:
        UsageError: An unknown estimator, or fewer than 4 samples in a batch.
    """
    if options.estimator not in ESTIMATORS:
        raise UnknownNameError.among("estimator", options.estimator, ESTIMATORS, fix=", ".join(ESTIMATORS))
    selection = Selection(**{**asdict(selection), "store": absolute(selection.store)})
    selected = select(FeatureStore.open(selection.store), selection)  # for reading: an analysis never makes a store
    store = FeatureStore.open(selection.store, mode="a")
    if options.estimator != "minibatch":
        return _full(store, selected, options)
    largest = max(len(unit) for unit in selected.units)
    batch = options.batch or choose_batch(largest, selected.samples)
    if batch > largest:
        raise UsageError(
            f"a CKA batch of {batch} does not fit a unit of {largest} samples",
            where="--cka-batch",
            fix=f"--cka-batch {largest} or less",
        )
    analysis = MinibatchCka(batch=batch, resamples=options.resamples, seed=options.seed)
    return analyze(analysis, store, selected, cluster, listen)


def _full(store: FeatureStore, selected: Selected, options: CkaOptions) -> Analysed:
    """All rows as one batch; nothing is kept per unit, since rows of different units meet in every product."""
    features = {layer: store.layer(selected.group(layer), layer.tap) for layer in selected.layers}
    positions = np.concatenate([unit.start + readable_rows(features.values(), unit) for unit in selected.units])

    def read_rows(layer: Layer, rows: slice) -> NDArray[Any]:
        wanted = positions[rows]
        pieces = []
        for unit in selected.units:
            inside = wanted[(wanted >= unit.start) & (wanted < unit.stop)]
            if len(inside):
                pieces.append(features[layer].read(int(inside[0]), int(inside[-1]) + 1)[inside - inside[0]])
        return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]

    result = full_cka(selected.layers, read_rows, len(positions), estimator=options.estimator)  # type: ignore[arg-type]
    path = keep(store, selected, result, [options.estimator, features_identity(store, selected)])
    return Analysed(result, selected, path, len(selected.units))
