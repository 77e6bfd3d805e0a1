"""Accuracies, their means over classes and sets, and their differences on the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.engine.metrics.accuracy import mean_per_class
from cvbench.engine.probe.parts import ProbeRun
from cvbench.engine.probe.result import Targets, probe_result
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.intervals import difference, mean_of_proportions, wilson
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.paired import compare, compare_classes
from cvbench.engine.statistics.verdict import Judged, Verdict, judge, verdict
from tests.simulation.frame import Case, Trial

Rng = np.random.Generator
I64 = NDArray[np.int64]

RESAMPLES = 400


def options(rng: Rng) -> IntervalOptions:
    """Of one draw: its own seed."""
    return IntervalOptions(resamples=RESAMPLES, seed=int(rng.integers(2**31)))


def trial(truth: float, found: Estimate) -> Trial:
    """Of a number alone."""
    return Trial(truth, found.value, found.low, found.high)


def judged(truth: float, found: Estimate) -> Trial:
    """Of a difference: whether it is resolved alone, by its p where there is one."""
    (said,) = judge([found], least=0) if np.isfinite(found.p) else (Judged(found, nan, verdict(found, least=0)),)
    return Trial(truth, found.value, found.low, found.high, said.verdict is Verdict.RESOLVED)


def _share(n: int, p: float, rng: Rng) -> Trial:
    return trial(p, wilson(int(rng.binomial(n, p)), n))


def _independent(n: int, p: tuple[float, float], rng: Rng) -> Trial:
    first, second = (wilson(int(rng.binomial(m, one)), m) for m, one in zip((n, 2 * n), p, strict=True))
    return judged(p[0] - p[1], difference(first, second))


def pair(n: int, p: float, discordant: tuple[float, float], rng: Rng) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(n,) which samples A and B get right: one alone with the given shares, A with p in all."""
    kind = rng.choice(4, n, p=[*discordant, p - discordant[0], 1 - p - discordant[1]])
    return np.isin(kind, (0, 2)), np.isin(kind, (1, 2))


def _paired(n: int, p: float, discordant: tuple[float, float], rng: Rng) -> Trial:
    found = compare(*pair(n, p, discordant, rng))
    return judged(discordant[0] - discordant[1], found.difference)


def family(found: Sequence[Estimate]) -> Trial:
    """Differences that are 0, judged together: resolved if any is. No interval: they are of each alone."""
    return Trial(0.0, 0.0, nan, nan, any(one.verdict is Verdict.RESOLVED for one in judge(found, least=0)))


def _family(n: int, p: float, share: float, rng: Rng) -> Trial:
    found = [compare(*pair(n, p, (share, share), rng)) for _ in range(10)]
    return family([one.difference for one in found])


def classes(sizes: tuple[int, ...], alpha: float, beta: float) -> tuple[I64, NDArray[np.float64]]:
    """(n,) labels and (K,) true accuracies of the classes, always the same; beta 0: all have the accuracy alpha."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    if not beta:
        return labels, np.full(len(sizes), alpha)
    return labels, np.random.default_rng(7).beta(alpha, beta, len(sizes))


def _mean_per_class(sizes: tuple[int, ...], alpha: float, beta: float, rng: Rng) -> Trial:
    labels, p = classes(sizes, alpha, beta)
    return trial(float(p.mean()), mean_per_class(rng.random(len(labels)) < p[labels], labels))


def _class_difference(sizes: tuple[int, ...], alpha: float, beta: float, shared: float, rng: Rng) -> Trial:
    """A and B have the same accuracies; a share of the samples is decided alike."""
    labels, p = classes(sizes, alpha, beta)
    u, v = rng.random((2, len(labels)))
    a, b = u < p[labels], np.where(rng.random(len(labels)) < shared, u, v) < p[labels]
    return judged(0.0, compare_classes(a, b, labels))


def _sets(sizes: tuple[int, ...], p: tuple[float, ...], rng: Rng) -> Trial:
    n = np.array(sizes)
    return trial(float(np.mean(p)), mean_of_proportions(rng.binomial(n, p), n))


def _probe(n: int, count: int, p: float, seeds: int, rng: Rng) -> dict[str, Trial]:
    """Probes of several seeds that agree on most samples: a sample has a chance of its own."""
    labels = np.arange(n) % count
    spread = 20.0
    chance = rng.beta(p * spread, (1 - p) * spread, n)
    runs = []
    for _ in range(seeds):
        right = rng.random(n) < chance
        guess = np.where(right, labels, (labels + 1) % count)
        logits = np.zeros((n, count), np.float32)
        logits[np.arange(n), guess] = 1
        runs.append(ProbeRun(logits=logits, penalty=1.0, tried=(), samples=(n, 0, n), converged=True))
    tested = Targets(np.arange(n), labels, tuple(map(str, range(count))))
    found = probe_result([Layer("b", "t")], [runs], tested, {"recipe": ""})
    numbers = {}
    for name, at in (("top1", 0), ("mean_per_class", 0), ("recall", (0, 0))):
        value, low, high = (float(found.data[f"{name}{end}"][1][at]) for end in ("", "_low", "_high"))
        numbers[name] = Trial(p, value, low, high)
    return {name: one for name, one in numbers.items() if not isnan(one.value)}


AREA = "accuracy"

CASES = (
    Case(AREA, "Wilson, n 30, p 0.9", partial(_share, 30, 0.9), small=True),
    Case(AREA, "Wilson, n 1,000, p 0.999", partial(_share, 1000, 0.999)),
    Case(AREA, "Newcombe, n 100 and 200, 0.8 less 0.7", partial(_independent, 100, (0.8, 0.7))),
    Case(AREA, "Newcombe, n 40 and 80, both 0.95", partial(_independent, 40, (0.95, 0.95)), null=True, small=True),
    Case(AREA, "paired, n 200, 0.001 apart", partial(_paired, 200, 0.8, (0.001, 0.0)), small=True),
    Case(AREA, "paired, n 1,000, 0.001 apart", partial(_paired, 1000, 0.8, (0.001, 0.0)), small=True),
    Case(AREA, "paired, n 5,000, 0.001 apart", partial(_paired, 5000, 0.8, (0.001, 0.0))),
    Case(AREA, "paired, n 200, 2 discordant, equal", partial(_paired, 200, 0.9, (0.005, 0.005)), null=True, small=True),
    Case(AREA, "paired, n 200, 10 discordant, equal", partial(_paired, 200, 0.8, (0.025, 0.025)), null=True),
    Case(AREA, "paired, n 1,000, 100 discordant, 0.02 apart", partial(_paired, 1000, 0.8, (0.06, 0.04))),
    Case(AREA, "ten pairs together, n 500, 30 discordant", partial(_family, 500, 0.8, 0.03), null=True, aim=0.0),
    Case(AREA, "mean per class, 37 x 10, all 0.999", partial(_mean_per_class, (10,) * 37, 0.999, 0.0), small=True),
    Case(AREA, "mean per class, 37 x 10, all 0.99", partial(_mean_per_class, (10,) * 37, 0.99, 0.0)),
    Case(AREA, "mean per class, 37 x 10, about 0.8", partial(_mean_per_class, (10,) * 37, 6.0, 1.5), small=True),
    Case(AREA, "mean per class, 40 x 3, about 0.8", partial(_mean_per_class, (3,) * 40, 6.0, 1.5)),
    Case(AREA, "mean per class, 40 x 1, about 0.8", partial(_mean_per_class, (1,) * 40, 6.0, 1.5)),
    Case(AREA, "mean per class, 2 to 60 a class", partial(_mean_per_class, (2, 3, 5, 10, 20, 60) * 5, 6.0, 1.5)),
    Case(
        AREA,
        "mean per class difference, 37 x 10, all 0.999",
        partial(_class_difference, (10,) * 37, 0.999, 0.0, 0.5),
        null=True,
        small=True,
    ),
    Case(
        AREA,
        "mean per class difference, 37 x 10, about 0.8",
        partial(_class_difference, (10,) * 37, 6.0, 1.5, 0.7),
        null=True,
        small=True,
    ),
    Case(
        AREA,
        "mean per class difference, 40 x 3",
        partial(_class_difference, (3,) * 40, 6.0, 1.5, 0.7),
        null=True,
    ),
    Case(AREA, "mean over sets, 5 and 5, both 0.9", partial(_sets, (5, 5), (0.9, 0.9)), small=True),
    Case(AREA, "mean over sets, 5 and 5, 0.99 and 0.7", partial(_sets, (5, 5), (0.99, 0.7))),
    Case(AREA, "mean over sets, 10 and 1,000, 0.9 and 0.5", partial(_sets, (10, 1000), (0.9, 0.5)), small=True),
    Case(AREA, "mean over sets, 4 x 1,000", partial(_sets, (1000,) * 4, (0.7, 0.05, 0.4, 0.3))),
    Case(AREA, "probe, 60 samples of 6 classes, 0.9, 1 seed", partial(_probe, 60, 6, 0.9, 1), small=True),
    Case(AREA, "probe, 60 samples of 6 classes, 0.98, 3 seeds", partial(_probe, 60, 6, 0.98, 3), small=True),
    Case(AREA, "probe, 600 samples of 6 classes, 0.8, 3 seeds", partial(_probe, 600, 6, 0.8, 3)),
)
