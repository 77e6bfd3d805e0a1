"""All cases, area by area: each area is a module of its own with a tuple `CASES`."""

from __future__ import annotations

from tests.simulation import accuracy, benchmarks, calibration, cka, dense, factorial, means, silhouette
from tests.simulation.frame import Case

AREAS: tuple[tuple[Case, ...], ...] = (
    silhouette.CASES,
    cka.CASES,
    accuracy.CASES,
    calibration.CASES,
    benchmarks.CASES,
    factorial.CASES,
    means.CASES,
    dense.CASES,
)

CASES: tuple[Case, ...] = tuple(case for area in AREAS for case in area)
