"""The small version of `bench/coverage.py`: few draws of cheap laws, so that a method that does not cover is seen."""

from __future__ import annotations

import pytest

from tests.simulation.cases import CASES
from tests.simulation.frame import Case, simulate

RUNS = 100
FALSE_SHARE = 0.06
"""Most of the differences of equals that may be called resolved."""


LONG = {("silhouette", "20 x 10")}
"""Cases that take a quarter of the time of all; the differences of the same law are tested every time."""


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=f"{case.area}: {case.name}",
            marks=[pytest.mark.slow] if (case.area, case.name) in LONG else [],
        )
        for case in CASES
        if case.small
    ],
)
def test_intervals_cover_and_verdicts_hold(case: Case) -> None:
    """Within three Monte-Carlo errors; a method that is right fails one of a thousand such tests."""
    for found in simulate(case, RUNS):
        assert found.share + 3 * found.error >= case.aim or not found.with_interval, found
        assert found.own_value == 1 or not found.with_interval, found
        if case.null:
            error = (FALSE_SHARE * (1 - FALSE_SHARE) / found.runs) ** 0.5
            assert found.false_share - 3 * error <= FALSE_SHARE, found
