"""The one rule of verdicts: interval, adjusted p, rounding, and how many images there are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.cka.result import cka_result
from cvbench.engine.statistics.estimate import FEW_IMAGES, Estimate
from cvbench.engine.statistics.verdict import Verdict, judge, verdict

NUMBER = st.floats(-1, 1).filter(lambda number: abs(number) > 1e-6)


@given(NUMBER, NUMBER, st.floats(0, 1), st.integers(1, 60))
def test_resolved_needs_the_interval_the_p_and_the_images(one: float, two: float, p: float, n: int) -> None:
    low, high = sorted((one, two))
    said = verdict(Estimate((low + high) / 2, low, high, n), p)
    away = low * high > 0 and p <= 1 - 0.95
    assert said is (Verdict.NOT_RESOLVED if not away else Verdict.RESOLVED if n >= FEW_IMAGES else Verdict.TOO_FEW)
    assert verdict(Estimate((low + high) / 2, low, high, n), p, least=0) is not Verdict.TOO_FEW


def test_what_a_reader_sees_and_what_is_kept() -> None:
    assert [one.flag for one in Verdict] == [True, False, None, None, None]
    assert np.array_equal([one.code for one in Verdict], [1, 0, math.nan, math.nan, math.nan], equal_nan=True)
    assert [one.mark for one in Verdict] == ["", " (not resolved)", " (too few images to resolve)", "", ""]
    for one in (Verdict.RESOLVED, Verdict.NOT_RESOLVED, Verdict.TOO_FEW):
        assert Verdict.of(one.flag, 0.1) is one
    assert Verdict.of(None, math.nan) is Verdict.of(None, None) is Verdict.NO_INTERVAL


def test_a_family_is_judged_by_holm() -> None:
    found = [Estimate(0.2, 0.1, 0.3, 100, p) for p in (0.04, 0.001, math.nan, 0.02)]
    judged = judge(found)
    assert [one.p for one in judged] == pytest.approx([0.04, 0.003, math.nan, 0.04], nan_ok=True)
    assert [one.verdict.flag for one in judged] == [True, True, False, True]
    more = judge([*found, Estimate(0.0, -0.1, 0.1, 100, 0.9)])
    assert [one.verdict.flag for one in more] == [False, True, False, False, False]
    assert [verdict(one).flag for one in found] == [True] * 4, "each alone, by its interval"


def test_differences_of_cka_are_one_family() -> None:
    """Three backbones are six differences, of two means each: what one shows alone may not be resolved among six."""
    rng = np.random.default_rng(0)
    layers = [Layer(name, f"blocks.{i}") for name in "abc" for i in range(4)]
    factors = np.cumsum(rng.normal(size=(12, 12, 40)), axis=1) + rng.normal(size=(12, 1))
    attrs = {"estimator": "minibatch", "batch_size": 32, "samples": 384, "dropped": 0, "confidence": 0.95}
    summary = cka_result(layers, factors @ factors.transpose(0, 2, 1), attrs).attrs["summary"]
    own = [entry for entry in summary if "resolved" in entry]
    assert len(own) == 6
    from scipy.stats import t

    reach = t.ppf(0.975, 11)
    plain = [2 * t.sf(abs(entry["value"]) / ((entry["high"] - entry["low"]) / 2 / reach), 11) for entry in own]
    order = np.argsort(plain)
    adjusted = np.minimum(np.maximum.accumulate(np.array(plain)[order] * np.arange(6, 0, -1)), 1)
    assert np.array([entry["p"] for entry in own])[order] == pytest.approx(adjusted, rel=1e-9)
    assert [entry["resolved"] for entry in own] == [entry["p"] <= 0.05 for entry in own]
