"""`transfer probe --keep-logits`: what a fitted probe says of the test samples, kept as the logits of a backbone.

The backbone is called BACKBONE+probe, so that it stands beside the network's own head, where that has one. A network
without a classifier, such as a self-supervised one, so gets all that reads logits: accuracy, calibration, comparisons.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.engine.probe.parts import ProbeRun
from cvbench.errors import UsageError
from cvbench.jobs.reading.matrix import Matrices
from cvbench.storage.features import ArraySpec, BadSample, GroupKey

VIEW = "logits"
SUFFIX = "+probe"
_BELOW = np.float32(1e4)


def check_kept(layers: Sequence[Layer]) -> None:
    """Refuse several layers of one backbone: it has one head.

    Raises:
        UsageError: Naming both.
    """
    seen: dict[str, Layer] = {}
    for layer in layers:
        if (other := seen.setdefault(layer.backbone, layer)) != layer:
            raise UsageError(
                f"--keep-logits is of one layer a backbone, and {other} and {layer} are probed",
                fix=f"--taps {layer.tap}, or --view head",
            )


def keep_logits(
    test: Matrices, layers: Sequence[Layer], runs: Sequence[Sequence[ProbeRun]], identity: Mapping[str, Any]
) -> list[str]:
    """Write the logits of the first seed of each layer; those that are there already stay.

    Args:
        test: The test samples.
        layers, runs: For each layer its runs.
        identity: What the probes depend on: part of the fingerprint.

    Returns:
        What was kept, in sentences.

    Raises:
        FingerprintMismatchError: The store holds those of another probe.
        UsageError: A probe diverged.
    """
    selected, store = test.selected, test.store
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
    said = []
    for layer, its in zip(layers, runs, strict=True):
        logits = _finite(its[0].logits, layer)
        group = GroupKey(selected.dataset, selected.split, layer.backbone + SUFFIX, VIEW)
        fingerprint = {
            "dataset_digest": test.info.dataset_digest,
            "view": VIEW,
            "kind": VIEW,
            "probe_of": str(layer),
            "probe_view": selected.view,
            "probe": digest,
        }
        store.agree(group, fingerprint)
        store.declare(group, fingerprint, [ArraySpec(VIEW, (logits.shape[1],), "float32", ("sample", "channel"))])
        pending, at = set(store.pending(group, [VIEW], selected.units)), 0
        for unit, rows in test.kept:
            own, at = logits[at : at + len(rows)], at + len(rows)
            if unit not in pending:
                continue
            values = np.full((len(unit), logits.shape[1]), np.nan, np.float32)
            values[rows] = own
            lacking = np.setdiff1d(np.arange(len(unit)), rows).tolist()
            ids = test.info.ids
            bad = [BadSample(unit.start + i, str(ids[unit.start + i]), "no-features", "not read") for i in lacking]
            with store.writer(group, [VIEW], unit) as writer:
                writer.exclude(bad)
                writer.write(VIEW, 0, values)
                writer.commit(bad, {"probe": True})
        said.append(f"the logits of the probe of {layer} are kept as {group.backbone}, for `cvbench eval`")
    return said


def _finite(logits: NDArray[np.float32], layer: Layer) -> NDArray[np.float32]:
    """Classes without a training sample lie far below all others, instead of at -inf."""
    finite = np.isfinite(logits)
    if not finite.any(axis=1).all() or np.isnan(logits).any() or np.isposinf(logits).any():
        raise UsageError(f"the probe of {layer} diverged, so its logits are not kept", fix="leave --keep-logits out")
    lowest = np.where(finite, logits, np.inf).min(axis=1, keepdims=True)
    return np.where(finite, logits, lowest - _BELOW).astype(np.float32)
