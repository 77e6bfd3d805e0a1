"""Layerwise CKA: against its definition, its invariances, any split into units, and what bad input gets."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Analysis, Layer, Partial, Result
from cvbench.engine.analyses.cka import result as cka_module
from cvbench.engine.analyses.cka.full import full_cka
from cvbench.engine.analyses.cka.measure import MinibatchCka, UnitHsic, choose_batch
from cvbench.errors import IntegrityError, UsageError
from tests.engine.analyses.cka_reference import cka_reference
from tests.seeds import seeded

Features = Sequence[NDArray[Any]]


@pytest.fixture
def rng() -> np.random.Generator:
    return seeded(7)


def layers_of(count: int) -> list[Layer]:
    return [Layer("convnet" if i < count // 2 else "vit", f"blocks.{i}") for i in range(count)]


def related(rng: np.random.Generator, n: int, shapes: Sequence[tuple[int, ...]]) -> list[NDArray[np.float64]]:
    """Layers that share a signal, each with noise and an offset of its own."""
    shared = rng.normal(size=(n, 6))
    flat = [shared @ rng.normal(size=(6, int(np.prod(s)))) + 2 * rng.normal(size=(n, int(np.prod(s)))) for s in shapes]
    return [(x + rng.normal(size=x.shape[1])).reshape(n, *s) for x, s in zip(flat, shapes, strict=True)]


def partial_of(features: Features, rows: slice, batch: int) -> Partial:
    layers = layers_of(len(features))
    cut = dict(zip(layers, features, strict=True))
    n = len(features[0][rows])
    return MinibatchCka(batch=batch).measure(layers, lambda layer: cut[layer][rows], np.arange(n))


def minibatch(features: Features, batch: int) -> Result:
    return MinibatchCka(batch=batch).summarise(layers_of(len(features)), [partial_of(features, slice(None), batch)])


def full(features: Features, estimator: Any, block: int = 512) -> Result:
    layers = layers_of(len(features))
    found = dict(zip(layers, features, strict=True))
    return full_cka(layers, lambda layer, rows: found[layer][rows], len(features[0]), block, estimator=estimator)


def value(result: Result) -> NDArray[np.float64]:
    return result.data["cka"][1]


class TestAgainstTheDefinition:
    @pytest.mark.parametrize("shapes", [[(2,), (3,), (1, 2)], [(40,), (5, 3, 2), (7,)]], ids=["features", "grams"])
    @pytest.mark.parametrize("batch", [4, 16, 20])
    def test_minibatch(self, rng: np.random.Generator, shapes: list[tuple[int, ...]], batch: int) -> None:
        features = related(rng, 70, shapes)
        np.testing.assert_allclose(value(minibatch(features, batch)), cka_reference(features, batch), atol=1e-10)

    def test_a_late_wide_layer_turns_features_into_grams(self, rng: np.random.Generator) -> None:
        features = related(rng, 40, [(3,), (4,), (50,), (2,)])
        np.testing.assert_allclose(value(minibatch(features, 20)), cka_reference(features, 20), atol=1e-10)

    @pytest.mark.parametrize("shapes", [[(4,), (3, 2)], [(100,), (5, 30)]], ids=["features", "tiles"])
    @pytest.mark.parametrize("block", [7, 25, 512])
    def test_full_data(self, rng: np.random.Generator, shapes: list[tuple[int, ...]], block: int) -> None:
        features = related(rng, 50, shapes)
        for estimator, name in (("debiased", "unbiased"), ("biased", "biased")):
            found = value(full(features, estimator, block))
            np.testing.assert_allclose(found, cka_reference(features, 50, name), atol=1e-10)

    def test_float32_is_within_1e_6(self, rng: np.random.Generator) -> None:
        features = [x.astype(np.float32) for x in related(rng, 64, [(5000,), (9, 300), (40,)])]
        assert np.abs(value(minibatch(features, 32)) - cka_reference(features, 32)).max() < 1e-6
        assert np.abs(value(full(features, "debiased")) - cka_reference(features, 64)).max() < 1e-6


class TestInvariances:
    def test_orthogonal_maps_and_scale(self, rng: np.random.Generator) -> None:
        features = related(rng, 48, [(30,), (12,)])
        turn, _ = np.linalg.qr(rng.normal(size=(30, 30)))
        np.testing.assert_allclose(
            value(minibatch([features[0] @ turn * 1e-3, features[1] * 1e4], 16)),
            value(minibatch(features, 16)),
            atol=1e-9,
        )

    def test_not_invariant_to_general_linear_maps(self, rng: np.random.Generator) -> None:
        features = related(rng, 48, [(30,), (12,)])
        # Several, as one column alone may be as like the other layer as all were together.
        bent = [features[0] * (1 + 999 * loud) for loud in np.eye(30)[:10]]
        after = np.stack([value(minibatch([x, features[1]], 16)) for x in bent])
        assert np.abs(after - value(minibatch(features, 16))).max() > 1e-3

    @pytest.mark.parametrize("shapes", [[(300,), (40,)], [(3,), (4,)]], ids=["grams", "features"])
    def test_adding_1000_to_float32_changes_less_than_1e_3(
        self, rng: np.random.Generator, shapes: list[tuple[int, ...]]
    ) -> None:
        features = [x.astype(np.float32) for x in related(rng, 48, shapes)]
        moved = [x + np.float32(1000) for x in features]
        assert np.abs(value(minibatch(moved, 16)) - value(minibatch(features, 16))).max() < 1e-3
        assert np.abs(value(full(moved, "debiased")) - value(full(features, "debiased"))).max() < 1e-3

    def test_a_layer_is_like_itself(self, rng: np.random.Generator) -> None:
        x = related(rng, 48, [(60,)])[0].astype(np.float32)
        np.testing.assert_allclose(value(minibatch([x, x.copy()], 16)), 1.0, atol=1e-14)

    def test_wide_independent_noise_is_alike_only_for_the_biased_estimator(self, rng: np.random.Generator) -> None:
        noise = [rng.normal(size=(256, 4000)).astype(np.float32) for _ in range(2)]
        assert abs(value(minibatch(noise, 32))[0, 1]) < 0.1
        assert abs(value(full(noise, "debiased"))[0, 1]) < 0.05
        assert value(full(noise, "biased"))[0, 1] > 0.9


class TestHalfPrecision:
    def test_values_whose_gram_overflows_stay_finite_and_right(self, rng: np.random.Generator) -> None:
        features = [(x * (60_000 / np.abs(x).max())).astype(np.float16) for x in related(rng, 64, [(500,), (80,)])]
        assert all(np.isfinite(x).all() and np.abs(x).max() > 20_000 for x in features)
        found = value(minibatch(features, 32))
        assert np.abs(found - cka_reference(features, 32)).max() < 1e-6  # of the same float16 input
        exact = related(seeded(7), 64, [(500,), (80,)])
        assert np.abs(found - cka_reference(exact, 32)).max() < 5e-3


class TestUnits:
    def test_any_split_into_units_of_whole_batches_gives_identical_sums(self, rng: np.random.Generator) -> None:
        features = [x.astype(np.float32) for x in related(rng, 96, [(70,), (20,)])]
        layers = layers_of(2)
        results = []
        for edges in ([0, 96], [0, 32, 96], [0, 16, 32, 64, 96]):
            cuts = [slice(*pair) for pair in itertools.pairwise(edges)]
            results.append(MinibatchCka(batch=16).summarise(layers, [partial_of(features, cut, 16) for cut in cuts]))
        for other in results[1:]:
            for key in ("cka", "low", "high", "hsic"):
                np.testing.assert_array_equal(results[0].data[key][1], other.data[key][1])
            assert results[0].attrs == other.attrs

    def test_a_rest_below_half_a_batch_is_dropped_and_counted(self, rng: np.random.Generator) -> None:
        features = related(rng, 47, [(10,), (40,)])
        partials = [partial_of(features, cut, 16) for cut in (slice(0, 37), slice(37, 47))]
        assert [p["hsic"].shape for p in partials] == [(2, 2, 2), (1, 2, 2)]
        result = MinibatchCka(batch=16).summarise(layers_of(2), partials)
        assert (result.attrs["samples"], result.attrs["dropped"], result.attrs["batches"]) == (42, 5, 3)
        batches = [range(16), range(16, 32), range(37, 47)]
        np.testing.assert_allclose(value(result), cka_reference(features, batches), atol=1e-10)

    @pytest.mark.parametrize("shapes", [[(2,), (3,)], [(40,), (5, 3, 2)]], ids=["features", "grams"])
    def test_unreadable_samples_shorten_their_own_batch_only(
        self, rng: np.random.Generator, shapes: list[tuple[int, ...]]
    ) -> None:
        features = related(rng, 48, shapes)
        rows = np.array([i for i in range(48) if i not in (3, 20, *range(32, 41))])
        layers = layers_of(2)
        kept = {layer: x[rows] for layer, x in zip(layers, features, strict=True)}
        partial = MinibatchCka(batch=16).measure(layers, kept.__getitem__, rows)
        result = MinibatchCka(batch=16).summarise(layers, [partial])
        batches = [[i for i in range(16) if i != 3], [i for i in range(16, 32) if i != 20]]
        np.testing.assert_allclose(value(result), cka_reference(features, batches), atol=1e-10)
        assert (result.attrs["samples"], result.attrs["dropped"]) == (30, 7)

    @pytest.mark.parametrize("shapes", [[(2,), (3,)], [(40,), (5, 3, 2)]], ids=["features", "grams"])
    def test_live_batches_give_the_same_bits(self, rng: np.random.Generator, shapes: list[tuple[int, ...]]) -> None:
        features = [x.astype(np.float16) for x in related(rng, 70, shapes)]
        rows = np.array([i for i in range(70) if i not in (3, 20, 21, *range(40, 45))])
        layers, analysis = layers_of(2), MinibatchCka(batch=8)
        kept = {layer: x[rows] for layer, x in zip(layers, features, strict=True)}
        stored = analysis.measure(layers, kept.__getitem__, rows)
        unit = analysis.live(layers)
        for start in range(0, 70, 24):  # three CKA batches each, the last one cut short
            part = rows[(rows >= start) & (rows < start + 24)]
            unit.begin(part)
            for index, x in enumerate(features):
                unit.add(index, x[part])
        found = unit.partial()
        assert found.keys() == stored.keys()
        for key, values in stored.items():
            np.testing.assert_array_equal(found[key], values)

    def test_partials_are_float64_and_the_input_is_unchanged(self, rng: np.random.Generator) -> None:
        features = [x.astype(np.float32) for x in related(rng, 32, [(10,), (40,)])]
        before = [x.copy() for x in features]
        assert {v.dtype for v in partial_of(features, slice(None), 16).values()} == {np.dtype(np.float64)}
        for x, y in zip(features, before, strict=True):
            np.testing.assert_array_equal(x, y)

    def test_a_reused_buffer_does_no_harm(self, rng: np.random.Generator) -> None:
        features = related(rng, 16, [(3,), (3,)])
        buffer = np.empty((16, 3))
        unit = UnitHsic(2, 16, 16)
        for i, x in enumerate(features):
            buffer[:] = x
            unit.add(i, buffer, f"layer {i}")
        np.testing.assert_array_equal(unit.per_batch(), partial_of(features, slice(None), 16)["hsic"])


class TestIntervals:
    def test_they_are_the_jackknife_over_batches(self, rng: np.random.Generator) -> None:
        """Against the formula, batch by batch: Tukey's and Hall's hull on the atanh scale; a difference plain."""
        features = related(rng, 7 * 16, [(50,), (60,), (40,), (30,)])
        partial = partial_of(features, slice(None), 16)
        result = MinibatchCka(batch=16).summarise(layers_of(4), [partial])
        batches = partial["hsic"]
        t = scipy.stats.t.ppf(0.975, 6)

        def left_out(statistic: Callable[[NDArray[np.float64]], float]) -> NDArray[np.float64]:
            return np.array([statistic(np.delete(batches, at, axis=0).sum(axis=0)) for at in range(7)])

        def error(without: NDArray[np.float64]) -> float:
            return float(np.sqrt(6 / 7 * ((without - without.mean()) ** 2).sum()))

        def hall(without: NDArray[np.float64], at: float) -> float:
            """Errors from the value to where Hall's statistic is at a quantile of t."""
            a = float(scipy.stats.skew(-without, bias=False)) / np.sqrt(7)
            statistic = lambda w: w + a * w**2 / 3 + a**2 * w**3 / 27 + a / 6 - at  # noqa: E731
            return float(scipy.optimize.brentq(statistic, -1e4, 1e4, xtol=1e-13))

        def cka(s: NDArray[np.float64], i: int, j: int) -> float:
            return float(s[i, j] / np.sqrt(s[i, i] * s[j, j]))

        for i, j in itertools.combinations(range(4), 2):
            found = value(result)[i, j]
            without = left_out(lambda s, i=i, j=j: cka(s, i, j))  # type: ignore[misc]
            unit = error(without) / (1 - found**2)
            below, above = max(t, hall(without, t)) * unit, max(t, -hall(without, -t)) * unit
            ends = [result.data[key][1][i, j] for key in ("low", "high")]
            np.testing.assert_allclose(ends, np.tanh([np.arctanh(found) - below, np.arctanh(found) + above]))
        np.testing.assert_allclose(np.diag(result.data["low"][1]), 1.0)
        *_, layers, quarters = result.attrs["summary"]  # of two layers each, both means are of the one pair
        assert layers["name"] == "difference, mean of different layers, convnet - vit"
        assert quarters["name"] == "difference, first quarter against last quarter, convnet - vit"
        gap = value(result)[0, 1] - value(result)[2, 3]
        errors = error(left_out(lambda s: cka(s, 0, 1) - cka(s, 2, 3)))
        p = min(1.0, 2 * 2 * float(scipy.stats.t.sf(abs(gap) / errors, 6)))  # Holm over the two
        for difference in (layers, quarters):
            assert difference["value"] == pytest.approx(gap)
            assert (difference["low"], difference["high"]) == pytest.approx((gap - t * errors, gap + t * errors))
            assert difference["p"] == pytest.approx(p)
            assert difference["resolved"] == (p < 0.05)
        assert result.attrs["notes"] == []
        assert result.attrs["interval"].startswith("jackknife over batches")
        for number in result.attrs["summary"]:
            assert number["low"] <= number["value"] <= number["high"]

    def test_the_jackknife_is_done_in_parts(self, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
        features = related(rng, 64, [(20,), (30,), (10,)])
        whole = minibatch(features, 8)
        monkeypatch.setattr(cka_module, "BLOCK_BYTES", 1)
        for key in ("low", "high"):
            np.testing.assert_array_equal(minibatch(features, 8).data[key][1], whole.data[key][1])

    def test_summary_numbers_are_means_of_entries(self, rng: np.random.Generator) -> None:
        result = minibatch(related(rng, 64, [(20,), (30,), (10,), (40,)]), 16)
        cka = value(result)
        found = {number["name"]: number["value"] for number in result.attrs["summary"]}
        assert found["mean of different layers, vit"] == pytest.approx(cka[2, 3])
        assert found["first quarter against last quarter, convnet"] == pytest.approx(cka[0, 1])
        assert found["mean, convnet against vit"] == pytest.approx(cka[:2, 2:].mean())

    def test_one_batch_has_none_and_two_have_a_wide_one(self, rng: np.random.Generator) -> None:
        features = related(rng, 128, [(20,), (30,)])  # so many that the two differ by little, and no end nears 1
        one = minibatch(features, 128)
        assert np.isnan(one.data["low"][1]).all()
        assert "no interval: n too small" in one.attrs["notes"][0]
        two = minibatch(features, 64)
        first, second = (value(minibatch([x[at] for x in features], 64))[0, 1] for at in (slice(64), slice(64, 128)))
        width = two.data["high"][1][0, 1] - two.data["low"][1][0, 1]
        assert width > 5 * abs(first - second), "t with one degree is 12.7"
        assert two.attrs["notes"] == []

    def test_a_layer_that_one_batch_carries_has_none(self) -> None:
        """Without that batch its own HSIC is not positive, so nothing can be said of its spread."""
        hsic = np.array([[[1.0, 0.4], [0.4, 1.0]], [[1.0, 0.1], [0.1, -0.2]], [[1.0, 0.1], [0.1, -0.2]]])
        partial = {"hsic": hsic, "rows": np.array([12.0]), "dropped": np.array([0.0])}
        result = MinibatchCka(batch=4).summarise(layers_of(2), [partial])
        assert np.isfinite(value(result)).all()
        assert np.isnan(result.data["low"][1][0, 1])
        assert "no interval: n too small" in result.attrs["notes"][0]


class TestBadInput:
    @pytest.mark.parametrize("shapes", [[(40,), (40,)], [(2,), (2,)]], ids=["grams", "features"])
    def test_a_constant_layer_is_named(self, rng: np.random.Generator, shapes: list[tuple[int, ...]]) -> None:
        features = related(rng, 64, shapes)
        features[1] = np.full_like(features[1], 0.3)
        for result in (minibatch(features, 16), full(features, "debiased"), full(features, "biased", 20)):
            (undefined,) = result.attrs["undefined"]
            assert (undefined["backbone"], undefined["tap"]) == ("vit", "blocks.1")
            assert "constant" in undefined["reason"]
            assert value(result)[0, 0] == pytest.approx(1)
            assert np.isnan(value(result)[1]).all()
            assert np.isnan(value(result)[0, 1])

    def test_an_hsic_that_is_not_positive_is_named(self) -> None:
        hsic = np.array([[[1.0, 0.1], [0.1, -0.2]]])
        partial = {"hsic": hsic, "rows": np.array([4.0]), "dropped": np.array([0.0])}
        (undefined,) = MinibatchCka(batch=4).summarise(layers_of(2), [partial]).attrs["undefined"]
        assert "not positive" in undefined["reason"]

    @pytest.mark.parametrize("width", [3, 40], ids=["features", "grams"])
    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_values_that_are_not_finite_name_their_layer(
        self, rng: np.random.Generator, width: int, bad: float
    ) -> None:
        features = related(rng, 32, [(3,), (width,)])
        features[1][5, 2] = bad
        with pytest.raises(IntegrityError, match=r"vit/blocks\.1 holds values that are not finite"):
            minibatch(features, 16)
        with pytest.raises(IntegrityError, match=r"vit/blocks\.1"):
            full(features, "debiased")

    def test_layers_of_other_samples_are_refused(self, rng: np.random.Generator) -> None:
        with pytest.raises(IntegrityError, match=r"vit/blocks\.1 has 30 samples where the unit has 32"):
            minibatch([rng.normal(size=(32, 5)), rng.normal(size=(30, 5))], 16)

    @pytest.mark.parametrize("batch", [3, 0, -1])
    def test_a_batch_of_fewer_than_4(self, batch: int) -> None:
        with pytest.raises(UsageError, match="at least 4 samples"):
            MinibatchCka(batch=batch)

    def test_no_full_batch(self, rng: np.random.Generator) -> None:
        with pytest.raises(UsageError, match="no unit fills a CKA batch of 16") as error:
            minibatch(related(rng, 7, [(5,), (6,)]), 16)
        assert "--cka-batch" in str(error.value)

    def test_full_data_of_three_rows_or_of_another_estimator(self, rng: np.random.Generator) -> None:
        with pytest.raises(UsageError, match="at least 4"):
            full(related(rng, 3, [(5,)]), "debiased")
        with pytest.raises(UsageError, match="unknown estimator"):
            full(related(rng, 9, [(5,)]), "unbiased")

    def test_a_missing_layer(self, rng: np.random.Generator) -> None:
        unit = UnitHsic(2, 16, 16)
        unit.add(0, rng.normal(size=(16, 3)), "a")
        with pytest.raises(UsageError, match="1 of 2 layers"):
            unit.per_batch()


@pytest.mark.parametrize(
    ("unit", "total", "batch"),
    [
        (4096, 1_281_167, 256),
        (256, 5794, 128),
        (256, 1797, 32),
        (256, 300, 32),
        (64, 200, 16),
        (64, 64, 8),
        (64, 20, 8),
        (10, 10, 10),
        (48, 9999, 16),
        (50, 9999, 50),
        (50, 900, 25),
        (53, 900, 53),
    ],
)
def test_default_batch(unit: int, total: int, batch: int) -> None:
    assert choose_batch(unit, total) == batch


def test_default_batch_of_three_samples() -> None:
    with pytest.raises(UsageError, match="at least 4 samples, there are 3"):
        choose_batch(256, 3)


def test_its_parameters_are_told_apart() -> None:
    analysis: Analysis = MinibatchCka()
    assert analysis.name == "cka"
    assert "batch" in analysis.as_dict()
    assert not set(analysis.as_dict()) & set(analysis.summary_dict())


@pytest.mark.gpu
def test_cupy_input_gives_what_numpy_gives(rng: np.random.Generator, cupy: Any) -> None:
    features = [x.astype(np.float16) for x in related(rng, 96, [(300,), (40,)])]
    moved = [cupy.asarray(x) for x in features]
    np.testing.assert_allclose(value(minibatch(moved, 32)), value(minibatch(features, 32)), atol=1e-6)
    np.testing.assert_allclose(value(full(moved, "debiased", 40)), value(full(features, "debiased", 40)), atol=1e-6)
