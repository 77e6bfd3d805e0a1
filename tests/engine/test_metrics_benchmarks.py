"""ImageNet-X, PUG, shape bias and invariance: by hand, and against direct implementations of their papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvbench.engine.metrics.imagenet_x import factor_errors, metaclass_correct
from cvbench.engine.metrics.intervals import Options
from cvbench.engine.metrics.invariance import setting
from cvbench.engine.metrics.pug import pug_accuracies
from cvbench.engine.metrics.scores import score_block
from cvbench.engine.metrics.shape_bias import category_decisions, shape_bias
from cvbench.errors import UsageError

FAST = Options(resamples=300)


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
    found = factor_errors(correct, flags, Options(resamples=30))
    expected = reference_ratios(correct.tolist(), flags.tolist())
    np.testing.assert_allclose([ratio.value for ratio in found.ratio], expected, rtol=1e-12)
    known = [value for value in expected if not math.isnan(value)]
    assert found.mean_ratio.value == pytest.approx(np.mean(known)) if known else math.isnan(found.mean_ratio.value)
    assert [ratio.n for ratio in found.ratio] == flags.sum(axis=0).tolist()
    order = rng.permutation(n)
    again = factor_errors(correct[order], flags[order], Options(resamples=30))
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
        ratio = factor_errors(correct, flags, Options(resamples=300, seed=seed)).ratio[0]
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
    found = pug_accuracies(correct, subset, objects, groups, {"Worlds": values, "Yaw": values}, FAST)
    assert {k: v.value for k, v in found.subsets.items() if k != "Scene"} == {"Worlds": 0.75, "Pitch": 0.5, "Yaw": 0.25}
    assert found.subsets["Scene"].n == 0
    assert math.isnan(found.groups["light"].value)
    assert found.groups["camera"].value == pytest.approx((0.5 + 0.25) / 2), "plain mean of the subsets, not pooled"
    assert found.groups["camera"].n == 6
    assert found.mean.value == pytest.approx((0.75 + 0.5 + 0.25) / 3)
    assert list(found.values["Yaw"]) == ["-5", "90"], "numbers by size"
    assert {k: v.value for k, v in found.values["Worlds"].items()} == {"x": 1.0, "y": 0.5}
    all_right = found.values["Worlds"]["x"]
    assert 0.3 < all_right.low < all_right.high == 1, "Wilson's of 2 in 2 objects, not [1, 1]"
    assert found.subsets["Yaw"].low <= 0.25 <= found.subsets["Yaw"].high


def test_pug_intervals_resample_objects() -> None:
    rng = np.random.default_rng(0)
    objects = np.repeat(np.arange(30), 40).astype(str)
    correct = np.repeat(rng.random(30) < 0.5, 40)  # renders of an object stand and fall together
    found = pug_accuracies(correct, np.full(1200, "Worlds"), objects, {"w": ("Worlds",)}, {}, FAST)
    estimate = found.subsets["Worlds"]
    assert estimate.high - estimate.low > 0.25, "as wide as for 30 objects, not for 1,200 images (0.06)"


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
    found = setting(after, before, FAST)
    assert (found.top1.value, found.change.difference.value) == (0.5, -0.25)
    assert (found.change.only_a, found.change.only_b) == (0, 1)
    assert found.probability.value == pytest.approx((0.8 + 0.4 + 0.7 + 0.4) / 4)
    assert found.probability_change.value == pytest.approx((-0.1 - 0.4 + 0.1 + 0.1) / 4)
    assert found.probability_change.low <= found.probability_change.value <= found.probability_change.high
    assert found.consistency.value == 0.75
    same = setting(before, before, FAST)
    assert (same.change.difference.value, same.probability_change.high, same.consistency.value) == (0, 0, 1)


def test_only_the_same_samples_are_paired() -> None:
    scores = score_block(np.zeros((3, 2)), np.array([0, 1, 0]))
    with pytest.raises(UsageError, match="3 transformed samples cannot be paired with 2"):
        setting(scores, scores[:2], FAST)
