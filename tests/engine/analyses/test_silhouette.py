"""The silhouette against Rousseeuw's formula and scikit-learn, and what it does to rows, labels and blocks."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import silhouette_samples as peer

from cvbench.engine.analyses.silhouette import kernel
from cvbench.engine.analyses.silhouette.kernel import silhouette_samples
from cvbench.engine.analyses.silhouette.options import METRICS
from cvbench.engine.arrays.grouped import group_rows, prepare
from tests.engine.analyses.silhouette_reference import clusters, pairwise, reference
from tests.seeds import seeded


@pytest.fixture
def rng() -> np.random.Generator:
    return seeded(7)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("block", [1, 7, 64, 1024])
def test_the_formula_for_any_block(rng: np.random.Generator, metric: str, block: int) -> None:
    x, labels = clusters(rng)
    found = silhouette_samples(x, labels, metric=metric, block=block)
    np.testing.assert_allclose(found, reference(x, labels, metric), atol=1e-12)
    assert found[labels == 77] == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("metric", METRICS)
def test_scikit_learn_to_1e_6(rng: np.random.Generator, metric: str, dtype: type) -> None:
    x, labels = clusters(rng, n=600, d=40)
    given: NDArray[Any] = x.astype(dtype)
    expected = peer(given.astype(np.float64), labels, metric=metric)
    np.testing.assert_allclose(silhouette_samples(given, labels, metric=metric, block=128), expected, atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_strips_without_symmetry_give_the_same(
    rng: np.random.Generator, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, labels = clusters(rng)
    whole = silhouette_samples(x, labels, metric=metric, block=16)
    monkeypatch.setattr(kernel, "SYMMETRIC_BYTES", 0)
    np.testing.assert_allclose(silhouette_samples(x, labels, metric=metric, block=16), whole, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_scored_rows_have_their_value_among_all(rng: np.random.Generator, metric: str) -> None:
    x, labels = clusters(rng)
    rows = rng.permutation(len(x))[:33]
    whole = silhouette_samples(x, labels, metric=metric)
    np.testing.assert_allclose(
        silhouette_samples(x, labels, metric=metric, rows=rows, block=8), whole[rows], atol=1e-12
    )


@pytest.mark.parametrize("metric", METRICS)
def test_names_of_labels_and_order_of_rows_do_not_matter(rng: np.random.Generator, metric: str) -> None:
    x, labels = clusters(rng)
    whole = silhouette_samples(x, labels, metric=metric)
    renamed = np.array([{3: 9, 5: 1, 11: 0, 40: 300, 77: 2}[int(label)] for label in labels])
    np.testing.assert_allclose(silhouette_samples(x, renamed, metric=metric), whole, atol=1e-12)
    order = rng.permutation(len(x))
    np.testing.assert_allclose(silhouette_samples(x[order], labels[order], metric=metric), whole[order], atol=1e-12)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_an_offset_of_500_costs_nothing(rng: np.random.Generator, metric: str) -> None:
    x, labels = clusters(rng)
    x = np.round(x * 64) / 64  # so that x + 500 is exact in float32
    plain = silhouette_samples(x.astype(np.float32), labels, metric=metric)
    np.testing.assert_allclose(
        silhouette_samples((x + 500).astype(np.float32), labels, metric=metric), plain, atol=1e-12
    )


@pytest.mark.parametrize("metric", METRICS)
def test_duplicates_are_at_distance_0(rng: np.random.Generator, metric: str) -> None:
    """Four points, each ten times; the second stands in two classes, where a = b = 0."""
    points = rng.normal(size=(4, 50)) + 20
    x = np.repeat(points, 10, axis=0)
    labels = np.repeat([0, 1, 2, 2], 10)
    labels[10:15] = 3
    expected = reference(x, labels, metric)
    found = silhouette_samples(x, labels, metric=metric, block=8)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_array_equal(found[:10], 1)
    np.testing.assert_array_equal(found[10:20], 0)
    np.testing.assert_array_equal(silhouette_samples(np.full((20, 3), 0.1), labels[10:30], metric=metric), 0)


def test_zero_vectors_have_cosine_distance_1(rng: np.random.Generator) -> None:
    x, labels = clusters(rng, n=40)
    x[[3, 4, 19]] = 0
    expected = reference(x, labels, "cosine")
    np.testing.assert_allclose(silhouette_samples(x, labels, metric="cosine", block=16), expected, atol=1e-12)
    np.testing.assert_allclose(peer(x, labels, metric="cosine"), expected, atol=1e-12)


def test_closed_form_is_the_sum_over_pairs(rng: np.random.Generator) -> None:
    x, labels = clusters(rng)
    groups = group_rows(labels)
    member = groups.own[:, None] == np.arange(len(groups.counts))
    everyone = np.arange(len(x))
    for metric, sums in (("cosine", kernel.cosine_sums), ("sqeuclidean", kernel.squared_sums)):
        points = prepare(x, groups, standardise=False, unit=metric == "cosine")
        found = np.concatenate([part for _, part in sums(points, everyone, 13)])
        expected = pairwise(x[groups.order], metric) @ member
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("metric", METRICS)
def test_standardised_features(rng: np.random.Generator, metric: str) -> None:
    x, labels = clusters(rng)
    x *= 10.0 ** np.arange(x.shape[1])
    with_constant = np.column_stack([x, np.full(len(x), 0.1)])  # 0.1 is not exact: its mean must be met all the same
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    found = silhouette_samples(with_constant, labels, metric=metric, standardise=True, block=32)
    np.testing.assert_allclose(found, reference(scaled, labels, metric), atol=1e-11)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("block", [7, 64, 1024])
def test_without_each_group_it_is_that_of_the_others(rng: np.random.Generator, metric: str, block: int) -> None:
    """From one pass: what `reference` gives when it never sees the rows of the group."""
    x, labels = clusters(rng, n=70)
    rows = np.sort(rng.permutation(70)[:50])
    parts = rng.integers(-1, 4, size=70)
    parts[[np.flatnonzero(labels == label)[0] for label in np.unique(labels)]] = -1
    found = silhouette_samples(x, labels, metric=metric, rows=rows, parts=parts, block=block)
    assert found.shape == (5, 50)
    np.testing.assert_allclose(found[0], reference(x, labels, metric)[rows], atol=1e-12)
    for part in range(4):
        kept = parts != part
        expected = np.full(70, np.nan)
        expected[kept] = reference(x[kept], labels[kept], metric)
        np.testing.assert_allclose(found[1 + part], expected[rows], atol=1e-12)


def test_duplicates_stay_at_distance_0_without_a_group(rng: np.random.Generator) -> None:
    """What is left of a class are duplicates: its distances are 0, not rounding of those taken off."""
    x = np.repeat(rng.normal(size=(3, 40)) + 20, 8, axis=0)
    x[:2] += rng.normal(size=(2, 40))
    labels = np.repeat([0, 1, 1], 8)
    parts = np.full(24, -1)
    parts[:2] = 0
    for metric in METRICS:
        found = silhouette_samples(x, labels, metric=metric, parts=parts)[1]
        np.testing.assert_array_equal(found[2:8], 1)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_memory_does_not_grow_with_the_pairs(
    rng: np.random.Generator, metric: str, symmetric: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times the rows add their (n, K) sums and a few vectors; the distances of 4,000 rows would be 128 MB."""
    if not symmetric:
        monkeypatch.setattr(kernel, "SYMMETRIC_BYTES", 0)
    peaks, classes = {}, 4
    for n in (1000, 4000):
        x, labels = rng.normal(size=(n, 16)).astype(np.float32), rng.integers(0, classes, n)
        tracemalloc.start()
        silhouette_samples(x, labels, metric=metric, block=128)
        peaks[n] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[4000] - peaks[1000] < 3000 * 8 * (10 + 6 * classes), peaks
    assert peaks[4000] < 3_000_000, "a few tiles"


@pytest.mark.gpu
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("standardise", [False, True])
def test_cupy_gives_what_numpy_gives(rng: np.random.Generator, metric: str, standardise: bool, cupy: Any) -> None:
    """To 1e-6: the Euclidean tiles are in float32, and added up in another order."""
    x, labels = clusters(rng, n=700, d=40)
    single, rows = x.astype(np.float32), rng.permutation(700)[:300]
    for chosen in (None, rows):
        found, expected = (
            silhouette_samples(given, labels, metric=metric, standardise=standardise, rows=chosen, block=128)
            for given in (cupy.asarray(single), single)
        )
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_cosine_is_of_directions_alone(rng: np.random.Generator) -> None:
    """They are centred by their mean, which is found a block at a time and changes no value."""
    x, labels = clusters(rng)
    x[[3, 9]] = 0
    whole = silhouette_samples(x, labels, metric="cosine")
    for scale in (1e-100, 1e100):
        np.testing.assert_allclose(silhouette_samples(x * scale, labels, metric="cosine", block=8), whole, atol=1e-12)
