"""Every interval covers and every verdict holds its rate, by a few draws of each law; `bench/coverage.py` takes many."""

from __future__ import annotations

import math

import pytest

from tests.simulation.cases import CASES
from tests.simulation.frame import Case, simulate

RUNS = 120
SMALL = [case for case in CASES if case.small]


@pytest.mark.parametrize("case", SMALL, ids=[f"{case.area}: {case.name}" for case in SMALL])
def test_it_covers(case: Case) -> None:
    for row in simulate(case, RUNS):
        assert row.with_interval == 0 or row.own_value == 1, row.name
        error = math.sqrt(case.aim * (1 - case.aim) / max(row.with_interval, 1))
        assert row.with_interval == 0 or row.share + 3 * error >= case.aim, row.name
        if row.null:
            assert row.false_share - 3 * math.sqrt(0.06 * 0.94 / row.runs) <= 0.06, row.name
