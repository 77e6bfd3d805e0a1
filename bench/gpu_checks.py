"""The kernels of every analysis on a device against NumPy in float64. Part of bench/gpu.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Partial
from cvbench.engine.analyses.cam.grids import pool_evidence
from cvbench.engine.analyses.cam.measures import map_measures
from cvbench.engine.analyses.cka import hsic
from cvbench.engine.analyses.cka.measure import MinibatchCka
from cvbench.engine.analyses.maps.kernel import channel_norm
from cvbench.engine.analyses.silhouette.kernel import silhouette_samples
from cvbench.engine.analyses.similarity.measure import Similarity
from cvbench.engine.analyses.spectra.measure import Spectra
from cvbench.engine.arrays.array import Array, from_torch, to_host
from cvbench.engine.arrays.centroids import centroid_distances

AGREEMENT = 1e-4
"""Relative to the largest entry: float32 on the device, float64 in NumPy; logarithms of small amplitudes are worst."""


def on_device(values: NDArray[np.floating], device: torch.device) -> Array:
    """The values as a CuPy array on a CUDA device, else as they are."""
    return from_torch(torch.from_numpy(values).to(device)) if device.type == "cuda" else values


def kernel_checks(device: torch.device) -> dict[str, float]:
    """Largest error of each kernel on the device, relative to the largest entry of NumPy's float64 result."""
    return dict(_checks(device))


def _error(found: Array, exact: NDArray[np.floating]) -> float:
    host = to_host(found)
    known = np.isfinite(exact)
    if not (np.isfinite(host) == known).all():
        return float("inf")
    return float(np.abs(host - exact)[known].max() / max(np.abs(exact[known]).max(), 1e-30)) if known.any() else 0.0


def _worst(found: Partial, exact: Partial) -> float:
    return max(_error(found[key], values) for key, values in exact.items() if values.size)


def _checks(device: torch.device) -> Iterator[tuple[str, float]]:
    rng = np.random.default_rng(0)
    wide = rng.normal(3.0, 1.0, (64, 5000))
    narrow = [rng.normal(-2.0, 1.0, (256, width)) for width in (5, 17, 40)]
    for kind in ("float16", "float32", "float64"):
        values = wide.astype(kind)
        exact = hsic.u_centred(hsic.gram(values.astype(np.float64)))
        yield f"gram {kind}", _error(hsic.u_centred(hsic.gram(on_device(values, device))), exact)
    yield (
        "features",
        _error(hsic.hsic_features([on_device(x, device) for x in narrow]), hsic.hsic_features(narrow)),
    )
    layers = [Layer("a", str(index)) for index in range(3)]
    stored = {layer: rng.normal(size=(96, 40 * (i + 1))).astype(np.float16) for i, layer in enumerate(layers)}
    unit = MinibatchCka(batch=32)
    parts = [
        unit.measure(layers, read, np.arange(96))
        for read in (lambda layer: on_device(stored[layer], device), lambda layer: stored[layer].astype(np.float64))
    ]
    yield "cka unit", _worst(*parts)
    maps = rng.normal(size=(16, 14, 12, 32)).cumsum(axis=1).cumsum(axis=2).astype(np.float32)
    measures: dict[str, Callable[[Array], Partial]] = {
        "spectra": lambda x: Spectra().measure_layer(0, layers[0], x),
        "similarity": lambda x: Similarity().measure_layer(0, layers[0], x),
    }
    for name, measure in measures.items():
        yield name, _worst(measure(on_device(maps, device)), measure(maps.astype(np.float64)))
    large = rng.normal(size=(2, 30, 28, 24)).cumsum(axis=1).cumsum(axis=2).astype(np.float32)
    yield (
        "similarity 30x28",
        _worst(measures["similarity"](on_device(large, device)), measures["similarity"](large.astype(np.float64))),
    )
    norms = channel_norm(maps.astype(np.float64))
    yield "channel norms", _error(channel_norm(on_device(maps, device)), norms)
    raw = maps.mean(axis=3)
    yield "cam measures", _error(map_measures(on_device(raw, device)), map_measures(raw.astype(np.float64)))
    pooled = pool_evidence(raw.astype(np.float64), (7, 5))
    yield "cam common grid", _error(pool_evidence(on_device(raw, device), (7, 5)), pooled)
    points, labels = rng.normal(size=(600, 64)), rng.integers(0, 7, 600)
    for metric in ("euclidean", "cosine", "sqeuclidean"):
        single = points.astype(np.float32)
        exact = to_host(silhouette_samples(single.astype(np.float64), labels, metric=metric))
        yield (
            f"silhouette {metric}",
            _error(silhouette_samples(on_device(single, device), labels, metric=metric), exact),
        )
    (exact_centroids,), (found,) = (centroid_distances(x, labels) for x in (points, on_device(points, device)))
    yield "centroids", max(_error(found.own, exact_centroids.own), _error(found.nearest, exact_centroids.nearest))
