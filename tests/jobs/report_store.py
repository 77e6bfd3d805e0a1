"""Stores of results made by hand: what a report is of, without backbones or images."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import xarray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.cka.result import cka_result
from cvbench.engine.analyses.samples import Samples
from cvbench.engine.analyses.silhouette.result import Scored, silhouette_result
from cvbench.engine.analyses.tsne.backends import Embedding
from cvbench.engine.analyses.tsne.options import TsneOptions
from cvbench.engine.analyses.tsne.result import Mapped, tsne_result
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.within_class import ClassMeans, Replicates
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import ResultKey, save_result

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def small_cka(backbones: dict[str, int], batches: int = 6) -> Result:
    """CKA of `backbones`, name -> number of layers."""
    layers = [Layer(name, f"blocks.{i}") for name, count in backbones.items() for i in range(count)]
    factors = np.cumsum(np.random.default_rng(3).normal(size=(batches, len(layers), 4)), axis=1)
    attrs = {"estimator": "minibatch", "batch_size": 32, "samples": 32 * batches, "dropped": 5}
    hsic = factors @ factors.transpose(0, 2, 1)
    return cka_result(layers, hsic, {**attrs, "confidence": 0.95})


def small_silhouette(backbones: dict[str, int], classes: tuple[str, ...], shift: float = 0.0) -> Result:
    """The silhouette of 60 samples by two metrics."""
    layers = [Layer(name, f"blocks.{i}") for name, count in backbones.items() for i in range(count)]
    rng = np.random.default_rng(5)
    labels = np.arange(60) % len(classes)
    s = np.clip(rng.normal(shift, 0.3, size=(len(layers), 2, 60)), -1, 1)
    replicates = Replicates(labels, np.arange(60), 0.95, 0)
    assert replicates.parts is not None
    out = [
        np.stack([row, *(np.where(replicates.parts == part, np.nan, row) for part in range(10))])
        for row in s.reshape(-1, 60)
    ]
    means = ClassMeans.joined([ClassMeans.of(column, replicates) for column in out])
    scored = Scored(s, means, None, np.arange(60), dict(enumerate(classes)))
    options: dict[str, Any] = {
        "metrics": ["euclidean", "cosine"],
        "space": "standardised",
        "space_label": "features standardised",
    }
    intervals = IntervalOptions(resamples=50)
    options |= {"sample": None, **asdict(intervals)}
    return silhouette_result(layers, scored, replicates, options, intervals)


def small_tsne(backbones: dict[str, int], classes: tuple[str, ...], n: int = 40) -> Result:
    """Points of layers without any t-SNE."""
    layers = [Layer(name, f"blocks.{i}") for name, count in backbones.items() for i in range(count)]
    rng = np.random.default_rng(7)
    names = ("trustworthiness_10", "purity_map_10", "purity_features_10", "silhouette_map")
    found = [
        Mapped([Embedding(rng.normal(size=(n, 2)), 1.0, 1000, (50, 50))], [dict.fromkeys(names, np.ones(n))], {})
        for _ in layers
    ]
    samples = Samples("birds/test", np.arange(n), np.arange(n) % len(classes), classes)
    options = {**asdict(TsneOptions()), "backend": "sklearn", "backend_version": "1", "samples": n, "samples_of": n}
    more = {"measured_samples": n, "confidence": 0.95}
    return tsne_result(layers, found, samples, samples.labels, {**options, **more}, IntervalOptions(resamples=10))


def foreign(text: str) -> Result:
    """A result of an analysis that nobody knows."""
    data: dict[str, Any] = {"amount": (("thing",), np.array([1.5, np.nan])), "of": (("thing",), np.array([3, 4]))}
    return Result("unheard-of", {"thing": ["a", "b"]}, data, {"meaning": text, "notes": [text]})


def put(store: FeatureStore, result: Result, digest: str, dataset: str = "birds", **attrs: Any) -> str:
    """Keep a result; the path of its group."""
    key = ResultKey(dataset, "test", result.name, digest)
    kept = {"dataset": dataset, "split": "test", "view": "pooled", **result.attrs, **attrs}
    save_result(store, key, xarray.Dataset(dict(result.data), coords=result.coords, attrs=kept))
    return key.path
