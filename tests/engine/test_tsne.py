"""t-SNE: what goes in, what every backend must do, what the result says, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import silhouette_samples

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.samples import Samples
from cvbench.engine.analyses.tsne import TsneOptions, measures, prepare, tsne
from cvbench.engine.analyses.tsne_backends import (
    Recipe,
    available,
    choose_backend,
    embed,
    exact_neighbours,
    start_of,
)
from cvbench.engine.analyses.tsne_result import measure_rows, point_rows
from cvbench.errors import IntegrityError, ResourceError, UnknownNameError, UsageError

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

BACKENDS = [name for name in ("sklearn", "opentsne") if available(name)]
SHORT = {"perplexity": 8.0, "iterations": 300, "resamples": 50, "repeats": 1}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def clusters(rng: np.random.Generator, n: int = 90, d: int = 20) -> tuple[F64, I64]:
    """Three classes, well apart."""
    labels = np.arange(n) % 3
    return rng.normal(size=(n, d)) + 4 * rng.normal(size=(3, d))[labels], labels


def result_of(x: NDArray[Any], labels: I64, **options: Any) -> Result:
    samples = Samples("pets/all", np.arange(len(x)) * 2, labels, ("cat", "dog", "bird"))
    return tsne([Layer("vit", "head")], lambda layer: x, samples, TsneOptions(**{**SHORT, **options}))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_seed_gives_the_same_map_and_classes_stay_together(rng: np.random.Generator, backend: str) -> None:
    x, labels = clusters(rng)
    rows, scores = prepare(x, TsneOptions())
    recipe = Recipe(perplexity=8, iterations=300)
    first, again = embed(scores, backend, recipe), embed(scores, backend, recipe)
    np.testing.assert_array_equal(first.map, again.map)
    assert first.map.shape == (90, 2)
    assert 0 < first.kl < 2
    assert 250 <= first.iterations <= 300
    kept = measures(rows, first.map, np.arange(90), labels)
    assert kept["purity_map_5"].mean() > 0.99
    assert kept["trustworthiness_10"].mean() > 0.85
    other = embed(scores, backend, Recipe(perplexity=8, iterations=300, seed=1, start="random"))
    assert np.abs(other.map - first.map).max() > 1e-3


@pytest.mark.skipif(len(BACKENDS) < 2, reason="openTSNE is not installed")
def test_backends_agree_in_what_can_be_read(rng: np.random.Generator) -> None:
    """Neighbours, not coordinates: they differ by no more than another start of one backend does, and a little."""
    x, labels = clusters(rng)
    rows, scores = prepare(x, TsneOptions())
    recall = {}
    for backend in BACKENDS:
        for start in ("pca", "random"):
            found = embed(scores, backend, Recipe(perplexity=8, iterations=500, start=start))
            recall[backend, start] = measures(rows, found.map, np.arange(90), labels)["recall_10"].mean()
    assert max(recall.values()) - min(recall.values()) < 0.08, recall


def test_learning_rates_are_those_of_each_convention(rng: np.random.Generator) -> None:
    _, scores = prepare(rng.normal(size=(120, 8)), TsneOptions())
    assert embed(scores, "sklearn", Recipe(8, 250)).rates == (50, 50)
    if "opentsne" in BACKENDS:
        assert embed(scores, "opentsne", Recipe(8, 250)).rates == (10, 120)


def test_the_start_is_the_first_two_components_at_1e_4(rng: np.random.Generator) -> None:
    _, scores = prepare(rng.normal(size=(70, 8)) * np.arange(1, 9), TsneOptions(preprocess="none"))
    start = start_of(scores, Recipe())
    assert start[:, 0].std() == pytest.approx(1e-4)
    np.testing.assert_allclose(start / start[:, :1].std(), scores[:, :2] / scores[:, :1].std(), rtol=1e-9)
    random = start_of(scores, Recipe(start="random", seed=3))
    assert random.std() == pytest.approx(1e-4, rel=0.2)
    np.testing.assert_array_equal(start_of(scores[:, :1], Recipe())[:, 1], 0)


def test_what_is_compared_and_what_is_mapped(rng: np.random.Generator) -> None:
    x = rng.normal(size=(80, 60)) * 10.0 ** np.linspace(-2, 2, 60) + 7
    x[:, 5] = 0.1
    z = np.where(np.arange(60) == 5, 0, (x - x.mean(axis=0)) / np.where(np.arange(60) == 5, 1, x.std(axis=0)))
    rows, scores = prepare(x, TsneOptions())
    np.testing.assert_allclose(rows, z, atol=1e-4)  # float32 of 7 with a spread of 0.01
    assert scores.shape == (80, 50)
    left, size, _ = np.linalg.svd(z, full_matrices=False)
    np.testing.assert_allclose(np.abs(scores), np.abs(left * size)[:, :50], atol=2e-3)
    rows, _ = prepare(x, TsneOptions(preprocess="none"))
    np.testing.assert_allclose(rows, x - x.mean(axis=0), rtol=1e-4, atol=1e-4)
    rows, _ = prepare(x, TsneOptions(preprocess="l2"))
    directions = x / np.sqrt((x**2).sum(axis=1))[:, None]
    np.testing.assert_allclose(rows, directions - directions.mean(axis=0), atol=1e-6)


def test_exact_neighbours(rng: np.random.Generator) -> None:
    x = rng.normal(size=(40, 3))
    indices, distances = exact_neighbours(x, 6)
    d = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2)) + np.where(np.eye(40), np.inf, 0)
    np.testing.assert_array_equal(indices, np.argsort(d, axis=1)[:, :6])
    np.testing.assert_allclose(distances, np.sort(d, axis=1)[:, :6], atol=1e-12)


def test_the_result_holds_the_map_and_the_means(rng: np.random.Generator) -> None:
    x, labels = clusters(rng)
    result = result_of(x, labels, repeats=3, backend="sklearn")
    points = result.data["map"][1][0]
    rows = {row["measure"]: row for row in measure_rows(result)}
    expected = measures(prepare(x, TsneOptions())[0], points, np.arange(90), labels)
    for name, values in expected.items():
        if name.endswith("30"):
            continue  # with 90 rows k = 30 is defined, but has no spread of note
        assert rows[name]["value"] == pytest.approx(values.mean(), abs=1e-9)
        assert rows[name]["low"] <= rows[name]["value"] <= rows[name]["high"]
        assert rows[name]["n"] + rows[name]["n_undefined"] == 90
    assert rows["silhouette_map"]["value"] == pytest.approx(silhouette_samples(points, labels).mean(), abs=1e-9)
    assert rows["recall_10"]["sd_over_runs"] > 0
    assert rows["purity_features_10"]["sd_over_runs"] is None, "no map, no spread"
    assert result.data["kl"][1].shape == (1, 3)
    attrs = result.attrs
    assert (attrs["backend"], attrs["samples"], attrs["class_names"]) == ("sklearn", 90, ["cat", "dog", "bird"])
    assert attrs["chance_purity"] == pytest.approx(1 / 3)
    assert attrs["backend_version"]
    (last,) = list(point_rows(result))[-1:]
    assert (last["sample"], last["class"], last["x"]) == (178, "bird", points[-1, 0])


@pytest.mark.parametrize(
    ("labels", "said"),
    [(np.zeros(90), "one class only"), (np.r_[-1, np.ones(89)], "no label"), (np.arange(90), "alone in its class")],
)
def test_without_classes_their_measures_are_undefined(rng: np.random.Generator, labels: F64, said: str) -> None:
    x, _ = clusters(rng)
    result = result_of(x, labels.astype(np.int64), backend="sklearn", iterations=250)
    rows = {row["measure"]: row for row in measure_rows(result)}
    for name in ("purity_map_5", "accuracy_features_10", "silhouette_map"):
        assert (rows[name]["value"], rows[name]["low"], rows[name]["n_undefined"]) == (None, None, 90)
    assert rows["trustworthiness_5"]["value"] > 0.5
    assert any(said in note for note in result.attrs["notes"])


def test_a_sample_is_mapped_in_proportion_and_said(rng: np.random.Generator) -> None:
    x, labels = clusters(rng)
    result = result_of(x, labels, backend="sklearn", sample=45, measured=12)
    assert np.bincount(result.data["label"][1]).tolist() == [15, 15, 15]
    assert any("map is of 45 of 90 samples" in note for note in result.attrs["notes"])
    assert any("measures are of 12 of the 45" in note for note in result.attrs["notes"])
    assert {row["n"] for row in measure_rows(result) if row["measure"] == "recall_5"} == {12}


def test_what_cannot_be_mapped_is_refused(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = clusters(rng)
    with pytest.raises(UsageError, match="perplexity 30 needs more than 91 samples, there are 90") as caught:
        result_of(x, labels, perplexity=30.0)
    assert "--perplexity 28 or less" in str(caught.value)
    assert result_of(x, labels, perplexity=28.0, backend="sklearn", iterations=250).attrs["perplexity"] == 28
    with pytest.raises(UsageError, match="not one row of features"):
        result_of(x[:, :, None], labels)
    with pytest.raises(UnknownNameError, match="standardise, none, l2"):
        TsneOptions(preprocess="zscore")
    with pytest.raises(UsageError, match="fewer than the 250"):
        TsneOptions(iterations=100)
    with pytest.raises(UnknownNameError, match="opentsne") as caught:
        choose_backend("opentsn", 90)
    with pytest.raises(UsageError, match="10001 samples are more than the 10000") as caught:
        choose_backend("sklearn", 10_001)
    assert "--sample 10000" in str(caught.value)
    bad = x.copy()
    bad[4, 2] = np.nan
    with pytest.raises(IntegrityError, match="vit/head of pets/all holds values that are not finite, in 1 of 90"):
        result_of(bad, labels)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose_backend("auto", 90) == "sklearn"
    for name in ("opentsne", "cuml"):
        with pytest.raises(ResourceError, match=f"backend {name} is not installed"):
            choose_backend(name, 90)
