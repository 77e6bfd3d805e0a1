"""Probes of two backbones on the same samples: their difference, against a plain bootstrap and repeated draws."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from cvbench.engine.analyses.base import Layer
from cvbench.engine.probe.compare import COMPARED, difference, differences, last_pairs
from cvbench.engine.probe.result import Targets, probe_result
from tests.engine.probe.test_probe import run_of
from tests.seeds import seeded

CLASSES = 7


def drawn(rng: np.random.Generator, share: float, labels: NDArray[np.int64], seeds: int) -> NDArray[np.bool_]:
    """(S, n) which samples are right: half of the luck is the sample's, shared by the seeds."""
    easy = rng.random(len(labels)) < share
    n = len(labels)
    return np.stack([np.where(rng.random(n) < 0.5, easy, rng.random(n) < share) for _ in range(seeds)])


@pytest.mark.parametrize("seeds", [1, 3])
def test_values_and_intervals_against_a_plain_bootstrap(seeds: int) -> None:
    rng = seeded(11)
    labels = rng.choice(CLASSES, size=400, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.1, 0.0])
    a, b = drawn(rng, 0.8, labels, seeds), drawn(rng, 0.7, labels, seeds)
    found = difference(a, b, labels)
    apart = a.mean(axis=0) - b.mean(axis=0)
    recalls = [apart[labels == c].mean() for c in range(6)]
    assert found["top1"].value == pytest.approx(apart.mean(), abs=1e-12)
    assert found["mean_per_class"].value == pytest.approx(np.mean(recalls), abs=1e-12)
    again = rng.integers(0, len(labels), (4000, len(labels)))
    means = np.nanmean([[apart[r][labels[r] == c].mean() for c in range(6)] for r in again], axis=1)
    for name, values in (("top1", apart[again].mean(axis=1)), ("mean_per_class", means)):
        ends = np.quantile(values, [0.025, 0.975])
        assert (found[name].low, found[name].high) == pytest.approx(tuple(ends), abs=0.01), name


def test_one_seed_is_mcnemars_test() -> None:
    rng = seeded(12)
    labels = rng.integers(0, CLASSES, 200)
    a, b = drawn(rng, 0.8, labels, 1), drawn(rng, 0.7, labels, 1)
    only = int((a & ~b).sum()), int((b & ~a).sum())
    assert difference(a, b, labels)["top1"].p == pytest.approx(binomtest(only[0], sum(only)).pvalue)


@pytest.mark.parametrize("seeds", [1, 2])
def test_probes_that_are_alike_are_told_apart_in_one_of_twenty_draws(seeds: int) -> None:
    rng, reruns = seeded(13), 300
    labels = np.arange(150) % CLASSES
    outside = dict.fromkeys(COMPARED, 0)
    for _ in range(reruns):
        found = difference(drawn(rng, 0.75, labels, seeds), drawn(rng, 0.75, labels, seeds), labels)
        for name in COMPARED:
            outside[name] += not found[name].low <= 0 <= found[name].high
    assert all(n <= binom.ppf(1 - 1e-4, reruns, 0.05) for n in outside.values()), outside


def test_pairs_are_of_the_last_layers_and_judged_together() -> None:
    layers = [Layer("a", "x"), Layer("a", "y"), Layer("b", "x"), Layer("c", "x")]
    assert last_pairs(layers) == [(1, 2), (1, 3), (2, 3)]
    rng = seeded(14)
    labels = rng.integers(0, CLASSES, 300)
    hits = [drawn(rng, share, labels, 1) for share in (0.1, 0.8, 0.5)]
    hits.append(np.roll(hits[1], 1, axis=1))  # right as often: no draw tells the two apart
    alone = [difference(hits[i], hits[j], labels)["top1"].p for i, j in last_pairs(layers)]
    found = differences(hits, last_pairs(layers), labels, 0.95)
    order = np.argsort(alone)
    adjusted = np.maximum.accumulate(np.sort(alone) * [3, 2, 1]).clip(max=1)
    np.testing.assert_allclose(found["difference_top1_p"][order], adjusted)
    assert found["difference_top1_resolved"].tolist() == [1, 0, 1]


def test_a_result_has_them_and_one_backbone_has_none() -> None:
    labels = np.arange(60) % 6
    tested = Targets(np.arange(60), labels, tuple("abcdef"))
    wrong = np.where(np.arange(60) < 15, (labels + 1) % 6, labels)
    layers = [Layer("m", "head"), Layer("n", "head")]
    result = probe_result(layers, [[run_of(labels, 6)], [run_of(wrong, 6)]], tested, {})
    assert result.attrs["pairs"] == [[0, 1]]
    assert result.data["difference_top1"][1] == pytest.approx([0.25])
    assert result.data["difference_mean_per_class_resolved"][1] == 1
    alone = probe_result(layers[:1], [[run_of(labels, 6)]], tested, {})
    assert alone.attrs["pairs"] == []
    assert not any(name.startswith("difference") for name in alone.data)
