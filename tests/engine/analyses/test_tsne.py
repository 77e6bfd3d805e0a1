"""t-SNE: what goes in, what every backend must do, what the result says, what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import silhouette_samples

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.samples import Samples, stratified_rows
from cvbench.engine.analyses.tsne.averages import Averages, tenths
from cvbench.engine.analyses.tsne.backends import (
    MapSettings,
    available,
    check_perplexity,
    choose_backend,
    embed,
    exact_neighbours,
    start_of,
)
from cvbench.engine.analyses.tsne.measure import measures, prepare, tsne
from cvbench.engine.analyses.tsne.options import TsneOptions
from cvbench.engine.analyses.tsne.result import FIELDS, point_rows
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import IntegrityError, ResourceError, UnknownNameError, UsageError
from tests.seeds import seeded

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

BACKENDS = [name for name in ("sklearn", "opentsne") if available(name)]
SHORT = {"perplexity": 8.0, "iterations": 300, "resamples": 50, "repeats": 1}


@pytest.fixture
def rng() -> np.random.Generator:
    return seeded(11)


def both(x: Any, options: TsneOptions) -> tuple[Any, Any]:
    """The features as they are compared, and what t-SNE gets."""
    prepared = prepare(x, options)
    return prepared.compared(x), prepared.scores


def clusters(rng: np.random.Generator, n: int = 90, d: int = 20) -> tuple[F64, I64]:
    """Three classes, well apart."""
    labels = np.arange(n) % 3
    return rng.normal(size=(n, d)) + 4 * rng.normal(size=(3, d))[labels], labels


def result_of(x: NDArray[Any], labels: I64, **options: Any) -> Result:
    samples = Samples("pets/all", np.arange(len(x)) * 2, labels, ("cat", "dog", "bird"))
    return tsne([Layer("vit", "head")], lambda layer: x, samples, TsneOptions(**{**SHORT, **options}))


def number(result: Result, name: str, at: tuple[int, int]) -> Any:
    value = float(result.data[name][1][at])
    return value if math.isfinite(value) else None


def measure_rows(result: Result) -> list[dict[str, Any]]:
    """Every measure of every layer as the arrays have it; None where undefined."""
    names = {"sd_over_runs": "measures_sd", **{field: f"measures{end}" for end, field in FIELDS.items()}}
    counts = {"n": "n", "n_undefined": "n_undefined"}
    return [
        {
            "backbone": layer["backbone"],
            "measure": measure,
            **{key: number(result, name, (i, j)) for key, name in {**names, **counts}.items()},
        }
        for i, layer in enumerate(result.attrs["layers"])
        for j, measure in enumerate(result.coords["measure"])
    ]


def difference_rows(result: Result) -> list[dict[str, Any]]:
    """Every difference of the one pair; verdicts are 1, 0 or None."""
    names = {field: f"difference{end}" for end, field in FIELDS.items()}
    names |= {key: f"difference_{key}" for key in ("n", "p", "resolved", "class_resolved")}
    return [
        {"measure": measure, **{key: number(result, name, (0, j)) for key, name in names.items()}}
        for j, measure in enumerate(result.coords["measure"])
    ]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_seed_gives_the_same_map_and_classes_stay_together(rng: np.random.Generator, backend: str) -> None:
    x, labels = clusters(rng)
    rows, scores = both(x, TsneOptions())
    settings = MapSettings(perplexity=8, iterations=300)
    first, again = embed(scores, backend, settings), embed(scores, backend, settings)
    np.testing.assert_array_equal(first.map, again.map)
    assert first.map.shape == (90, 2)
    assert 0 < first.kl < 2
    assert 250 <= first.iterations <= 300
    kept = measures(rows, first.map, np.arange(90), labels)
    assert kept["purity_map_5"].mean() > 0.95
    assert kept["trustworthiness_10"].mean() > 0.85
    other = embed(scores, backend, MapSettings(perplexity=8, iterations=300, seed=1, start="random"))
    assert np.abs(other.map - first.map).max() > 1e-3


@pytest.mark.skipif(len(BACKENDS) < 2, reason="openTSNE is not installed")
def test_backends_agree_in_what_can_be_read(rng: np.random.Generator) -> None:
    """Neighbours, not coordinates: they differ by no more than another start of one backend does, and a little."""
    x, labels = clusters(rng)
    rows, scores = both(x, TsneOptions())
    recall = {}
    for backend in BACKENDS:
        for start in ("pca", "random"):
            found = embed(scores, backend, MapSettings(perplexity=8, iterations=500, start=start))
            recall[backend, start] = measures(rows, found.map, np.arange(90), labels)["recall_10"].mean()
    assert max(recall.values()) - min(recall.values()) < 0.12, recall


def test_learning_rates_are_those_of_each_convention(rng: np.random.Generator) -> None:
    _, scores = both(rng.normal(size=(120, 8)), TsneOptions())
    assert embed(scores, "sklearn", MapSettings(8, 250)).rates == (50, 50)
    if "opentsne" in BACKENDS:
        assert embed(scores, "opentsne", MapSettings(8, 250)).rates == (10, 120)


def test_the_start_is_the_first_two_components_at_1e_4(rng: np.random.Generator) -> None:
    _, scores = both(rng.normal(size=(70, 8)) * np.arange(1, 9), TsneOptions(preprocess="none"))
    start = start_of(scores, MapSettings())
    assert start[:, 0].std() == pytest.approx(1e-4)
    np.testing.assert_allclose(start / start[:, :1].std(), scores[:, :2] / scores[:, :1].std(), rtol=1e-9)
    random = start_of(scores, MapSettings(start="random", seed=3))
    assert random.std() == pytest.approx(1e-4, rel=0.2)
    np.testing.assert_array_equal(start_of(scores[:, :1], MapSettings())[:, 1], 0)


def test_what_is_compared_and_what_is_mapped(rng: np.random.Generator) -> None:
    x = rng.normal(size=(80, 60)) * 10.0 ** np.linspace(-2, 2, 60) + 7
    x[:, 5] = 0.1
    z = np.where(np.arange(60) == 5, 0, (x - x.mean(axis=0)) / np.where(np.arange(60) == 5, 1, x.std(axis=0)))
    rows, scores = both(x, TsneOptions())
    np.testing.assert_allclose(rows, z, atol=1e-4)  # float32 of 7 with a spread of 0.01
    assert scores.shape == (80, 50)
    # Not axis by axis: where two have nearly the same variance, the rounding of float32 turns them in their plane.
    variances = np.linalg.svd(z, compute_uv=False)[:50] ** 2
    np.testing.assert_allclose(scores.T @ scores, np.diag(variances), atol=2e-3)
    np.testing.assert_allclose(z @ (z.T @ scores), scores * variances, atol=0.02)
    rows, _ = both(x, TsneOptions(preprocess="none"))
    np.testing.assert_allclose(rows, x - x.mean(axis=0), rtol=1e-4, atol=1e-4)
    rows, _ = both(x, TsneOptions(preprocess="l2"))
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
    expected = measures(both(x, TsneOptions())[0], points, np.arange(90), labels)
    for name, values in expected.items():
        if name.endswith("30"):
            continue  # with 90 rows k = 30 is defined, but has no spread of note
        assert rows[name]["value"] == pytest.approx(values.mean(), abs=1e-9)
        if rows[name]["low"] is not None:  # none where all tenths give the same, such as a purity of 1
            assert rows[name]["low"] <= rows[name]["value"] <= rows[name]["high"]
        assert rows[name]["n"] + rows[name]["n_undefined"] == 90
    assert rows["silhouette_map"]["value"] == pytest.approx(silhouette_samples(points, labels).mean(), abs=1e-9)
    assert result.attrs["pairs"] == []
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


@given(st.integers(1, 400))
def test_the_largest_perplexity_that_is_offered_is_taken(n: int) -> None:
    with pytest.raises(UsageError) as caught:
        check_perplexity(1000, n)
    offered = [int(word) for word in str(caught.value.fix).split() if word.isdigit()]
    assert bool(offered) == (n >= 5)
    if offered:
        check_perplexity(offered[0], n)
        with pytest.raises(UsageError, match=f"there are {n}"):
            check_perplexity(offered[0] + 1, n)


def test_nothing_is_read_of_what_cannot_be_mapped(rng: np.random.Generator) -> None:
    _, labels = clusters(rng)
    samples = Samples("pets/all", np.arange(90), labels)
    read: list[Layer] = []
    for options in ({"perplexity": 30.0}, {"sample": 20}, {"backend": "umap"}, {"sample": 3}):
        with pytest.raises(UsageError):
            tsne([Layer("vit", "head")], read.append, samples, TsneOptions(**{**SHORT, **options}))  # type: ignore[arg-type]
    assert read == []


def two_layers(x: F64, y: F64, labels: I64, **options: Any) -> Result:
    samples = Samples("pets/all", np.arange(len(x)), labels)
    layers = {Layer("vit", "head"): x, Layer("convnext", "head"): y}
    chosen = TsneOptions(**{**SHORT, "backend": "sklearn", "iterations": 250, **options})
    return tsne(list(layers), layers.__getitem__, samples, chosen)


def test_a_difference_is_paired(rng: np.random.Generator) -> None:
    """A backbone and itself: exactly 0. With noise on the same features: as the two values differ."""
    x, labels = clusters(rng)
    for row in difference_rows(two_layers(x, x, labels)):
        assert (row["value"], row["low"], row["resolved"]) == (0, None, 0)
    y = x + rng.normal(0, 40, x.shape)  # neighbours by chance: no draw leaves a verdict open, in any family
    result = two_layers(x, y, labels)
    rows = {row["measure"]: row for row in difference_rows(result)}
    values = {row["measure"]: row for row in measure_rows(result) if row["backbone"] == "vit"}
    others = {row["measure"]: row for row in measure_rows(result) if row["backbone"] == "convnext"}
    assert rows.keys() == values.keys()
    for name, row in rows.items():
        assert row["value"] == pytest.approx(values[name]["value"] - others[name]["value"], abs=1e-12)
        if row["low"] is not None:
            assert row["low"] <= row["value"] <= row["high"]
        assert row["n"] == 90
    assert rows["purity_features_10"]["resolved"]
    assert rows["purity_features_10"]["low"] > 0
    few = {row["measure"]: row for row in difference_rows(two_layers(x, y, labels, measured=20))}
    assert few["purity_features_10"]["resolved"] is None, "20 samples are too few to say"


def test_differences_over_classes_are_judged_together(rng: np.random.Generator) -> None:
    labels, counts = np.arange(120) % 40, []
    for noise in (0.7, 0.85, 1.0, 1.2, 1.5):  # in one draw of twenty all or none that leave out 0 stay
        x = rng.normal(size=(120, 6)) + rng.normal(size=(40, 6))[labels] * 3
        result = two_layers(x, x + rng.normal(0, noise, x.shape), labels)
        rows = [row for row in difference_rows(result) if row["class_low"] is not None]
        assert len(rows) > 10
        away = [row for row in rows if row["class_low"] * row["class_high"] > 0]
        assert {row["class_resolved"] for row in rows if row not in away} <= {False}
        counts.append((sum(row["class_resolved"] for row in away), len(away)))
    kept, alone = np.sum(counts, axis=0)
    assert 0 < kept < alone, "some leave out 0 alone, and not after Holm's adjustment"


@pytest.mark.parametrize("measured", [90, 31])
def test_intervals_over_samples_are_a_jackknife_over_tenths(rng: np.random.Generator, measured: int) -> None:
    """Against a plain loop: a tenth is left out, the measures are taken anew among the rest, their means spread."""
    x, _ = clusters(rng)
    labels = np.array([0, 1, 1, 2, 2, 2, 2, 2, 2] * 10)
    result = two_layers(x, x[::-1].copy(), labels, measured=measured)
    queries = stratified_rows(labels, measured, 0)
    groups = tenths(labels, queries, 0)
    assert np.bincount(groups).tolist() == [9] * 10
    left_out = []
    for at, features in enumerate((x, x[::-1])):
        rows, _ = both(features, TsneOptions())
        points, means = result.data["map"][1][at], []
        for group in range(10):
            keep = np.flatnonzero(groups != group)
            asked = np.flatnonzero(np.isin(keep, queries))
            found = measures(rows[keep], points[keep], asked, labels[keep])
            silhouettes, own = found.pop("silhouette_map"), labels[keep][asked]
            weighted = sum(silhouettes[own == c].mean() * (labels[keep] == c).mean() for c in range(3))
            means.append({**{name: values.mean() for name, values in found.items()}, "silhouette_map": weighted})
        left_out.append(means)
    t = stats.t.ppf(0.975, 9)
    for j, name in enumerate(result.coords["measure"]):
        one, two = (np.array([mean[name] for mean in means]) for means in left_out)
        signed = name in ("silhouette_map", "distance_order")
        limits = {"measures": (-1.0 if signed else 0.0, 1.0), "difference": (-2.0, 2.0) if signed else (-1.0, 1.0)}
        for values, variable, i in ((one, "measures", 0), (two, "measures", 1), (one - two, "difference", 0)):
            reach = t * math.sqrt(9 / 10 * ((values - values.mean()) ** 2).sum())
            value, low, high = (result.data[f"{variable}{end}"][1][i, j] for end in ("", "_low", "_high"))
            if name.startswith(("purity_map", "silhouette_map")):
                assert np.isnan([low, high]).all()  # the layout of the map decides these
                continue
            if reach < 1e-5:
                assert np.isnan([low, high]).all()  # all left-out means are one: no spread is known
                continue
            least, most = limits[variable]
            assert (low, high) == pytest.approx((max(value - reach, least), min(value + reach, most)), abs=1e-9)


def test_intervals_over_classes_are_of_whole_classes(rng: np.random.Generator) -> None:
    """Against a bootstrap that puts the samples of the drawn classes together; NaN are left out."""
    labels = np.sort(rng.permutation(np.arange(400) % 40) * 3)
    values = rng.normal(size=400) * 0.1 + np.sin(labels)
    values[[3, 70]] = np.nan
    averages = Averages(labels, labels, IntervalOptions(resamples=3000))
    assert averages.mean("recall_5", values) == pytest.approx(np.nanmean(values))
    names = np.unique(labels)
    draws = rng.choice(names, size=(2000, len(names)))
    means = [np.nanmean(np.concatenate([values[labels == name] for name in drawn])) for drawn in draws]
    *found, _ = averages.over_classes("recall_5", values)
    assert tuple(found) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.05)
    unlabelled = Averages(np.full(80, -1), np.full(80, -1), IntervalOptions(resamples=50))
    assert unlabelled.mean("recall_5", values[:80]) == pytest.approx(np.nanmean(values[:80]))
    assert np.isnan(unlabelled.over_classes("recall_5", values[:80])).all()
    assert np.isnan(averages.mean("recall_5", np.full(400, np.nan)))
    few = np.arange(400) % 29
    assert np.isnan(Averages(few, few, IntervalOptions(resamples=50)).over_classes("recall_5", values)).all(), (
        "29 classes"
    )


@pytest.mark.gpu
def test_measures_on_the_device_are_those_on_the_host(rng: np.random.Generator, cupy: Any) -> None:
    x, labels = clusters(rng)
    rows, _ = both(x, TsneOptions())
    y = rng.normal(size=(90, 2))
    found = measures(cupy.asarray(rows), cupy.asarray(y), np.arange(90), labels)
    for name, expected in measures(rows, y, np.arange(90), labels).items():
        np.testing.assert_allclose(found[name], expected, atol=1e-9)


def test_what_cannot_be_mapped_is_refused(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = clusters(rng)
    with pytest.raises(UsageError, match="perplexity 30 needs more than 91 samples, there are 90") as caught:
        result_of(x, labels, perplexity=30.0)
    assert "--perplexity 29 or less" in str(caught.value)
    assert result_of(x, labels, perplexity=29.0, backend="sklearn", iterations=250).attrs["perplexity"] == 29
    with pytest.raises(UsageError, match="not one row of features"):
        result_of(x[:, :, None], labels)
    with pytest.raises(UnknownNameError, match="standardise, none, l2"):
        TsneOptions(preprocess="zscore")
    with pytest.raises(UsageError, match="fewer than the 250") as caught:
        TsneOptions(iterations=100)
    assert "--iterations 250 or more" in str(caught.value)
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
    with pytest.raises(UsageError, match="10001 samples are more than the 10000"):
        choose_backend("auto", 10_001)
    monkeypatch.setattr("cvbench.engine.analyses.tsne.backends.available", lambda name: True)
    # Whatever is installed, the same command gives the same map, as far as scikit-learn goes.
    assert [choose_backend("auto", n, "cuda") for n in (90, 10_000)] == ["sklearn", "sklearn"]
    assert [choose_backend("auto", 10_001, device) for device in ("cuda", "cpu")] == ["cuml", "opentsne"]
    monkeypatch.undo()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("opentsne", "cuml"):
        with pytest.raises(ResourceError, match=f"backend {name} is not installed"):
            choose_backend(name, 90)
