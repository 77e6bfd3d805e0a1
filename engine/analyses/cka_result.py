"""From HSIC of all pairs of layers to a labelled CKA result: interval, summary numbers, undefined layers named."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.bootstrap import percentile_interval
from cvbench.engine.kernels import hsic

F64 = NDArray[np.float64]

FEW_BATCHES = 30


def cka_result(layers: Sequence[Layer], batches: F64, attrs: Mapping[str, Any]) -> Result:
    """The result of L layers.

    Args:
        layers: L layers; those of one backbone follow each other in forward order.
        batches: (n, L, L) float64 HSIC of every pair, per batch; summed in this order. One batch: no interval.
        attrs: estimator, batch_size, samples, dropped; resamples, confidence and seed of the bootstrap.

    Returns:
        Dimensions layer, other, labelled "backbone/tap". cka, low, high, hsic (L, L) float64. NaN only for layers named
        in attrs["undefined"], and in low and high if there is no interval, which attrs["notes"] then says.
        attrs["summary"]: list of {"name", "value", "low", "high"}.
    """
    size = len(layers)
    total = batches.sum(axis=0)
    value = hsic.cka(total)
    groups = _summary_groups(layers, np.isfinite(np.diagonal(value)))
    upper = np.triu_indices(size)

    def statistic(sums: F64) -> F64:
        table: F64 = hsic.cka(sums.reshape(-1, size, size))
        means = [table[:, rows, columns].mean(axis=1) for rows, columns in groups.values()]
        return np.column_stack([table[:, upper[0], upper[1]], *means])

    point = statistic(total[None])[0]
    low, high, notes = _interval(batches, statistic, point, attrs)
    if attrs["dropped"]:
        notes.append(f"{attrs['dropped']} readable samples fill no batch of {attrs['batch_size']} and are left out")
    pairs = len(upper[0])
    dims = ("layer", "other")
    return Result(
        name="cka",
        coords={"layer": [str(layer) for layer in layers], "other": [str(layer) for layer in layers]},
        data={
            "cka": (dims, value),
            "low": (dims, _mirrored(low[:pairs], size)),
            "high": (dims, _mirrored(high[:pairs], size)),
            "hsic": (dims, total),
        },
        attrs={
            **attrs,
            "kernel": "linear",
            "batches": len(batches),
            "layers": [{"backbone": layer.backbone, "tap": layer.tap} for layer in layers],
            "undefined": list(_undefined(layers, total)),
            "notes": notes,
            "summary": [
                {"name": name, "value": _number(point[i]), "low": _number(low[i]), "high": _number(high[i])}
                for i, name in enumerate(groups, start=pairs)
            ],
        },
    )


def _interval(
    batches: F64, statistic: Callable[[F64], F64], point: F64, attrs: Mapping[str, Any]
) -> tuple[F64, F64, list[str]]:
    """Low and high of each number, by a bootstrap over batches, and what must be said of them."""
    none = np.full(len(point), np.nan)
    if len(batches) < 2:
        return none, none, ["no interval: it is a bootstrap over batches, and there is one batch"]
    options = {key: attrs[key] for key in ("resamples", "confidence", "seed")}
    found = percentile_interval(batches.reshape(len(batches), -1), statistic, **options)
    notes = []
    partly = np.isfinite(point) & (found.undefined > 0)
    if partly.any():
        notes.append(f"{partly.sum()} intervals leave out resamples in which a layer's HSIC was not positive")
    if len(batches) < FEW_BATCHES:
        notes.append(f"{len(batches)} batches: with fewer than {FEW_BATCHES} the intervals are too narrow")
    return found.low, found.high, notes


def cka_json(result: Result, dataset: str) -> dict[str, Any]:
    """The JSON form of `cvbench analyze cka --format json`; undefined numbers are null, and `undefined` says why."""
    attrs = result.attrs
    matrices = {
        key: [[_number(v) for v in row] for row in result.data[key][1].tolist()] for key in ("cka", "low", "high")
    }
    counts = {key: attrs[key] for key in ("estimator", "batch_size", "batches", "samples", "dropped")}
    said = {key: attrs[key] for key in ("undefined", "notes", "summary")}
    return {"dataset": dataset, "layers": attrs["layers"], **matrices, **counts, **said}


def cka_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One row per pair of layers, each pair once, a layer with itself among them; undefined numbers are None."""
    layers = result.attrs["layers"]
    cka, low, high = (result.data[key][1] for key in ("cka", "low", "high"))
    for i, j in zip(*np.triu_indices(len(layers)), strict=True):
        yield {
            "backbone_a": layers[i]["backbone"],
            "tap_a": layers[i]["tap"],
            "backbone_b": layers[j]["backbone"],
            "tap_b": layers[j]["tap"],
            "cka": _number(cka[i, j]),
            "low": _number(low[i, j]),
            "high": _number(high[i, j]),
        }


def _summary_groups(layers: Sequence[Layer], defined: NDArray[np.bool_]) -> dict[str, tuple[NDArray[np.intp], ...]]:
    """Name of a summary number -> (rows, columns) of the entries it is the mean of; undefined layers left out."""
    backbones = list(dict.fromkeys(layer.backbone for layer in layers))
    members = {name: [i for i, layer in enumerate(layers) if layer.backbone == name] for name in backbones}
    groups = {}
    for at, first in enumerate(backbones):
        mine = [i for i in members[first] if defined[i]]
        groups[f"mean of different layers, {first}"] = _pairs(mine, mine)
        quarter = max(1, len(members[first]) // 4)
        shallow, deep = members[first][:quarter], members[first][-quarter:]
        groups[f"first quarter against last quarter, {first}"] = _pairs(
            [i for i in shallow if defined[i]], [i for i in deep if defined[i]]
        )
        for second in backbones[at + 1 :]:
            groups[f"mean, {first} against {second}"] = _pairs(mine, [j for j in members[second] if defined[j]])
    return {name: pairs for name, pairs in groups.items() if len(pairs[0])}


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
