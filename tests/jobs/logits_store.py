"""Stores that hold given logits, as an extraction would have left them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.storage.features import ArraySpec, BadSample, FeatureStore, GroupKey, SplitInfo
from cvbench.storage.features.units import plan_units

UNIT, BATCH = 16, 8


def write_logits(
    store: Path,
    logits: Mapping[str, NDArray[Any]],
    labels: Sequence[int] | NDArray[Any],
    classes: Sequence[str],
    *,
    dataset: str = "birds",
    split: str = "all",
    ids: Sequence[str] | None = None,
    factors: Mapping[str, NDArray[Any]] | None = None,
    bad: Sequence[int] = (),
    units: int | None = None,
    unit: int = UNIT,
) -> str:
    """Backbone -> (n, k) logits in store order, written and committed; the store's URL.

    Args:
        bad: Rows of unreadable samples.
        units: How many units are committed; None: all.
    """
    n = len(labels)
    opened = FeatureStore.open(store, mode="a")
    names = list(ids) if ids is not None else [f"image-{i:05d}.png" for i in range(n)]
    info = SplitInfo(
        dataset, split, n, "digest", 0, unit, BATCH, tuple(classes), np.array(names), np.asarray(labels), factors or {}
    )
    opened.begin(info)
    for backbone, values in logits.items():
        group = GroupKey(dataset, split, backbone, "logits")
        opened.declare(
            group, {"model": backbone}, [ArraySpec("logits", values.shape[1:], "float32", ("sample", "channel"))]
        )
        for one in plan_units(n, unit)[:units]:
            with opened.writer(group, ["logits"], one) as writer:
                writer.exclude(
                    BadSample(row, names[row], "corrupt", "cut") for row in bad if one.start <= row < one.stop
                )
                writer.write("logits", 0, values[one.start : one.stop].astype(np.float32))
                writer.commit()
    return str(store)


def noisy_logits(labels: NDArray[np.int64], classes: int, strength: float, seed: int = 0) -> NDArray[np.float32]:
    """(n, classes) normal logits with `strength` added to the true class: the larger, the more are right."""
    values = np.random.default_rng(seed).standard_normal((len(labels), classes)).astype(np.float32)
    values[np.arange(len(labels)), labels] += np.float32(strength)
    return values
