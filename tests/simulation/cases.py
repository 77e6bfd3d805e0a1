"""All cases, area by area: each area is a module of its own with a tuple `CASES`."""

from __future__ import annotations

from tests.simulation import means
from tests.simulation.frame import Case

AREAS: tuple[tuple[Case, ...], ...] = (means.CASES,)

CASES: tuple[Case, ...] = tuple(case for area in AREAS for case in area)
