"""From HSIC of all pairs of layers to a labelled CKA result: interval, summary numbers, undefined layers named.

Intervals are a jackknife over batches: the sums of HSIC without each batch, and whatever follows from them, the ends
made on the atanh scale, where a CKA is nearer to normal (`cvbench.engine.statistics.jackknife`). It covers from two
batches on, where a percentile bootstrap over few batches is too narrow. A batch with a sample far out moves the sums
much, so the batches are skewed, the more the heavier the tails of the features are: Student's t alone covers 90 to 92 %
of some means there, the hull with Hall's interval 93 % and more. Differences of backbones on the same batches are
hardly skewed, and Student's t of them resolves equals in 4.5 to 6 %.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.cka import hsic
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.jackknife import jackknife_interval
from cvbench.engine.statistics.verdict import judge

F64 = NDArray[np.float64]

INTERVAL = (
    "jackknife over batches, the hull of Student's t and of Hall's t without skewness (1992), on the atanh scale "
    "(differences: Student's t, as they are)"
)
BLOCK_BYTES = 2**26
"""What the CKA without each of some batches may take at once."""
DIFFERENT = "mean of different layers"
QUARTERS = "first quarter against last quarter"
COMPARED = (DIFFERENT, QUARTERS)
"""Means of one backbone by which two are compared."""


def cka_result(layers: Sequence[Layer], batches: F64, attrs: Mapping[str, Any]) -> Result:
    """The result of L layers.

    Args:
        layers: L layers; those of one backbone follow each other in forward order.
        batches: (n, L, L) float64 HSIC of every pair, per batch; summed in this order. One batch: no interval.
        attrs: estimator, batch_size, samples, dropped; confidence of the intervals.

    Returns:
        Dimensions layer, other, labelled "backbone/tap". cka, low, high, hsic (L, L) float64. NaN only for layers named
        in attrs["undefined"], and in low and high if there is no interval, which attrs["notes"] then says.
        attrs["summary"]: list of {"name", "value", "low", "high"}; a difference also has "p" and "resolved": all
        differences are judged together (Holm), by Student's t over batches.
    """
    total = batches.sum(axis=0)
    value = hsic.cka(total)
    numbers = _numbers(layers, np.isfinite(np.diagonal(value)))
    point = numbers.of(total[None])[0]
    low, high, p, notes = _interval(batches, numbers.of, point, len(numbers.gaps), attrs)
    if attrs["dropped"]:
        notes.append(f"{attrs['dropped']} readable samples fill no batch of {attrs['batch_size']} and are left out")
    pairs, dims = slice(0, numbers.pairs), ("layer", "other")
    return Result(
        name="cka",
        coords={key: [str(layer) for layer in layers] for key in dims},
        data={
            "cka": (dims, value),
            "low": (dims, _mirrored(low[pairs], len(layers))),
            "high": (dims, _mirrored(high[pairs], len(layers))),
            "hsic": (dims, total),
        },
        attrs={
            **attrs,
            "kernel": "linear",
            "batches": len(batches),
            "layers": [{"backbone": layer.backbone, "tap": layer.tap} for layer in layers],
            "undefined": list(_undefined(layers, total)),
            "notes": notes,
            "summary": _summary(numbers, np.stack([point, low, high, p]), len(batches), attrs),
        },
    )


@dataclass(frozen=True)
class _Numbers:
    """The numbers of a result of L layers, in this order: every pair, means of some pairs, differences of two means."""

    layers: int
    groups: Mapping[str, tuple[NDArray[np.intp], ...]]  # name of a mean -> (rows, columns) of its pairs
    gaps: Mapping[str, tuple[int, int]]  # name of a difference -> the numbers of its means

    @property
    def pairs(self) -> int:
        """Count the pairs, a layer with itself included."""
        return self.layers * (self.layers + 1) // 2

    def of(self, sums: F64) -> F64:
        """(k, L, L) sums of HSIC -> (k, numbers)."""
        table: F64 = hsic.cka(sums)
        rows, columns = np.triu_indices(self.layers)
        means = np.empty((len(sums), len(self.groups)))
        for at, (first, second) in enumerate(self.groups.values()):
            means[:, at] = table[:, first, second].mean(axis=1)
        between = [means[:, a] - means[:, b] for a, b in self.gaps.values()]
        return np.column_stack([table[:, rows, columns], means, *between])


def _numbers(layers: Sequence[Layer], defined: NDArray[np.bool_]) -> _Numbers:
    groups = _summary_groups(layers, defined)
    return _Numbers(len(layers), groups, _differences(layers, groups))


def _summary(numbers: _Numbers, found: F64, batches: int, attrs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Means and differences; (4, numbers) value, low, high, p of all numbers."""
    gaps = found[:, found.shape[1] - len(numbers.gaps) :].T
    compared = [Estimate(value, low, high, batches, p) for value, low, high, p in gaps]
    judged = judge(compared, confidence=attrs.get("confidence", 0.95), least=0)
    said = {
        name: {"p": _number(one.p), "resolved": one.verdict.flag}
        for name, one in zip(numbers.gaps, judged, strict=True)
    }
    names = [*numbers.groups, *numbers.gaps]
    return [
        {"name": name, "value": _number(value), "low": _number(low), "high": _number(high), **said.get(name, {})}
        for name, (value, low, high, _) in zip(names, found[:, numbers.pairs :].T, strict=True)
    ]


def _interval(
    batches: F64, statistic: Callable[[F64], F64], point: F64, differences: int, attrs: Mapping[str, Any]
) -> tuple[F64, F64, F64, list[str]]:
    """Low, high and p of each number, the last ones of which are differences, and what must be said of them."""
    none = np.full(len(point), np.nan)
    if len(batches) < 2:
        return none, none, none, ["no interval: n too small, it is over batches, and there is one batch"]
    total, step = batches.sum(axis=0), max(1, BLOCK_BYTES // batches[0].nbytes)
    left_out = np.concatenate(
        [statistic(total - batches[start : start + step]) for start in range(0, len(batches), step)]
    )
    plain = np.arange(len(point)) >= len(point) - differences
    single = jackknife_interval(point, left_out, confidence=attrs["confidence"], scale="atanh", skewed=True)
    gaps = jackknife_interval(point, left_out, confidence=attrs["confidence"])
    low, high = (np.where(plain, getattr(gaps, end), getattr(single, end)) for end in ("low", "high"))
    notes = []
    without = int((np.isfinite(point) & ~np.isfinite(low)).sum())
    if without:
        notes.append(f"{without} numbers: no interval: n too small, without one batch a layer's HSIC is not positive")
    return low, high, gaps.p, notes


def _summary_groups(layers: Sequence[Layer], defined: NDArray[np.bool_]) -> dict[str, tuple[NDArray[np.intp], ...]]:
    """Name of a summary number -> (rows, columns) of the entries it is the mean of; undefined layers left out."""
    backbones = list(dict.fromkeys(layer.backbone for layer in layers))
    members = {name: [i for i, layer in enumerate(layers) if layer.backbone == name] for name in backbones}
    groups = {}
    for at, first in enumerate(backbones):
        mine = [i for i in members[first] if defined[i]]
        groups[f"{DIFFERENT}, {first}"] = _pairs(mine, mine)
        quarter = max(1, len(members[first]) // 4)
        shallow, deep = members[first][:quarter], members[first][-quarter:]
        groups[f"{QUARTERS}, {first}"] = _pairs([i for i in shallow if defined[i]], [i for i in deep if defined[i]])
        for second in backbones[at + 1 :]:
            groups[f"mean, {first} against {second}"] = _pairs(mine, [j for j in members[second] if defined[j]])
    return {name: pairs for name, pairs in groups.items() if len(pairs[0])}


def _differences(layers: Sequence[Layer], groups: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Name of a difference between two backbones -> the numbers of the groups it is of."""
    backbones, at = list(dict.fromkeys(layer.backbone for layer in layers)), list(groups)
    found = {}
    for first, second in itertools.combinations(backbones, 2):
        for mean in COMPARED:
            names = [f"{mean}, {name}" for name in (first, second)]
            if all(name in groups for name in names):
                found[f"difference, {mean}, {first} - {second}"] = (at.index(names[0]), at.index(names[1]))
    return found


def _pairs(rows: Sequence[int], columns: Sequence[int]) -> tuple[NDArray[np.intp], ...]:
    found = [(i, j) for i in rows for j in columns if i != j]
    return tuple(np.array(found, dtype=np.intp).reshape(-1, 2).T)


def _undefined(layers: Sequence[Layer], total: F64) -> Iterator[dict[str, str]]:
    for layer, own in zip(layers, np.diagonal(total), strict=True):
        if own > 0:
            continue
        reason = (
            "constant: every sample has the same features"
            if own == 0
            else f"its own HSIC is estimated as {own:.3g}, not positive: more samples or a larger batch are needed"
        )
        yield {"backbone": layer.backbone, "tap": layer.tap, "reason": reason}


def _mirrored(upper: F64, size: int) -> F64:
    full = np.empty((size, size))
    rows, columns = np.triu_indices(size)
    full[rows, columns] = full[columns, rows] = upper
    return full


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
