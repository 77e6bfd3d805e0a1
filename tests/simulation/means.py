"""Laws for means over images: numbers, rates, their paired differences, and families of differences."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from cvbench.engine.statistics.measure import Column, Measure, indicator, share
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.running import RunningMeans, judged_columns
from tests.simulation.frame import Case, Trial

AREA = "means over images"
F64 = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Law = Callable[[np.random.Generator, int], F64]

PLAIN, RATE, SHARE = Measure("number", ""), indicator("rate", ""), share("share", "")


def normal(rng: np.random.Generator, n: int) -> F64:
    return rng.normal(size=n)


def lognormal(rng: np.random.Generator, n: int) -> F64:
    return rng.lognormal(size=n)


def heavy(rng: np.random.Generator, n: int) -> F64:
    return rng.standard_t(3, size=n)


def rate(rng: np.random.Generator, n: int, p: float = 0.02) -> F64:
    return (rng.random(n) < p).astype(np.float64)


def mostly_none(rng: np.random.Generator, n: int, p: float = 0.1) -> F64:
    """A share of 49 positions that is 0 for most images."""
    return (rng.random(n) < p) * rng.integers(1, 6, size=n) / 49


def mean_of(rng: np.random.Generator, law: Law, truth: float, n: int, measure: Measure) -> Trial:
    running = RunningMeans([Column(measure)], IntervalOptions(resamples=1, seed=0))
    running.add(law(rng, n)[:, None])
    found = running.means()
    return Trial(truth, float(found.value[0]), float(found.low[0]), float(found.high[0]))


def difference_of(rng: np.random.Generator, law: Law, n: int, measure: Measure, share: float = 0.5) -> Trial:
    """Of two backbones of one law; `share` of the images have the same value in both."""
    one, two = law(rng, n), law(rng, n)
    two = np.where(rng.random(n) < share, one, two)
    columns = [Column(measure), Column(measure), Column(measure, of=(0, 1))]
    running = RunningMeans(columns, IntervalOptions(resamples=1, seed=0))
    running.add(np.stack([one, two, one - two], axis=1))
    found = running.means()
    said = judged_columns(found, np.array([2]))["resolved"][0]
    ends = float(found.value[2]), float(found.low[2]), float(found.high[2])
    return Trial(0.0, *ends, None if np.isnan(said) else bool(said))


def family(rng: np.random.Generator, n: int, size: int) -> Trial:
    """Whether any of the differences of one table is called resolved; none is there."""
    gaps = rng.lognormal(size=(n, size)) - rng.lognormal(size=(n, size))
    columns = [Column(PLAIN, of=(0, 0)) for _ in range(size)]
    running = RunningMeans(columns, IntervalOptions(resamples=1, seed=0))
    running.add(gaps)
    found = running.means()
    said = judged_columns(found, np.arange(size))["resolved"]
    return Trial(0.0, float(found.value[0]), float(found.low[0]), float(found.high[0]), bool((said == 1).any()))


def classes_of(rng: np.random.Generator, classes: int) -> Trial:
    """Over classes that are a sample, ten images of each."""
    own = np.repeat(rng.normal(size=classes), 10)
    labels = np.repeat(np.arange(classes), 10)
    running = RunningMeans([Column(PLAIN)], IntervalOptions(resamples=500, seed=0), labels)
    running.add((own + rng.normal(size=len(own)))[:, None])
    found = running.means()
    return Trial(0.0, float(found.value[0]), float(found.class_low[0]), float(found.class_high[0]))


def _mean(name: str, law: Law, truth: float, n: int, measure: Measure = PLAIN, **options: object) -> Case:
    draw = partial(mean_of, law=law, truth=truth, n=n, measure=measure)
    return Case(AREA, f"{name}, n {n}", draw, **options)  # type: ignore[arg-type]


def _difference(name: str, law: Law, n: int, measure: Measure = PLAIN, *, small: bool = False) -> Case:
    draw = partial(difference_of, law=law, n=n, measure=measure)
    return Case(AREA, f"difference of {name}, n {n}", draw, null=True, small=small)


CASES: tuple[Case, ...] = (
    _mean("normal", normal, 0.0, 7, aim=0.0),
    *(_mean("normal", normal, 0.0, n, small=True) for n in (8, 10)),
    *(_mean("lognormal", lognormal, np.exp(0.5), n, small=True) for n in (8, 10, 30, 100)),
    *(_mean("a rate of 2 %", rate, 0.02, n, RATE, small=True) for n in (30, 100)),
    *(_mean("a share that most images have none of", mostly_none, 0.1 * 3 / 49, n, SHARE) for n in (30, 100)),
    *(_difference("normal", normal, n) for n in (30, 100)),
    *(_difference("lognormal", lognormal, n, small=n == 30) for n in (30, 100)),
    *(_difference("Student's t with 3 degrees", heavy, n) for n in (30, 100)),
    *(_difference("rates of 2 %", rate, n, RATE, small=n == 30) for n in (30, 100)),
    Case(AREA, "any of 16 differences, lognormal, n 50", partial(family, n=50, size=16), null=True, small=True),
    *(Case(AREA, f"classes resampled, {n} classes", partial(classes_of, classes=n)) for n in (30, 100)),
)
