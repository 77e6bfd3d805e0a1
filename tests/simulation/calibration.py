"""Calibration errors of the population over the same bins, by a long draw; losses; temperature."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from cvbench.engine.metrics.calibration import calibration, calibration_error, fit_temperature
from cvbench.engine.metrics.scores import score_block
from cvbench.engine.statistics.intervals import outer_difference
from tests.simulation.accuracy import Rng, judged, options, trial
from tests.simulation.frame import Case, Trial

F64 = NDArray[np.float64]

BINS = 15


def _law(name: str, n: int, rng: Rng) -> tuple[F64, F64]:
    """(n,) confidences and how likely each is right."""
    if name.startswith("sure"):
        sure = 1 - np.minimum(rng.exponential(0.05, n), 0.9)
    else:
        sure = 0.05 + 0.95 * rng.beta(4, 1.2, n)
    if name == "one bin":
        return sure, np.where((sure > 12 / 15) & (sure <= 13 / 15), sure - 0.15, sure)
    if name == "too cold":
        return sure, 1 / (1 + ((1 - sure) / sure) ** (1 / 1.5))
    off = float(name.split()[-1])
    return sure, np.clip(sure - off, 0, 1)


@cache
def _truth(name: str) -> float:
    """sum_i P(bin i) |E[confidence - p right | bin i]|, by ten million samples: within about 1e-5."""
    totals = np.zeros(BINS)
    for seed in range(10):
        sure, right = _law(name, 10**6, np.random.default_rng([seed, 99]))
        at = np.minimum((np.ceil(sure * BINS) - 1).astype(int), BINS - 1)
        totals += np.bincount(at, weights=sure - right, minlength=BINS)
    return float(np.abs(totals).sum() / 10**7)


def _error(name: str, n: int, rng: Rng) -> Trial:
    sure, likely = _law(name, n, rng)
    found = calibration_error(sure, rng.random(n) < likely, options(rng))
    # A calibrated model's error is 0 exactly, where the long draw only comes near.
    return trial(0.0 if name.endswith(" 0") else _truth(name), found.debiased)


def _test(name: str, n: int, rng: Rng) -> Trial:
    """The test of calibration: resolved if it rejects."""
    sure, likely = _law(name, n, rng)
    found = calibration_error(sure, rng.random(n) < likely, options(rng))
    return Trial(0.0, 0.0, np.nan, np.nan, found.p < 0.05)


def _difference(first: str, second: str, n: int, alike: bool, rng: Rng) -> Trial:
    """Two models on n samples; `alike`: as sure of each sample as the other, and right together where both can be."""
    errors = []
    state, luck = rng.bit_generator.state, rng.random(n)
    for name in (first, second):
        if alike:
            rng.bit_generator.state = state
        sure, likely = _law(name, n, rng)
        errors.append(calibration_error(sure, (luck if alike else rng.random(n)) < likely, options(rng)).debiased)
    truth = [0.0 if name.endswith(" 0") else _truth(name) for name in (first, second)]
    return judged(truth[0] - truth[1], outer_difference(errors[0], errors[1]))


def _logits(n: int, scale: float, rng: Rng) -> tuple[F64, NDArray[np.int64]]:
    """Logits that are `scale` times those that the labels are drawn from."""
    z = 2 * rng.normal(size=(n, 5))
    return scale * z, (z + rng.gumbel(size=z.shape)).argmax(axis=1)


@cache
def _expected(scale: float) -> dict[str, float]:
    z, labels = _logits(2_000_000, scale, np.random.default_rng(0))
    log_p = log_softmax(z, axis=1)
    p, own = np.exp(log_p), np.arange(len(z))
    return {
        "NLL": float(-log_p[own, labels].mean()),
        "Brier": float(((p**2).sum(axis=1) - 2 * p[own, labels] + 1).mean()),
        "confidence less accuracy": float((p.max(axis=1) - (p.argmax(axis=1) == labels)).mean()),
    }


def _losses(n: int, scale: float, rng: Rng) -> dict[str, Trial]:
    z, labels = _logits(n, scale, rng)
    found, truth = calibration(score_block(z, labels), options(rng)), _expected(scale)
    numbers = {"NLL": found.nll, "Brier": found.brier, "confidence less accuracy": found.overconfidence}
    return {name: trial(truth[name], one) for name, one in numbers.items()}


def _temperature(n: int, rng: Rng) -> Trial:
    z, labels = _logits(n, 2.0, rng)
    return trial(2.0, fit_temperature(lambda: [(z, labels)]).estimate())


AREA = "calibration"

CASES = (
    *(
        Case(AREA, f"ECE, {name}, n {n:,}", partial(_error, name, n), small=n == 200 and name != "too cold")
        for name in ("off by 0", "off by 0.03", "off by 0.1", "one bin", "too cold", "sure, off by 0")
        for n in (30, 200, 1000, 5000)
    ),
    *(
        Case(AREA, f"test of calibration, {name}, n {n:,}", partial(_test, name, n), null=True, aim=0.0)
        for name in ("off by 0", "sure, off by 0")
        for n in (200, 1000)
    ),
    *(
        Case(
            AREA,
            f"ECE difference, {first} and {second}, n {n:,}{', alike' if alike else ''}",
            partial(_difference, first, second, n, alike),
            null=first == second,
            small=(n, alike) == (200, False) and second != "one bin",
        )
        for first, second in (
            ("off by 0", "off by 0"),
            ("off by 0.03", "off by 0.03"),
            ("off by 0", "off by 0.1"),
            ("off by 0.03", "one bin"),
        )
        for n in (30, 200, 1000)
        for alike in (False, True)
    ),
    *(Case(AREA, f"losses, n {n}", partial(_losses, n, 1.3), small=n == 50) for n in (20, 50, 200, 1000)),
    *(Case(AREA, f"temperature, n {n}", partial(_temperature, n), small=n == 200) for n in (50, 200, 1000)),
)
