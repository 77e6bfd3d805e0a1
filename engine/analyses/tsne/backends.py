"""t-SNE by scikit-learn (reference), openTSNE (FIt-SNE) or cuML (GPU): one question, three sets of conventions.

All start from the first two principal components, scaled so that the first has sd 1e-4 (Kobak & Berens 2019); further
runs start from Gaussian noise of the same sd. Early exaggeration is 12 for 250 iterations. Rates (Belkina 2019):

    scikit-learn    max(n / (4 * 12), 50) throughout; its gradient carries a factor 4 that the others leave out
    openTSNE        n / exaggeration in each phase: n / 12, then n
    cuML            n / 12, doubled after the exaggeration; its own defaults (random start, adaptive rate) are not used

One thread for scikit-learn, whose sums depend on the order of threads; openTSNE's do not. So the same seed and backend
give the same map on one machine. Different backends give different maps: compare measures, never coordinates. cuML was
written against the source of version 26.10 and has not been run.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.tsne.options import EARLY
from cvbench.engine.arrays.neighbours import nearest, strips
from cvbench.errors import ResourceError, UnknownNameError, UsageError

F64 = NDArray[np.float64]

EXAGGERATION = 12.0
START_SD = 1e-4
EXACT_NEIGHBOURS = 50_000
"""openTSNE gets exact neighbours up to here, then Annoy's approximate ones."""
FFT_FROM = 4_000
"""openTSNE: points from which interpolation on a grid is faster than Barnes-Hut, and threads pay (bench/tsne.py)."""

FFT_THREADS = -1
"""All cores; the sums do not depend on how many."""

LIMITS = {"sklearn": 10_000, "opentsne": 1_500_000, "cuml": 10_000_000}
"""Points a backend is meant for. Barnes-Hut of scikit-learn on one thread takes minutes at its limit."""


@dataclass(frozen=True)
class MapSettings:
    """Settings of one map.

    Attributes:
        perplexity: Effective number of neighbours.
        iterations: All of them, `EARLY` with exaggeration included.
        seed: Of the random start and of approximate neighbours.
        start: "pca", or "random" for a further run.
    """

    perplexity: float = 30.0
    iterations: int = 1000
    seed: int = 0
    start: str = "pca"


@dataclass(frozen=True, eq=False)
class Embedding:
    """Map (n, 2) float64, KL divergence in nats, iterations done, learning rates of the two phases."""

    map: F64
    kl: float
    iterations: int
    rates: tuple[float, float]


def choose_backend(name: str, n: int, device: str = "cuda") -> str:
    """A backend that is there and takes n points.

    "auto" is scikit-learn as far as it is meant for so many points, whatever else is installed: backends give different
    maps, and the same command shall give the same one. Beyond, cuML if there is a GPU for it, else openTSNE.

    Args:
        name: "auto" or of `LIMITS`.
        n: Points.
        device: With "cpu", "auto" is not cuML.

    Raises:
        UnknownNameError: Another name.
        ResourceError: It is not installed.
        UsageError: More points than it is meant for.
    """
    known = ("auto", *LIMITS)
    if name not in known:
        raise UnknownNameError.among("t-SNE backend", name, known, fix=f"--backend {', '.join(known)}")
    if name == "auto":
        order = ("sklearn",) if n <= LIMITS["sklearn"] else (*(("cuml",) if device != "cpu" else ()), "opentsne")
        name = next((each for each in order if available(each)), "sklearn")
    elif not available(name):
        raise ResourceError(
            f"the t-SNE backend {name} is not installed, or has no GPU",
            where="--backend",
            fix="pip install 'cvbench[tsne]' for opentsne; --backend sklearn is always there",
        )
    if n > LIMITS[name]:
        larger = "--backend opentsne (pip install 'cvbench[tsne]'), or " if name == "sklearn" else ""
        raise UsageError(
            f"{n} samples are more than the {LIMITS[name]} that the t-SNE backend {name} is meant for",
            where="--backend",
            fix=f"{larger}--sample {LIMITS[name]} for a map of a part, each class in proportion",
        )
    return name


def available(name: str) -> bool:
    """Whether a backend can be imported here, and for cuML whether there is a GPU."""
    if name == "sklearn":
        return True
    if importlib.util.find_spec({"opentsne": "openTSNE", "cuml": "cuml"}[name]) is None:
        return False
    if name == "cuml":
        import torch

        return torch.cuda.is_available()
    return True


def backend_version(name: str) -> str:
    """The version of a backend that is there."""
    packages = {"sklearn": "scikit-learn", "opentsne": "openTSNE"}
    if name in packages:
        return importlib.metadata.version(packages[name])
    return str(importlib.import_module(name).__version__)


def check_perplexity(perplexity: float, n: int, fix: str = "--perplexity {} or less, or more samples") -> None:
    """Refuse n samples that are too few, since each looks at 3 * perplexity others.

    Args:
        perplexity: Effective number of neighbours.
        n: Samples on the map.
        fix: What to do, with a place for the largest perplexity.

    Raises:
        UsageError: Not 3 * perplexity < n - 1.
    """
    if not 3 * perplexity < n - 1:
        most = (n - 2) // 3
        raise UsageError(
            f"perplexity {perplexity:g} needs more than {int(3 * perplexity) + 1} samples, there are {n}",
            where="--perplexity",
            why="each point looks at 3 * perplexity neighbours",
            fix=fix.format(most) if most >= 1 else "extract more samples (a larger --limit)",
        )


def embed(x: F64, backend: str, settings: MapSettings, threads: int = FFT_THREADS) -> Embedding:
    """Map of rows.

    Memory: openTSNE 3 * perplexity neighbours per row at 24 bytes; scikit-learn the like.

    Args:
        x: (n, d) float64, centred, its columns in descending order of variance: the first two are the start.
        backend: Of `LIMITS`.
        settings: Of the map.
        threads: That openTSNE may have; its numbers do not depend on them.

    Raises:
        UsageError: Too few rows for the perplexity.
    """
    check_perplexity(settings.perplexity, len(x))
    fits: dict[str, Callable[[F64, MapSettings], Embedding]] = {
        "sklearn": _sklearn,
        "opentsne": partial(_opentsne, most_threads=threads),
        "cuml": _cuml,
    }
    return fits[backend](x, settings)


def start_of(x: F64, settings: MapSettings) -> F64:
    """(n, 2) float64 start of sd 1e-4 along the first axis."""
    if settings.start == "random":
        return np.random.default_rng(settings.seed).normal(0, START_SD, (len(x), 2))
    first = x[:, :2] if x.shape[1] > 1 else np.column_stack([x, np.zeros(len(x))])
    return np.asarray(first * (START_SD / max(float(first[:, 0].std()), np.finfo(np.float64).tiny)))


def _sklearn(x: F64, settings: MapSettings) -> Embedding:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    model = TSNE(
        perplexity=settings.perplexity,
        early_exaggeration=EXAGGERATION,
        learning_rate="auto",
        max_iter=settings.iterations,
        init=start_of(x, settings).astype(np.float32),
        random_state=settings.seed,
    )
    with threadpool_limits(1):
        found = model.fit_transform(x)
    rates = (float(model.learning_rate_),) * 2
    return Embedding(found.astype(np.float64), float(model.kl_divergence_), int(model.n_iter_) + 1, rates)


def _opentsne(x: F64, settings: MapSettings, most_threads: int) -> Embedding:
    package: Any = importlib.import_module("openTSNE")  # optional, as cuML is
    affinity = package.affinity
    n, k = len(x), int(3 * settings.perplexity)
    if n <= EXACT_NEIGHBOURS:
        index = package.nearest_neighbors.PrecomputedNeighbors(*exact_neighbours(x, k))
        affinities = affinity.PerplexityBasedNN(perplexity=settings.perplexity, knn_index=index)
    else:
        affinities = affinity.PerplexityBasedNN(
            x, perplexity=settings.perplexity, method="annoy", random_state=settings.seed, n_jobs=1
        )
    method, threads = ("fft", most_threads) if n >= FFT_FROM else ("bh", 1)
    found = package.TSNEEmbedding(
        start_of(x, settings), affinities, negative_gradient_method=method, random_state=settings.seed
    )
    early, rates = min(EARLY, settings.iterations), (n / EXAGGERATION, float(n))
    common = {"inplace": True, "momentum": 0.8, "n_jobs": threads}  # openTSNE's own momentum
    found.optimize(early, exaggeration=EXAGGERATION, learning_rate=rates[0], **common)
    if settings.iterations > early:
        found.optimize(settings.iterations - early, exaggeration=1, learning_rate=rates[1], **common)
    return Embedding(np.array(found, dtype=np.float64), float(found.kl_divergence), settings.iterations, rates)


def exact_neighbours(x: F64, k: int) -> tuple[NDArray[np.int64], F64]:
    """Indices and distances, (n, k) each, of the k nearest other rows, the nearest first."""
    indices, distances = np.empty((len(x), k), dtype=np.int64), np.empty((len(x), k))
    for cut, strip in strips(x, np.arange(len(x))):
        indices[cut] = nearest(strip, k)
        distances[cut] = np.sqrt(np.take_along_axis(strip, indices[cut], axis=1))
    return indices, distances


def _cuml(x: F64, settings: MapSettings) -> Embedding:
    rate = len(x) / EXAGGERATION
    model = importlib.import_module("cuml.manifold").TSNE(
        perplexity=settings.perplexity,
        n_neighbors=int(3 * settings.perplexity),
        early_exaggeration=EXAGGERATION,
        exaggeration_iter=EARLY,
        max_iter=settings.iterations,
        learning_rate=rate,
        learning_rate_method=None,
        init=settings.start,
        method="fft",  # the only one that a seed determines
        random_state=settings.seed,
        output_type="numpy",
    )
    found = np.asarray(model.fit_transform(x.astype(np.float32)), dtype=np.float64)
    return Embedding(found, float(model.kl_divergence_), int(model.n_iter_), (rate, 2 * rate))
