"""The result of a silhouette: means of samples, their intervals, companions, and differences of two layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st
from scipy.stats import t
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.samples import Samples, shares_of, stratified_rows
from cvbench.engine.analyses.silhouette.companions import COMPANIONS
from cvbench.engine.analyses.silhouette.kernel import silhouette_samples
from cvbench.engine.analyses.silhouette.measure import silhouette
from cvbench.engine.analyses.silhouette.options import SilhouetteOptions
from cvbench.engine.analyses.silhouette.pairs import differences
from cvbench.engine.statistics.within_class import Replicates
from cvbench.errors import IntegrityError, UnknownNameError, UsageError
from tests.engine.analyses.silhouette_reference import F64, I64, clusters, reference
from tests.seeds import seeded


@pytest.fixture
def rng() -> np.random.Generator:
    return seeded(7)


def scaled(x: F64) -> F64:
    """The space of the result, unless it is asked for another."""
    return np.asarray((x - x.mean(axis=0)) / x.std(axis=0))


def result_of(x: F64, labels: I64, **options: Any) -> Any:
    samples = Samples("pets/all", np.arange(len(x)) * 2, labels)
    return silhouette([Layer("vit", "head")], lambda layer: x, samples, SilhouetteOptions(**options))


def test_the_result_is_the_means_of_the_samples(rng: np.random.Generator) -> None:
    x, labels = clusters(rng)
    result = result_of(x, labels, metrics=("euclidean", "cosine"), space="features", resamples=200)
    for j, metric in enumerate(("euclidean", "cosine")):
        s = reference(x, labels, metric)
        means = [s[labels == label].mean() for label in np.unique(labels)]
        for name, expected in (("micro", s.mean()), ("macro", np.mean(means)), ("negative", (s < 0).mean())):
            value, low, high = (result.data[f"{name}{end}"][1][0, j] for end in ("", "_low", "_high"))
            assert value == pytest.approx(expected, abs=1e-12)
            assert low < value < high
        np.testing.assert_allclose(result.data["per_class"][1][0, j], means, atol=1e-12)
    assert result.coords["sample"][:3] == [0, 2, 4]
    assert result.attrs["notes"][0].startswith("1 classes have one sample")
    assert result.data["members"][1].tolist() == np.unique(labels, return_counts=True)[1].tolist()


def test_a_sample_is_stratified_and_its_means_are_weighted(rng: np.random.Generator) -> None:
    x, labels = clusters(rng, n=400)
    full = result_of(x, labels, resamples=50).data["micro"][1][0, 0]
    found = [result_of(x, labels, sample=80, seed=seed, resamples=50) for seed in range(30)]
    micro = np.array([result.data["micro"][1][0, 0] for result in found])
    assert abs(micro.mean() - full) < 7 * micro.std() / np.sqrt(len(micro))
    s, share = silhouette_samples(scaled(x), labels), {name: (labels == name).mean() for name in np.unique(labels)}
    for seed, value in enumerate(micro):
        rows = stratified_rows(labels, 80, seed)
        means = [weight * s[rows[labels[rows] == name]].mean() for name, weight in share.items()]
        assert value == pytest.approx(sum(means), abs=1e-10)
    rows = stratified_rows(labels, 80, 0)
    assert len(np.unique(rows)) == len(rows)
    drawn, counts = (np.unique(these, return_counts=True)[1] for these in (labels[rows], labels))
    assert len(rows) == 80
    assert min(drawn) == 1  # the singleton
    assert np.abs(drawn - counts / 5).max() < 2
    np.testing.assert_array_equal(stratified_rows(labels, 80, 0), rows)


@hypothesis_given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.data())
def test_a_sample_has_the_size_asked_for_and_each_class_its_share(sizes: list[int], data: st.DataObject) -> None:
    counts = np.array(sizes)
    least = np.minimum(counts, 2)
    sample = data.draw(st.integers(int(least.sum()), int(counts.sum())))
    found = shares_of(sample, counts, least)
    assert found.sum() == sample
    assert ((least <= found) & (found <= counts)).all()
    quota = sample * counts / counts.sum()
    if (np.floor(quota) >= least).all():  # largest remainder: the share, rounded down or up
        assert (np.abs(found - quota) < 1).all()
        up = found > np.floor(quota)
        rest = quota - np.floor(quota)
        if up.any() and not up.all():
            assert rest[up].min() >= rest[~up].max() - 1e-9


def test_the_interval_is_the_jackknife_of_the_formula(rng: np.random.Generator) -> None:
    """Group by group with Rousseeuw's formula, in the standardised space of all samples."""
    x, labels = clusters(rng, n=120)
    labels[60] = 3
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    result = result_of(x, labels, seed=3)
    replicates = Replicates(labels, np.arange(120), 0.95, 3)
    assert replicates.parts is not None
    names, members = np.unique(labels, return_counts=True)
    for name, count in zip(names, members, strict=True):
        sizes = np.bincount(replicates.parts[labels == name], minlength=10)
        assert sizes.max() - sizes.min() <= 1, "an equal part of every class"
        assert sizes.sum() == count
    means = []
    for part in (-1, *range(10)):
        kept = replicates.parts != part
        s = reference(z[kept], labels[kept], "euclidean")
        means.append([s[labels[kept] == name].mean() for name in names])
    table = np.array(means)
    t = scipy.stats.t.ppf(0.975, 9)
    for name, weights in (("micro", members / 120), ("macro", np.full(len(names), 1 / len(names)))):
        numbers = table @ weights
        half = t * np.sqrt(0.9 * ((numbers[1:] - numbers[1:].mean()) ** 2).sum())
        found = [result.data[f"{name}{end}"][1][0, 0] for end in ("", "_low", "_high")]
        np.testing.assert_allclose(found, [numbers[0], numbers[0] - half, numbers[0] + half], atol=1e-10)
    assert result.attrs["interval"].startswith("given the classes: jackknife over 10 groups")


def test_groups_depend_on_the_seed_and_the_classes_alone(rng: np.random.Generator) -> None:
    x, labels = clusters(rng)
    first, again, other = (result_of(x, labels, seed=seed).data["micro_low"][1][0, 0] for seed in (0, 0, 1))
    assert first == again != other


def test_where_n_is_too_small_there_is_no_interval(rng: np.random.Generator) -> None:
    """Classes of two are never halved: with few of them a note, with many no interval at all."""
    x = rng.normal(size=(60, 5))
    pairs = result_of(x, np.arange(60) // 2)
    assert np.isnan(pairs.data["micro_low"][1]).all()
    assert np.isnan(pairs.data["per_class_high"][1]).all()
    assert "no interval: n too small (60 samples)" in pairs.attrs["notes"]
    assert np.isfinite(pairs.data["micro"][1]).all()
    labels = np.concatenate([np.arange(54) % 3, [3, 3, 4, 4, 5, 5]])
    some = result_of(x, labels)
    assert np.isfinite(some.data["micro_low"][1]).all()
    assert np.isnan(some.data["macro_low"][1]).all()
    assert np.isnan(some.data["per_class_low"][1][0, 0, 3:]).all()
    (note,) = [note for note in some.attrs["notes"] if "no interval" in note]
    assert note == "no interval: n too small for macro, davies_bouldin: 3 of 6 classes have 1 or 2 samples"


def test_a_share_of_none_has_an_interval_with_width(rng: np.random.Generator) -> None:
    """No sample is below 0: the score interval of 0 of 90 remains."""
    labels = np.arange(90) % 3
    x = rng.normal(size=(90, 4)) + 100 * np.eye(4)[labels]
    result = result_of(x, labels)
    assert result.data["negative"][1][0, 0] == 0
    z2 = scipy.stats.norm.ppf(0.975) ** 2
    assert result.data["negative_high"][1][0, 0] == pytest.approx(z2 / 90 / (1 + z2 / 90))


def test_what_is_not_defined_is_refused(rng: np.random.Generator) -> None:
    x, labels = clusters(rng)
    for wrong, said in (
        (np.zeros_like(labels), "pets/all are of one class only"),
        (np.arange(len(labels)), "every sample of pets/all is alone"),
        (np.where(labels == 5, -1, labels), "samples of pets/all have no label"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            result_of(x, wrong)
        assert "vit/head" in str(caught.value)
    with pytest.raises(UsageError, match="too small for 5 classes"):
        result_of(x, labels, sample=6)
    with pytest.raises(UsageError, match="not one row of features"):
        result_of(x[:, :, None], labels)
    x[4, 2] = np.nan
    with pytest.raises(IntegrityError, match=r"vit/head of pets/all holds values that are not finite, in 1 of 90"):
        result_of(x, labels)
    with pytest.raises(UnknownNameError, match="euclidean"):
        SilhouetteOptions(metrics=("euclid",))
    with pytest.raises(UnknownNameError, match="--space features"):
        SilhouetteOptions(space="pca")


def test_companions_are_scikit_learns_of_all_samples(rng: np.random.Generator) -> None:
    """Also where only a sample is scored."""
    x, labels = clusters(rng, n=300)
    labels[labels == 77] = 3  # a class of one in five leaves Davies-Bouldin without an interval
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    for result in (result_of(x, labels, resamples=100), result_of(x, labels, resamples=100, sample=60)):
        expected = {
            "davies_bouldin": davies_bouldin_score(z, labels),
            "calinski_harabasz": calinski_harabasz_score(z, labels),
        }
        for name in COMPANIONS:
            value, low, high = (float(result.data[f"{name}{end}"][1][0]) for end in ("", "_low", "_high"))
            assert value == pytest.approx(expected.get(name, value), rel=1e-9)
            assert low < value < high


def test_intervals_of_companions_depend_on_the_seed_alone(rng: np.random.Generator) -> None:
    x, labels = clusters(rng)
    labels[labels == 77] = 3
    first, again, other = (result_of(x, labels, resamples=50, seed=seed) for seed in (0, 0, 1))
    for name in COMPANIONS:
        ends = [result.data[f"{name}_low"][1][0] for result in (first, again, other)]
        assert ends[0] == ends[1] != ends[2]


def difference_rows(result: Result) -> list[dict[str, Any]]:
    """Every difference with its interval, the adjusted p, and what the verdict says."""
    return [
        {
            "mean": "macro" if one.kind == "over_classes" else one.kind,
            "interval": one.way,
            "difference": one.judged.found.value,
            "low": one.judged.found.low,
            "high": one.judged.found.high,
            "p": one.judged.p,
            "resolved": one.judged.verdict.flag,
        }
        for one in differences(result)
    ]


def two_layers(x: F64, y: F64, labels: I64, **options: Any) -> Any:
    samples = Samples("pets/all", np.arange(len(x)), labels)
    layers = {Layer("vit", "head"): x, Layer("convnext", "head"): y}
    return silhouette(list(layers), layers.__getitem__, samples, SilhouetteOptions(resamples=300, **options))


def apart(rng: np.random.Generator) -> tuple[F64, I64, F64]:
    """400 samples of four tight classes, each about a corner of its own; the third array has their corners."""
    _, labels = clusters(rng, n=400)
    labels[labels == 77] = 3
    corners = 8 * np.eye(4, 20)[np.searchsorted(np.unique(labels), labels)]
    return corners + rng.normal(size=corners.shape), labels, corners


def test_a_difference_is_paired(rng: np.random.Generator) -> None:
    """A backbone and itself: exactly 0. The corners a tenth nearer: resolved, and narrower than if unpaired."""
    x, labels, corners = apart(rng)
    for row in difference_rows(two_layers(x, x, labels, metrics=("euclidean", "cosine"))):
        assert (row["difference"], row["low"], row["high"], row["resolved"]) == (0, 0, 0, False)
    result = two_layers(x, x - 0.1 * corners, labels)
    micro, macro, over, *companions = difference_rows(result)
    ends = [result.data[f"micro{end}"][1][:, 0] for end in ("", "_low", "_high")]
    assert micro["difference"] == pytest.approx(ends[0][0] - ends[0][1], abs=1e-12)
    assert micro["resolved"]  # every class loses the same share: the difference is far above what samples vary by
    unpaired = np.hypot(*(ends[2] - ends[1]))  # the width of a difference of two that shared no sample
    assert micro["high"] - micro["low"] < unpaired
    assert (macro["difference"], macro["interval"]) == (over["difference"], "jackknife within classes")
    assert [row["mean"] for row in companions] == list(COMPANIONS)
    for row in companions:
        assert row["difference"] == result.data[row["mean"]][1][0] - result.data[row["mean"]][1][1]
        assert row["low"] < row["difference"] < row["high"]
    assert companions[0]["resolved"], "the simplified silhouette"
    assert result_of(x, labels).attrs["pairs"] == []


def test_a_difference_of_some_classes_varies_over_classes(rng: np.random.Generator) -> None:
    """One class is put on another: these two lose everything, the others nothing, whichever samples are drawn."""
    x, labels, corners = apart(rng)
    y = np.where((labels == 40)[:, None], x - corners + corners[labels == 3][0], x)
    _, macro, over, *_ = difference_rows(two_layers(x, y, labels))
    assert over["high"] - over["low"] > macro["high"] - macro["low"], "classes vary more than samples within them"


def test_differences_are_two_families(rng: np.random.Generator) -> None:
    """Within classes and over classes, each by Holm: every p against Student's t of its interval, and SciPy's order."""
    x, labels = clusters(rng, n=400)
    labels[labels == 77] = 3
    result = two_layers(x, x + rng.normal(0, 0.3, x.shape), labels, metrics=("euclidean", "cosine"))
    rows = list(difference_rows(result))
    for kind, degrees in (("jackknife within classes", 9), ("resampling of classes", len(np.unique(labels)) - 1)):
        own = [row for row in rows if row["interval"] == kind]
        assert len(own) == (7 if degrees == 9 else 2)
        reach = [(row["high"] - row["low"]) / 2 for row in own]
        ratio = [abs(row["difference"]) / end * t.ppf(0.975, degrees) for row, end in zip(own, reach, strict=True)]
        plain = np.array([2 * t.sf(one, degrees) for one in ratio])
        order = np.argsort(plain)
        adjusted = np.minimum(np.maximum.accumulate(plain[order] * np.arange(len(own), 0, -1)), 1)
        assert np.array([row["p"] for row in own])[order] == pytest.approx(adjusted, rel=1e-6)
        for row in own:
            assert row["resolved"] == (row["low"] * row["high"] > 0 and row["p"] <= 0.05)
    earlier = {name: value for name, value in result.data.items() if not name.endswith("_p")}
    for row in difference_rows(Result(result.name, result.coords, earlier, result.attrs)):
        assert row["resolved"] == (row["low"] * row["high"] > 0), "by the interval alone"
        assert np.isnan(row["p"])


def test_a_few_samples_resolve_nothing(rng: np.random.Generator) -> None:
    labels = np.arange(20) % 2
    x = rng.normal(size=(20, 4)) + 10 * labels[:, None]
    result = two_layers(x, x + rng.normal(0, 10, x.shape), labels)
    micro, _, over, *_ = difference_rows(result)
    assert micro["low"] > 0
    assert micro["resolved"] is None
    assert over["resolved"] is not None
