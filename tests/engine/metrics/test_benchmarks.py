"""ImageNet-X, PUG, shape bias and invariance: by hand, and against direct implementations of their papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import t

from cvbench.engine.metrics.imagenet_x import compare_factors as x_compare
from cvbench.engine.metrics.imagenet_x import factor_errors, metaclass_correct
from cvbench.engine.metrics.invariance import setting
from cvbench.engine.metrics.pug import compare_factors as pug_compare
from cvbench.engine.metrics.pug import pug_accuracies
from cvbench.engine.metrics.scores import score_block
from cvbench.engine.metrics.shape_bias import category_decisions, shape_bias
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import UsageError

FAST = IntervalOptions(resamples=300)


def reference_ratios(correct: list[bool], flags: list[list[bool]]) -> list[float]:
    """imagenet_x.aggregate's rule, a factor and an image at a time."""
    average = sum(correct) / len(correct)
    ratios = []
    for factor in range(len(flags[0])):
        hits = [right for right, row in zip(correct, flags, strict=True) if row[factor]]
        if not hits or average == 1:
            ratios.append(math.nan)
        else:
            ratios.append((1 - sum(hits) / len(hits)) / (1 - average))
    return ratios


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 16))
def test_error_ratios_are_the_reference_s(seed: int, n: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    correct, flags = rng.random(n) < 0.7, rng.random((n, count)) < 0.2
    found = factor_errors(correct, flags, IntervalOptions(resamples=30))
    expected = reference_ratios(correct.tolist(), flags.tolist())
    np.testing.assert_allclose([ratio.value for ratio in found.ratio], expected, rtol=1e-12)
    known = [value for value in expected if not math.isnan(value)]
    assert found.mean_ratio.value == pytest.approx(np.mean(known)) if known else math.isnan(found.mean_ratio.value)
    assert [ratio.n for ratio in found.ratio] == flags.sum(axis=0).tolist()
    order = rng.permutation(n)
    again = factor_errors(correct[order], flags[order], IntervalOptions(resamples=30))
    assert [ratio.value for ratio in again.ratio] == pytest.approx([r.value for r in found.ratio], nan_ok=True)


def test_error_ratios_by_hand() -> None:
    correct = np.array([1, 1, 0, 0, 1, 1, 1, 1, 1, 0], bool)  # 3 of 10 are wrong
    flags = np.zeros((10, 4), bool)
    flags[[0, 1, 2, 3], 0] = True  # 2 of 4 wrong
    flags[[4, 5], 1] = True  # 0 of 2
    flags[[9], 2] = True  # 1 of 1; factor 3 has no image
    found = factor_errors(correct, flags, FAST)
    assert [r.value for r in found.ratio[:3]] == pytest.approx([0.5 / 0.3, 0, 1 / 0.3])
    assert math.isnan(found.ratio[3].value)
    assert math.isnan(found.ratio[3].high)
    assert found.overall.value == 0.7
    assert found.worst == 2
    assert found.mean_ratio.value == pytest.approx((0.5 / 0.3 + 0 + 1 / 0.3) / 3)
    assert found.ratio[0].low <= found.ratio[0].value <= found.ratio[0].high
    # All right: no resample differs, so the interval is Wilson's of 0 in 2 errors, over the errors overall.
    assert found.ratio[1].low == 0
    assert found.ratio[1].high == pytest.approx((1 - found.accuracy[1].low) / 0.3)
    assert found.undefined[3] == FAST.resamples


def test_the_ratio_can_compare_with_all_images() -> None:
    correct = np.array([1, 0, 1, 0, 0, 0], bool)
    flags = np.array([[1], [1], [0], [0], [0], [0]], bool)
    annotated = np.array([1, 1, 1, 1, 0, 0], bool)
    assert factor_errors(correct, flags, FAST, annotated).ratio[0].value == pytest.approx(0.5 / 0.5)
    assert factor_errors(correct, flags, FAST).ratio[0].value == pytest.approx(0.5 / (4 / 6))


def test_a_perfect_backbone_has_no_ratio() -> None:
    found = factor_errors(np.ones(4, bool), np.ones((4, 2), bool), FAST)
    assert all(math.isnan(v) for ratio in found.ratio for v in (ratio.value, ratio.low, ratio.high))
    assert math.isnan(found.mean_ratio.value)


def test_the_bootstrap_covers() -> None:
    """The 95 % interval of a ratio holds the truth in about 95 of 100 worlds (100 here: 88 to 100 is 4 sigma)."""
    rng = np.random.default_rng(1)
    inside = 0
    for seed in range(100):
        flags = rng.random((600, 1)) < 0.3
        correct = rng.random(600) > np.where(flags[:, 0], 0.4, 0.2)
        ratio = factor_errors(correct, flags, IntervalOptions(resamples=300, seed=seed)).ratio[0]
        inside += ratio.low <= 0.4 / 0.26 <= ratio.high
    assert inside >= 87


def test_metaclasses() -> None:
    names = ["dog", "dog", "food", "bird"]
    assert metaclass_correct(np.array([1, 2, 3]), np.array([0, 2, 0]), names).tolist() == [True, True, False]


def test_pug_by_hand() -> None:
    subset = np.array(["Worlds"] * 4 + ["Pitch"] * 2 + ["Yaw"] * 4)
    objects = np.array(["a", "a", "b", "b", "a", "b", "a", "a", "b", "b"])
    correct = np.array([1, 1, 1, 0, 0, 1, 0, 0, 1, 0], bool)
    values = np.array(["x", "y", "x", "y", "10", "10", "90", "-5", "90", "-5"])
    groups = {"background": ("Worlds",), "camera": ("Pitch", "Yaw"), "light": ("Scene",)}
    two = pug_accuracies(correct, subset, objects, groups, {})
    assert math.isfinite(two.subsets["Worlds"].value)
    assert math.isnan(two.subsets["Worlds"].low), "no interval: two objects are too few"
    # A third object like the first two together: the rates stay.
    subset, correct, values = (np.tile(part, 2) for part in (subset, correct, values))
    objects = np.concatenate([objects, np.full(10, "c")])
    found = pug_accuracies(correct, subset, objects, groups, {"Worlds": values, "Yaw": values})
    assert {k: v.value for k, v in found.subsets.items() if k != "Scene"} == {"Worlds": 0.75, "Pitch": 0.5, "Yaw": 0.25}
    assert found.subsets["Scene"].n == 0
    assert math.isnan(found.groups["light"].value)
    assert found.groups["camera"].value == pytest.approx((0.5 + 0.25) / 2), "plain mean of the subsets, not pooled"
    assert found.groups["camera"].n == 12
    assert found.mean.value == pytest.approx((0.75 + 0.5 + 0.25) / 3)
    assert list(found.values["Yaw"]) == ["-5", "90"], "numbers by size"
    assert {k: v.value for k, v in found.values["Worlds"].items()} == {"x": 1.0, "y": 0.5}
    all_right = found.values["Worlds"]["x"]
    # All right: as three independent images, one for each object; t with 2 degrees.
    z = t.ppf(0.975, 2)
    assert (all_right.low, all_right.high) == pytest.approx((1 / (1 + z * z / 3), 1), rel=1e-9)
    assert found.subsets["Yaw"].low <= 0.25 <= found.subsets["Yaw"].high


def test_pug_intervals_resample_objects() -> None:
    rng = np.random.default_rng(0)
    objects = np.repeat(np.arange(30), 40).astype(str)
    correct = np.repeat(rng.random(30) < 0.5, 40)  # renders of an object stand and fall together
    found = pug_accuracies(correct, np.full(1200, "Worlds"), objects, {"w": ("Worlds",)}, {})
    estimate = found.subsets["Worlds"]
    assert estimate.high - estimate.low > 0.25, "as wide as for 30 objects, not for 1,200 images (0.06)"


def test_a_pug_factor_has_wilsons_interval_at_the_size_of_its_jackknife() -> None:
    """The jackknife by leaving the objects out one after the other."""
    rng = np.random.default_rng(1)
    n = 400
    subset = rng.choice(["Pitch", "Yaw", "Worlds"], n)
    objects = rng.integers(0, 12, n).astype(str)
    correct = rng.random(n) < np.linspace(0.3, 0.95, 12)[objects.astype(int)]

    def camera(rows: NDArray[np.bool_]) -> float:
        return float(np.mean([correct[rows & (subset == name)].mean() for name in ("Pitch", "Yaw")]))

    found = pug_accuracies(correct, subset, objects, {"camera": ("Pitch", "Yaw")}, {}).groups["camera"]
    value, left = camera(np.ones(n, bool)), np.array([camera(objects != name) for name in np.unique(objects)])
    moved = (left - left.mean()) * 11 / 12
    single = value * (1 - value)
    variance = max(11 / 12 * ((left - left.mean()) ** 2).sum(), ((moved**2).sum() + 2 * single / 144) * (12 / 14) ** 2)
    squares = np.append(moved**2, [single / 144] * 2)
    z = t.ppf(0.975, min(11, 3 * squares.sum() ** 2 / (squares**2).sum() - 1))
    size = single / variance
    ends = np.sort(np.roots([1 + z * z / size, -2 * value - z * z / size, value**2]).real)
    assert found.value == pytest.approx(value, abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(ends), abs=1e-7)


def test_pug_factors_are_compared_on_the_same_images() -> None:
    rng = np.random.default_rng(0)
    subset = np.tile(np.repeat(["Worlds", "Yaw"], 10), 40)
    objects = np.repeat(np.arange(40).astype(str), 20)
    b = rng.random(800) < 0.6
    a = np.where(subset == "Yaw", b | (rng.random(800) < 0.5), b)
    groups = {"background": ("Worlds",), "camera": ("Yaw",), "light": ("Light",)}
    found = pug_compare(a, b, subset, objects, groups)
    yaw = subset == "Yaw"
    assert found["camera"].value == pytest.approx(a[yaw].mean() - b[yaw].mean())
    assert found["camera"].low > 0
    assert found["camera"].p < 0.001
    assert (found["background"].value, found["background"].p) == (0, 1)
    assert found["background"].low < 0 < found["background"].high, "who agree throughout are not known to be equal"
    assert math.isnan(found["light"].value)


def test_error_ratios_are_compared_by_the_delta_method() -> None:
    """The derivatives by moving the weight of one image at a time."""
    rng = np.random.default_rng(3)
    n = 300
    flags = np.zeros((n, 2), bool)
    flags[:40, 0] = True
    a, b = rng.random(n) < np.where(flags[:, 0], 0.5, 0.8), rng.random(n) < 0.75
    found = x_compare(a, b, flags)

    def ratios(weights: NDArray[np.float64]) -> float:
        e = [(weights * ~right).sum() / weights.sum() for right in (a, b)]
        with_it = [(weights * ~right)[:40].sum() / weights[:40].sum() for right in (a, b)]
        return float(with_it[0] / e[0] - with_it[1] / e[1])

    one, h = np.ones(n), 1e-5
    moved = np.array(
        [(ratios(one + h * (np.arange(n) == i)) - ratios(one - h * (np.arange(n) == i))) / (2 * h) for i in range(n)]
    )
    reach = (1 / (~a).mean() + 1 / (~b).mean()) / 2 / 40
    squares = np.append(moved**2, [reach**2] * 2)
    error, df = math.sqrt(squares.sum()) * 40 / 42, 3 * squares.sum() ** 2 / (squares**2).sum() - 1
    half = t.ppf(0.975, min(df, n - 1)) * error
    difference = found.ratio[0]
    assert difference.value == pytest.approx(ratios(one), abs=1e-12)
    assert (difference.low, difference.high) == pytest.approx((ratios(one) - half, ratios(one) + half), rel=1e-5)
    assert found.accuracy[0].difference.value == pytest.approx(a[:40].mean() - b[:40].mean())
    assert math.isnan(found.ratio[1].value), "no image has the factor"
    assert found.accuracy[1].difference.n == 0
    perfect = x_compare(np.ones(n, bool), b, flags)
    assert math.isnan(perfect.ratio[0].value)


def test_decisions_average_over_a_category() -> None:
    # three classes of category b with 0.2 each: their sum wins, their mean does not
    p = np.array([[0.35, 0.2, 0.2, 0.2, 0.05]])
    assert category_decisions(np.log(p), {"a": [0], "b": [1, 2, 3], "c": [4]}).tolist() == [0]
    assert category_decisions(np.zeros((1, 5)), {"a": [3], "b": [1, 2]}).tolist() == [0], "ties: the first"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_decisions_are_those_of_the_softmax(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (6, 12)).astype(np.float32)
    indices = {"a": [0, 5, 7], "b": [1], "c": [2, 11]}
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    means = np.stack([p[:, which].mean(axis=1) for which in indices.values()], axis=1)
    assert category_decisions(logits, indices).tolist() == means.argmax(axis=1).tolist()


def test_shape_bias_by_hand() -> None:
    shape = np.array([0, 0, 0, 1, 1, 2])
    texture = np.array([1, 2, 0, 0, 2, 1])  # the third has no conflict
    decided = np.array([0, 2, 0, 0, 0, 2])  # shape, texture, -, texture, neither, shape
    found = shape_bias(decided, shape, texture, ["cat", "dog", "car"])
    assert (found.bias.value, found.bias.n, found.conflicts) == (0.5, 4, 5)
    assert (found.shape.value, found.texture.value) == (0.4, 0.4)
    assert [found.per_category[name].value for name in ("cat", "dog", "car")] == [0.5, 0.0, 1.0]
    nothing = shape_bias(np.array([2]), np.array([0]), np.array([1]), ["cat", "dog", "car"])
    assert math.isnan(nothing.bias.value)


def test_invariance_by_hand() -> None:
    labels = np.array([0, 1, 0, 1])
    before = score_block(np.log(np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])), labels)
    after = score_block(np.log(np.array([[0.8, 0.2], [0.6, 0.4], [0.7, 0.3], [0.6, 0.4]])), labels)
    found = setting(after, before)
    assert (found.top1.value, found.change.difference.value) == (0.5, -0.25)
    assert (found.change.only_a, found.change.only_b) == (0, 1)
    assert found.probability.value == pytest.approx((0.8 + 0.4 + 0.7 + 0.4) / 4)
    assert found.probability_change.value == pytest.approx((-0.1 - 0.4 + 0.1 + 0.1) / 4)
    assert found.probability_change.low <= found.probability_change.value <= found.probability_change.high
    assert found.consistency.value == 0.75
    same = setting(before, before)
    assert (same.change.difference.value, same.probability_change.value, same.consistency.value) == (0, 0, 1)
    assert same.change.difference.low < 0 < same.change.difference.high
    assert same.probability_change.low < 0 < same.probability_change.high


def test_only_the_same_samples_are_paired() -> None:
    scores = score_block(np.zeros((3, 2)), np.array([0, 1, 0]))
    with pytest.raises(UsageError, match="3 transformed samples cannot be paired with 2"):
        setting(scores, scores[:2])
