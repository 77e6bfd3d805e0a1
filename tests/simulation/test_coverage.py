"""The small version of bench/coverage.py: what is printed covers, and verdicts are seldom false."""

from __future__ import annotations

import pytest

from tests.simulation.cases import CASES
from tests.simulation.frame import Case, simulate

RUNS = 80
FALSE = 0.06

SMALL = [case for case in CASES if case.small]


@pytest.mark.parametrize("case", SMALL, ids=[f"{case.area}: {case.name}" for case in SMALL])
def test_intervals_cover(case: Case) -> None:
    for found in simulate(case, RUNS):
        error = max(found.error, (0.05 * 0.95 / RUNS) ** 0.5)  # of 95 %, where all draws are covered
        if found.with_interval:
            assert found.share + 3 * error >= case.aim, found
            assert found.own_value == 1, f"an interval does not hold its own number: {found}"
        if case.null and found.judged:
            assert found.false_share - 3 * (FALSE * (1 - FALSE) / RUNS) ** 0.5 <= FALSE, found
