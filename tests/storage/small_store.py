"""A tiny split and backbone for the tests of the store: 22 samples, units of 8, two taps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.storage.features import ArraySpec, BadSample, Commit, FeatureStore, GroupKey, SplitInfo, Unit
from cvbench.storage.features.ledger import digest
from cvbench.storage.features.units import plan_units
from cvbench.storage.objects.base import Objects

N, UNIT, BATCH = 22, 8, 4
GROUP = GroupKey("digits", "all", "test_vit@32", "pooled")
MAPS = GroupKey("digits", "all", "test_vit@32", "maps")
TAPS = ("blocks.0", "blocks.1")
FINGERPRINT = {"weights": "abc", "preprocess": {"mean": [0.5, 0.5, 0.5], "size": 32}, "precision": "fp32"}
SPECS = (
    ArraySpec("blocks.0", (4,), "float16", ("sample", "channel")),
    ArraySpec("blocks.1", (6,), "float16", ("sample", "channel")),
)
MAP_SPEC = ArraySpec("blocks.0", (2, 3, 4), "float16", ("sample", "row", "column", "channel"))
UNITS = plan_units(N, UNIT)


def split_info(n: int = N, **changes: Any) -> SplitInfo:
    """The split, with some fields changed."""
    fields: dict[str, Any] = {
        "dataset": "digits",
        "split": "all",
        "n": n,
        "dataset_digest": "d1",
        "seed": 0,
        "unit": UNIT,
        "batch": BATCH,
        "classes": ("zéro", "one"),
        "ids": np.array([f"test/{i:05d}" for i in range(n)]),
        "labels": np.arange(n) % 2,
        "factors": {"bbox_x": np.arange(n) * 1.5, "pose": np.array(["left", "right"])[np.arange(n) % 2]},
    }
    return SplitInfo(**(fields | changes))


def features(spec: ArraySpec, n: int = N) -> NDArray[Any]:
    """The right features of a tap, (n, ...): every value names its place."""
    size = int(np.prod(spec.shape))
    tap = sum(map(ord, spec.tap))
    return ((np.arange(n * size) + tap) % 1999).reshape(n, *spec.shape).astype(spec.dtype) / np.float16(8)


def declare(store: FeatureStore, specs: Sequence[ArraySpec] = SPECS, group: GroupKey = GROUP, **codec: str) -> None:
    """Begin the split and declare a group."""
    store.begin(split_info())
    store.declare(group, FINGERPRINT, specs, **codec)


def write_unit(
    store: FeatureStore,
    unit: Unit,
    specs: Sequence[ArraySpec] = SPECS,
    group: GroupKey = GROUP,
    bad: Sequence[BadSample] = (),
) -> Commit:
    """Write and commit one unit batch by batch, the taps in turn, as an extraction does."""
    with store.writer(group, [spec.tap for spec in specs], unit) as writer:
        writer.exclude(bad)
        for offset in range(0, len(unit), BATCH):
            for spec in specs:
                stop = min(unit.start + offset + BATCH, unit.stop)
                writer.write(spec.tap, offset, features(spec)[unit.start + offset : stop])
        return writer.commit(provenance={"cvbench": "0"})


def extract(store: FeatureStore, specs: Sequence[ArraySpec] = SPECS, group: GroupKey = GROUP, **codec: str) -> int:
    """What a job does: declare, then write what is missing; returns the number of units written."""
    declare(store, specs, group, **codec)
    work = store.pending(group, [spec.tap for spec in specs], UNITS)
    for unit, taps in work.items():
        write_unit(store, unit, [spec for spec in specs if spec.tap in taps], group)
    return len(work)


def contents(objects: Objects) -> dict[str, str]:
    """Key -> digest of every object."""
    return {key: digest(objects.get(key) or b"") for key in objects.list()}


def flip_bit(data: bytes, bit: int) -> bytes:
    """`data` with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)
